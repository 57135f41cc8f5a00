package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait is how long a server waits for the lock before it takes the holder for
// another server.
const lockWait = 2 * time.Second

// lockDir takes the journal's lock, which a server holds as long as it runs, or
// fails with errInUse.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if f, err = regular(f); err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errInUse
	}
	if err == nil {
		err = ownedAs(f, dir)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("journal %s: %w", dir, err)
	}
	return f, nil
}

// ownedAs gives f to the owner of dir: root recovers before the server, which is
// another user, takes the lock.
func ownedAs(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var own, want unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &own), unix.Stat(dir, &want)); err != nil {
		return err
	}
	if own.Uid == want.Uid && own.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}

var errInUse = errors.New("in use by another process")

// lockRecovery waits until nobody recovers the journal, and keeps others from it
// until the file is closed. It is taken before the journal's lock: who finds that
// one taken while he holds this one knows that its holder has recovered.
func lockRecovery(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
