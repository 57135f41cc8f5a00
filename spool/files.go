package spool

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// renameNew renames without replacing: no file of the spool may ever take the
// place of another one.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// The file system does not know the flag: a link fails if the name exists.
		if err = os.Link(from, to); err == nil {
			err = os.Remove(from)
		}
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, unix.EACCES) {
		// router/ is not listable for ordinary users in a system instance. The sync
		// of the file system as a whole needs no more than a file in it, and the
		// submitter has write access to the directory itself.
		return syncFS(path)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// syncFS syncs the file system that holds dir, which need not be readable.
func syncFS(dir string) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	tmp, err := unix.Openat(fd, ".", unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer unix.Close(tmp)
	return unix.Syncfs(tmp)
}
