package mailbox

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
	"zmailer/spool/dsn"
)

// failure is the result of a delivery that ended in err. Everything is temporary,
// but for a full mailbox or disk where the administrator wants that returned: missing
// rights, a file that looks wrong are the host's own troubles.
func (a *agent) failure(err error, bounceOverQuota bool) dsn.Result {
	var refused *refusal
	var over *overQuota
	switch {
	case errors.As(err, &over), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EFBIG):
		if bounceOverQuota {
			return dsn.Perm("5.2.2", "mailbox is full: %v", err)
		}
		return dsn.Temp("4.2.2", "mailbox is full: %v", err)
	case errors.Is(err, unix.ENOSPC):
		if a.BounceDiskFull {
			return dsn.Perm("5.3.1", "no room on the mail system's disk: %v", err)
		}
		return dsn.Temp("4.3.1", "no room on the mail system's disk: %v", err)
	case errors.As(err, &refused), errors.Is(err, errLocked):
		return dsn.Temp("4.2.0", "%v", err)
	case errors.Is(err, identity.ErrOther):
		return dsn.Temp("4.3.5", "%v", err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return dsn.Temp("4.2.0", "mailbox cannot be opened: %v", err)
	}
	return dsn.Temp("4.3.0", "mailbox cannot be written: %v", err)
}
