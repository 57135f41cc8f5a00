package mailbox

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
)

// makeHashDirs makes the directories below top that lead to dir, such as j/o below
// /var/mail, with the owner, group and mode of the one above. They belong to the
// mailer: where others may write, only root's own (such as /var/mail, mode 2775 or
// 1777) are gone through, and never a symbolic link.
func makeHashDirs(top, dir string) error {
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	rel, err := filepath.Rel(top, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return nil // opening it will tell
	}
	at, err := openDir(top)
	if err != nil {
		return err
	}
	path := top
	for _, name := range strings.Split(rel, "/") {
		path += "/" + name
		next, err := makeHashDir(at, name, path)
		unix.Close(at)
		if err != nil {
			return err
		}
		at = next
	}
	unix.Close(at)
	return nil
}

func makeHashDir(parent int, name, path string) (int, error) {
	uid := os.Geteuid()
	fd, err := openMailDir(parent, name, path, uid)
	if !isMissing(err) {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	if err := makeDir(parent, name, path, int(st.Uid), int(st.Gid), st.Mode&0o7777); err != nil {
		return -1, err
	}
	return openMailDir(parent, name, path, uid)
}

// makeDir makes a directory that has its owner and mode before it has its name.
func makeDir(parent int, name, path string, uid, gid int, mode uint32) error {
	fresh := fmt.Sprintf(".new-%d-%d", os.Getpid(), time.Now().UnixNano())
	if err := mkdir(parent, fresh, filepath.Dir(path)+"/"+fresh); err != nil {
		return err
	}
	err := func() error {
		fd, err := openMailDir(parent, fresh, path, os.Geteuid())
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if os.Geteuid() == 0 {
			err = unix.Fchown(fd, uid, gid)
		}
		if err == nil {
			err = unix.Fchmod(fd, mode)
		}
		if err == nil {
			err = unix.Renameat2(parent, fresh, parent, name, unix.RENAME_NOREPLACE)
		}
		return err
	}()
	if err == nil {
		return nil
	}
	unix.Unlinkat(parent, fresh, unix.AT_REMOVEDIR)
	if err == unix.EEXIST { // somebody else was quicker
		return nil
	}
	return &fs.PathError{Op: "make directory", Path: path, Err: err}
}

func isMissing(err error) bool { return err != nil && os.IsNotExist(err) }

// makeForUser makes a Maildir for a user who may not make it himself, since the
// directory above is root's.
func makeForUser(path string, as identity.Identity) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if _, err := os.Lstat(path); !isMissing(err) {
		return nil // what it is, the delivery looks at
	}
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	var st unix.Stat_t
	if err := unix.Fstat(parent, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Uid != 0 {
		return nil // somebody else's: what he may, he may do
	}
	return makeDir(parent, filepath.Base(path), path, as.UID, as.GID, 0o700)
}
