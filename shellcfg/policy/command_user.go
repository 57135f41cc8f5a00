package policy

import (
	"strconv"

	"zmailer/shellcfg/shell"
	"zmailer/shellcfg/users"
)

// userCommands look local users up: db/users, then the system's.
func (p *Policy) userCommands() map[string]shell.Command {
	byName := func(show func(users.User) string) shell.Command {
		return func(c *shell.Call) int {
			if len(c.Args) != 1 {
				return usage(c, "USER")
			}
			return ask(c, c.Name, func() (string, bool, error) {
				u, found, err := p.users.Lookup(c.Args[0])
				return show(u), found, err
			})
		}
	}
	return map[string]shell.Command{
		"login":    byName(func(u users.User) string { return u.Name }),
		"homedir":  byName(func(u users.User) string { return u.Home }),
		"uid":      byName(func(u users.User) string { return strconv.Itoa(u.UID) }),
		"gid":      byName(func(u users.User) string { return strconv.Itoa(u.GID) }),
		"fullname": byName(func(u users.User) string { return u.Gecos }),
		"loginof":  p.loginof,
	}
}

// loginof is loginof UID.
func (p *Policy) loginof(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "UID")
	}
	uid, err := strconv.ParseUint(c.Args[0], 10, 31)
	if err != nil {
		return usage(c, "UID: %q is not a number", c.Args[0])
	}
	return ask(c, c.Name, func() (string, bool, error) {
		u, found, err := p.users.LookupUID(int(uid))
		return u.Name, found, err
	})
}
