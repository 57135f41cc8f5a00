package mailbox

import (
	"context"
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
		return a.failure(err, a.BounceOverQuota)
	}
	set, err := a.settings(ctx, u)
	if err != nil {
		return dsn.Temp("4.3.5", "user %s: %v", u.Name, err)
	}
	l := a.letter(c, address)
	path, err := a.store(ctx, c, u, detail, as, &set, l)
	if err != nil {
		return a.failure(err, set.bounce)
	}
	a.hooks.start(ctx, a, set.hook, c, u, as, path, l.Size())
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

// store puts l into the user's mailbox and returns its path.
func (a *agent) store(ctx context.Context, c *copyOf, u users.User, detail string, as identity.Identity, set *settings, l *letter.Letter) (string, error) {
	t := &set.mailbox
	path, err := t.expand(u, a.domain(c))
	if err != nil {
		return path, err
	}
	if t.hashed && !t.inHome {
		if err := makeHashDirs(t.fixed(), filepath.Dir(path)); err != nil {
			return path, err
		}
	}
	if t.format == maildir {
		if !t.inHome {
			if err := makeForUser(path, as); err != nil {
				return path, err
			}
		}
		name := maildirName(c.d.ID, c.rcpt.N, a.Hostname, l.Size())
		return path, a.maildir.deliver(maildirTarget{path: path, folder: detail, as: as, quota: set.quota}, name, l)
	}
	mode := uint32(0o600)
	if !t.inHome {
		as, mode = withSpoolGroup(filepath.Dir(path), as, mode)
	}
	return path, a.mbox.deliver(ctx, target{path: path, as: as, mode: mode, quota: set.quota, log: c.d.Log}, l)
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
