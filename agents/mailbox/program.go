package mailbox

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
	"zmailer/agents/runner"
	"zmailer/shellcfg/users"
	"zmailer/spool/dsn"
)

// nobodyUID is "nobody" on every Linux; NFS shows files of unknown owners as his.
const nobodyUID = 65534

// controlling finds in whose name the router lets a program run or a file be
// written. Nobody may do neither: it is the privilege of addresses from outside.
// Root does neither himself: what is in aliases of root runs as DefaultUser.
func (a *agent) controlling(uid int) (u users.User, as identity.Identity, refuse *dsn.Result) {
	answer := func(r dsn.Result) (users.User, identity.Identity, *dsn.Result) { return u, as, &r }
	denied := dsn.Perm("5.7.1", "this address may not name programs or files")
	if uid < 0 || uid == nobodyUID {
		return answer(denied)
	}
	var found bool
	var err error
	if uid == 0 {
		u, found, err = a.users.Lookup(a.DefaultUser)
		if err == nil && !found {
			return answer(dsn.Temp("4.3.5", "the user %s, in whose name programs and files of root are done, does not exist", a.DefaultUser))
		}
	} else {
		u, found, err = a.users.LookupUID(uid)
	}
	switch {
	case err != nil:
		return answer(dsn.Temp("4.3.0", "uid %d: %v", uid, err))
	case !found && uid == os.Geteuid():
		u = users.User{Name: strconv.Itoa(uid), UID: uid, GID: os.Getegid(), Home: "/"}
	case !found:
		return answer(dsn.Temp("4.3.5", "there is no user with the uid %d of this address", uid))
	case u.Name == "nobody":
		return answer(denied)
	}
	if as, err = identity.Of(a.users, u); err != nil {
		return answer(a.failure(err))
	}
	return u, as, nil
}

// owner is the address a program or file stands for: the one the sender wrote, or
// that of the user in whose name it is done.
func (a *agent) owner(c *copyOf, u users.User) string {
	if o := original(c); o != "" {
		return o
	}
	return a.address(c, u.Name)
}

// file appends to a file.
func (a *agent) file(ctx context.Context, c *copyOf) dsn.Result {
	u, as, refuse := a.controlling(c.rcpt.Privilege)
	if refuse != nil {
		return *refuse
	}
	name := filepath.Clean(c.rcpt.User)
	if name == os.DevNull {
		return deliveredTo(os.DevNull)
	}
	address := a.owner(c, u)
	if letter.Looped(c.group.Header, address) {
		return dsn.Perm("5.4.6", "mail loop: the message was delivered to %s before", address)
	}
	if err := a.mbox.deliver(ctx, target{path: name, as: as, mode: 0o600}, a.letter(c, address)); err != nil {
		return a.failure(err)
	}
	return deliveredTo("file " + path.Base(name))
}

// program runs a program with the message.
func (a *agent) program(ctx context.Context, c *copyOf) dsn.Result {
	u, as, refuse := a.controlling(c.rcpt.Privilege)
	if refuse != nil {
		return *refuse
	}
	text := strings.TrimSpace(strings.TrimPrefix(c.rcpt.User, "|"))
	if text == "" {
		return dsn.Perm("5.1.3", "no program given")
	}
	address := a.owner(c, u)
	if letter.Looped(c.group.Header, address) {
		return dsn.Perm("5.4.6", "mail loop: the message was delivered to %s before", address)
	}
	l := a.letter(c, address)
	home := u.Home
	if home == "" {
		home = "/"
	}
	p := runner.Program{
		Argv: runner.Argv(text), Dir: home, Env: a.environment(c, u, address), As: as, Limit: a.Limit,
		Input: func(w io.Writer) error {
			if _, err := io.WriteString(w, l.From); err != nil {
				return err
			}
			_, err := l.WriteTo(w)
			return err
		},
	}
	return p.Run(ctx).Result(path.Base(strings.Fields(text)[0]), a.Limit)
}

// environment is all that a program learns besides the message. What comes from a
// message stands only in values.
func (a *agent) environment(c *copyOf, u users.User, address string) []string {
	e := runner.NewEnv()
	e.Set("HOME", u.Home)
	e.Set("USER", u.Name)
	e.Set("LOGNAME", u.Name)
	e.Set("UID", strconv.Itoa(u.UID))
	sender := c.group.Sender.User
	if sender == "" {
		sender = "<>"
	}
	e.Set("SENDER", sender)
	e.Set("RECIPIENT", address)
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		at = len(address)
	}
	name, detail := splitUser(address[:at])
	e.Set("LOCAL", name)
	e.Set("EXTENSION", detail)
	e.Set("DOMAIN", strings.TrimPrefix(address[at:], "@"))
	e.Set("ORIGINAL_RECIPIENT", original(c))
	e.Set("ORCPT", c.rcpt.ORcpt)
	e.Set("NOTIFY", c.rcpt.Notify)
	e.Set("ENVID", c.d.Control.Attr.EnvID)
	e.Set("SPOOLID", string(c.d.ID))
	e.Set("MESSAGEID", c.d.Control.MessageID)
	e.Set("SIZE", fmt.Sprint(c.d.Control.Size-c.d.Control.HeaderOffset))
	return e
}
