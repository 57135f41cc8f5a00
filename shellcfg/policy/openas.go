package policy

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const openFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC

// openAs opens a file for reading with the rights of a user. Without the rights
// of root it is opened with our own, which are those of the only user that there
// can be. Linux keeps the ids for file access for each thread, and drops the
// privileges of root over files while the uid is another one.
func openAs(uid, gid int, path string) (*os.File, error) {
	if os.Geteuid() != 0 || uid == 0 {
		return openPlain(path)
	}
	runtime.LockOSThread()
	if err := setFsIDs(uid, gid); err != nil {
		return nil, err // the thread stays locked and ends with its goroutine
	}
	f, err := openPlain(path)
	if back := setFsIDs(0, 0); back != nil {
		if f != nil {
			f.Close() // read only
		}
		return nil, back
	}
	runtime.UnlockOSThread()
	return f, err
}

func openPlain(path string) (*os.File, error) {
	fd, err := unix.Open(path, openFlags, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// setFsIDs sets the ids and makes sure that they were set: the call itself tells
// the old id and no error. An id of -1 changes nothing.
func setFsIDs(uid, gid int) error {
	set := func(call func(int) (int, error), id int) error {
		if _, err := call(id); err != nil {
			return err
		}
		now, err := call(-1)
		if err == nil && now != id {
			err = fmt.Errorf("file system id is %d", now)
		}
		return err
	}
	// The group first on the way down, while there is the right to do so.
	if uid != 0 {
		if err := set(unix.SetfsgidRetGid, gid); err != nil {
			return fmt.Errorf("setfsgid %d: %w", gid, err)
		}
	}
	if err := set(unix.SetfsuidRetUid, uid); err != nil {
		return fmt.Errorf("setfsuid %d: %w", uid, err)
	}
	if uid == 0 {
		if err := set(unix.SetfsgidRetGid, gid); err != nil {
			return fmt.Errorf("setfsgid %d: %w", gid, err)
		}
	}
	return nil
}
