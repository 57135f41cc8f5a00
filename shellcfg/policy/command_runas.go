package policy

import (
	"fmt"
	"strconv"

	"zmailer/shellcfg/shell"
)

// runas is runas UID PROGRAM [ARGUMENT]...: a program with the rights of a user,
// whose status is that of the command.
func (p *Policy) runas(c *shell.Call) int {
	if len(c.Args) < 2 {
		return usage(c, "UID PROGRAM [ARGUMENT]...")
	}
	n, err := strconv.ParseUint(c.Args[0], 10, 31)
	if err != nil {
		return usage(c, "UID PROGRAM [ARGUMENT]...: %q is not a number", c.Args[0])
	}
	uid, gid := int(n), p.nobody
	if uid != p.nobody {
		s, _ := c.Host.(*Session)
		u, found, err := p.users.LookupUID(uid)
		if err != nil {
			return s.fail(c.Name, err, c.Pos)
		}
		if !found {
			return c.Fail(fmt.Errorf("runas: no user has uid %d", uid))
		}
		gid = u.GID
	}
	return c.Exec(uid, gid, c.Args[1:])
}
