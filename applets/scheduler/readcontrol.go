package scheduler

import (
	"fmt"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// The start of the scheduler reads every control file in the queue. os.ReadFile
// costs twice the system calls of readControl, of which most of the time is made.

var readBuffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// readControl is spool.ReadControl for control files that are usually small.
func readControl(path string) (*spool.Control, error) {
	buf := readBuffers.Get().(*[16 << 10]byte)
	defer readBuffers.Put(buf)
	b, whole, err := readSmall(path, buf[:])
	switch {
	case err != nil:
		return nil, err
	case !whole:
		return spool.ReadControl(path)
	}
	c, err := spool.ParseControl(b)
	if err != nil {
		return nil, fmt.Errorf("control file %s: %w", path, err)
	}
	for i := range c.Groups {
		c.Groups[i].Header = nil // lies in buf, and the index has no use for it
	}
	return c, nil
}

// readSmall reads a file that fits into buf; whole says that it did.
func readSmall(path string, buf []byte) (b []byte, whole bool, err error) {
	fd, err := disk.OpenFD(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	n, err := unix.Read(fd, buf)
	unix.Close(fd) // nothing was written
	if err == unix.EINTR {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	// A regular file gives all it has, unless it ends.
	return buf[:n], n < len(buf), nil
}
