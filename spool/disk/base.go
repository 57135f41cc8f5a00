package disk

import (
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A daemon opens, renames and removes a dozen files for each message, all of them
// below one directory, and each of these paths is walked by the kernel from the
// root on, step by step, with the checks of each step. From a directory that is
// open already only the last two or three steps are left.

type directory struct {
	prefix string // with a slash at its end
	fd     int
}

var base atomic.Pointer[directory]

// Enter says that this process works below root, an absolute path, for as long as
// it lives. It changes how paths below root are resolved, not what they mean: a
// directory that is put in the place of root later is not seen any more.
func Enter(root string) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	base.Store(&directory{prefix: strings.TrimRight(root, "/") + "/", fd: fd})
	return nil
}

// at returns path as the "at" system calls want it.
func at(path string) (dir int, name string) {
	if b := base.Load(); b != nil {
		if name, ok := strings.CutPrefix(path, b.prefix); ok && name != "" && name[0] != '/' {
			return b.fd, name
		}
	}
	return unix.AT_FDCWD, path
}

// OpenFD is open(2), not interrupted by signals, of a file that programs do not
// inherit. A caller that only reads one file needs no os.File, which asks the
// kernel by six more system calls whether the file can be polled.
func OpenFD(path string, flags int, mode uint32) (fd int, err error) {
	dir, name := at(path)
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}
