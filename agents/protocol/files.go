package protocol

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// openFile opens a regular file for reading.
func openFile(path string) (fd int, size int64, err error) {
	fd, err = disk.OpenFD(path, unix.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = spool.ErrNotRegular
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, st.Size, nil
}

// readControl reads and folds the control file at path.
func readControl(path string) (*spool.Control, error) {
	fd, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if size > spool.MaxControlSize {
		return nil, fmt.Errorf("control file %s: %d bytes: too large", path, size)
	}
	b := make([]byte, size)
	for n := 0; n < len(b); {
		m, err := unix.Pread(fd, b[n:], int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case m == 0:
			return nil, &fs.PathError{Op: "read", Path: path, Err: io.ErrUnexpectedEOF}
		default:
			n += m
		}
	}
	c, err := spool.ParseControl(b)
	if err != nil {
		return nil, fmt.Errorf("control file %s: %w", path, err)
	}
	return c, nil
}

// openMessage opens the message file at path, which must have the given size.
func openMessage(path string, size int64) (*os.File, error) {
	fd, has, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if has != size {
		unix.Close(fd)
		return nil, fmt.Errorf("message file %s has %d bytes, want %d", path, has, size)
	}
	return os.NewFile(uintptr(fd), path), nil
}
