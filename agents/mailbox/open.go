package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// refusal is something in the place of a mailbox that is none. It is never
// written to; the mail waits until somebody has looked.
type refusal struct {
	path, why string
}

func (r *refusal) Error() string { return fmt.Sprintf("%s: refused: %s", r.path, r.why) }

const (
	secondName = "it has a second name (hard link)"
	aDirectory = "a directory"
)

// openDir opens a directory that the administrator chose; symbolic links on the
// way are his.
func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// openMailDir opens name below dir as a directory of the user, never by way of a
// symbolic link.
func openMailDir(dir int, name, path string, uid int) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
	case unix.ELOOP:
		return -1, &refusal{path, "a symbolic link"}
	case unix.ENOTDIR:
		return -1, &refusal{path, "not a directory"}
	default:
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if int(st.Uid) != uid {
		unix.Close(fd)
		return -1, &refusal{path, fmt.Sprintf("owned by uid %d, not by uid %d", st.Uid, uid)}
	}
	return fd, nil
}

// openMailFile opens name below dir for appending, and creates it if it is
// missing. The checks are made on the descriptor, so that nothing can be put in
// the file's place between check and use.
func openMailFile(dir int, path string, uid int, mode uint32) (int, unix.Stat_t, error) {
	const flags = unix.O_RDWR | unix.O_APPEND | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	name := filepath.Base(path)
	var st unix.Stat_t
	var fd int
	var err error
	for range 10 { // another process may create or remove it at the same time
		fd, err = unix.Openat(dir, name, flags, 0)
		if err == unix.ENOENT {
			if fd, err = unix.Openat(dir, name, flags|unix.O_CREAT|unix.O_EXCL, mode); err == nil {
				err = unix.Fchmod(fd, mode) // the umask is for people
			}
		}
		if err != unix.EEXIST && err != unix.ENOENT && err != unix.EINTR {
			break
		}
	}
	switch err {
	case nil:
	case unix.ELOOP:
		return -1, st, &refusal{path, "a symbolic link"}
	case unix.EISDIR:
		return -1, st, &refusal{path, aDirectory}
	case unix.ENXIO:
		return -1, st, &refusal{path, "not a regular file"}
	default:
		return -1, st, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	why := ""
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		why = "not a regular file"
	case st.Nlink > 1:
		why = secondName
	case st.Nlink == 0:
		why = "it was removed while it was opened"
	case int(st.Uid) != uid:
		why = fmt.Sprintf("owned by uid %d, not by uid %d", st.Uid, uid)
	default:
		return fd, st, nil
	}
	unix.Close(fd)
	return -1, st, &refusal{path, why}
}

// onlyName says that path is the one name of an open file. To count the links is not
// enough: the name that led here may be gone by then, and what remains is the one of
// the file it was a link to. The kernel remembers by which name a file was opened,
// and that this was removed, whatever has the name now.
func onlyName(fd int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Nlink != 1 {
		return &refusal{path, secondName}
	}
	opened, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil && errors.Is(err, fs.ErrNotExist) {
		return nil // no /proc
	}
	if err == nil && filepath.Base(opened) != filepath.Base(path) {
		err = fmt.Errorf("%w (the file was replaced)", errLocked)
	}
	return err
}
