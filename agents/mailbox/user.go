package mailbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
	"zmailer/shellcfg/users"
	"zmailer/spool/dsn"
)

// user delivers to a user's mailbox.
func (a *agent) user(ctx context.Context, c *copyOf) dsn.Result {
	name := local(c.rcpt.User)
	u, detail, found, err := a.lookup(name)
	switch {
	case err != nil:
		return dsn.Temp("4.3.0", "user %s: %v", name, err)
	case !found:
		return dsn.Perm("5.1.1", "there is no user %s here", name)
	}
	// user+detail may go on to the same user; the loop shows by the full name.
	address := a.address(c, name)
	if letter.Looped(c.group.Header, address) {
		return dsn.Perm("5.4.6", "mail loop: the message was delivered to %s before", address)
	}
	as, err := identity.Of(a.users, u)
	if err != nil {
		return a.failure(err)
	}
	if err := a.store(ctx, c, u, detail, as, a.letter(c, address)); err != nil {
		return a.failure(err)
	}
	return deliveredTo("mailbox")
}

// lookup finds the user of a name, and else the user of what stands before "+".
func (a *agent) lookup(name string) (u users.User, detail string, found bool, err error) {
	if u, found, err = a.users.Lookup(name); found || err != nil {
		return u, "", found, err
	}
	base, detail := splitUser(name)
	if base == name {
		return u, "", false, nil
	}
	u, found, err = a.users.Lookup(base)
	return u, detail, found, err
}

func (a *agent) store(ctx context.Context, c *copyOf, u users.User, detail string, as identity.Identity, l *letter.Letter) error {
	t := a.template
	if u.Mailbox != "" {
		var err error
		if t, err = parseTemplate(u.Mailbox); err != nil {
			return fmt.Errorf("user %s: %w", u.Name, err)
		}
	}
	path, err := t.expand(u, a.domain(c))
	if err != nil {
		return err
	}
	if t.format == maildir {
		name := maildirName(c.d.ID, c.rcpt.N, a.Hostname, l.Size())
		return a.maildir.deliver(maildirTarget{path: path, folder: detail, as: as, name: name}, l)
	}
	mode := uint32(0o600)
	if !t.inHome {
		as, mode = withSpoolGroup(filepath.Dir(path), as, mode)
	}
	return a.mbox.deliver(ctx, target{path: path, as: as, mode: mode, log: c.d.Log}, l)
}

// withSpoolGroup adds the group of a mail spool such as /var/mail, "drwxrwsr-x
// root mail", where users may not create their mailboxes and lock files
// themselves, and gives new mailboxes the mode that they have there.
func withSpoolGroup(dir string, as identity.Identity, mode uint32) (identity.Identity, uint32) {
	if os.Geteuid() != 0 {
		return as, mode
	}
	st, err := os.Stat(dir)
	if err != nil {
		return as, mode // opening it will tell
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok || sys.Uid != 0 || st.Mode()&0o020 == 0 || st.Mode()&0o002 != 0 {
		return as, mode
	}
	return as.With(int(sys.Gid)), 0o660
}
