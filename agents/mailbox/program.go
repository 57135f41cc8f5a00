package mailbox

import (
	"context"
	"errors"
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
	"zmailer/spool/rfc5322"
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
		return answer(a.failure(err, a.BounceOverQuota))
	}
	return u, as, nil
}

// file appends to a file, or delivers to a Maildir: a path that ends with a slash, as
// Postfix and Exim have it.
func (a *agent) file(ctx context.Context, c *copyOf) dsn.Result {
	_, as, refuse := a.controlling(c.rcpt.Privilege)
	if refuse != nil {
		return *refuse
	}
	name := filepath.Clean(c.rcpt.User)
	if name == os.DevNull {
		return deliveredTo(os.DevNull)
	}
	if r := looped(c); r != nil {
		return *r
	}
	kind, l := "file ", a.letter(c, original(c))
	var err error
	if strings.HasSuffix(c.rcpt.User, "/") {
		kind = "Maildir "
		err = a.maildir.deliver(maildirTarget{path: name, as: as}, maildirName(c.d.ID, c.rcpt.N, a.Hostname, l.Size()), l)
	} else {
		err = withRemedy(a.mbox.deliver(ctx, target{path: name, as: as, mode: 0o600, log: c.d.Log}, l))
	}
	if err != nil {
		return a.failure(err, a.BounceOverQuota)
	}
	return deliveredTo(kind + path.Base(name))
}

// withRemedy says how a directory is made a destination. The error is shared with the
// others of its batch and stays as it is.
func withRemedy(err error) error {
	var refused *refusal
	if errors.As(err, &refused) && refused.why == aDirectory {
		return &refusal{refused.path, aDirectory + "; add a slash for a Maildir"}
	}
	return err
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
	if r := looped(c); r != nil {
		return *r
	}
	l := a.letter(c, original(c))
	p := runner.Program{
		Argv: runner.Argv(text), Dir: home(u), Env: a.environment(c, u), As: as, Limit: a.Limit, Limits: a.Limits,
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

// home is where a user's programs run.
func home(u users.User) string {
	if u.Home == "" {
		return "/"
	}
	return u.Home
}

// looped looks for the mark of an earlier delivery of the same original address.
// Without one there is no mark: several programs may be run in one name.
func looped(c *copyOf) *dsn.Result {
	address := original(c)
	if address == "" || !letter.Looped(c.group.Header, address) {
		return nil
	}
	r := dsn.Perm("5.4.6", "mail loop: the message was delivered to %s before", address)
	return &r
}

// environment is all that a program learns besides the message. What comes from a
// message stands only in values. RECIPIENT and its parts are of the user in whose
// name the program runs; ORIGINAL_RECIPIENT and ORCPT are what the sender claims.
func (a *agent) environment(c *copyOf, u users.User) []string {
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
	full := u.Name
	if detail := extension(c, u.Name); detail != "" {
		full += "+" + detail
		e.Set("EXTENSION", detail)
	}
	e.Set("RECIPIENT", a.address(c, full))
	e.Set("LOCAL", u.Name)
	e.Set("DOMAIN", a.domain(c))
	e.Set("ORIGINAL_RECIPIENT", original(c))
	e.Set("ORCPT", c.rcpt.ORcpt)
	e.Set("NOTIFY", c.rcpt.Notify)
	e.Set("ENVID", c.d.Control.Attr.EnvID)
	e.Set("SPOOLID", string(c.d.ID))
	e.Set("MESSAGEID", c.d.Control.MessageID)
	e.Set("SIZE", fmt.Sprint(c.d.Control.Size-c.d.Control.HeaderOffset))
	return e
}

// extension is the detail of the original address, if that is the user's own.
func extension(c *copyOf, user string) string {
	addr, err := rfc5322.ParseAddress(original(c))
	if err != nil {
		return ""
	}
	name, detail := splitUser(addr.Local)
	if !strings.EqualFold(name, user) {
		return ""
	}
	return detail
}
