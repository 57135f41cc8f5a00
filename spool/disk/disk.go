// Package disk is everything the spool and the journal do that changes the file
// system. It is a seam: tests put a disk in its place that fails, cuts writes
// short, and forgets what was not synced when the power goes (package disktest).
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A File is a file open for writing.
type File interface {
	// Write appends to the file as a whole or fails.
	Write(p []byte) (int, error)
	// WriteAt writes iov one after another from off, as a whole or fails.
	WriteAt(iov [][]byte, off int64) error
	// Sync makes the file's content durable, with what is needed to read it.
	Sync() error
	// Stat returns the file's size and number of names.
	Stat() (size int64, links int, err error)
	// Truncate cuts the file to size.
	Truncate(size int64) error
	Close() error
}

// A Disk changes a file system. All paths are absolute.
type Disk interface {
	// Create makes a file that must not exist yet.
	Create(path string, mode fs.FileMode) (File, error)
	// Allocate makes a file of size bytes that must not exist yet.
	Allocate(path string, size int64) (File, error)
	// Open opens an existing file for writing at offsets.
	Open(path string) (File, error)
	// Append opens an existing file for appending.
	Append(path string) (File, error)
	// Rename moves a file without ever replacing another one.
	Rename(from, to string) error
	// Remove removes a file; one that is gone already is no error.
	Remove(path string) error
	// SyncDir makes names in a directory durable. The caller may lack the right to
	// read it.
	SyncDir(path string) error
	// OpenFS opens the file system that holds the directory.
	OpenFS(path string) (FS, error)
}

// An FS is a file system that is held open, to be synced. The kernel reports a
// failed write to those who had it open then, once to each: what was written
// before OpenFS is not proved by a Sync.
type FS interface {
	// Sync makes everything in the file system durable. It fails if a write has
	// failed since OpenFS or since the Sync before: what was written until then may
	// be lost, whatever a later Sync says.
	Sync() error
	Close() error
}

// OS is the disk of the operating system.
var OS Disk = system{}

type system struct{}

type file struct{ fd int }

func open(path string, flags int, mode fs.FileMode) (*file, error) {
	// O_NONBLOCK is for the FIFO that somebody has put there.
	fd, err := OpenFD(path, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK, uint32(mode))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &file{fd}, nil
}

func (system) Create(path string, mode fs.FileMode) (File, error) {
	f, err := open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (system) Allocate(path string, size int64) (File, error) {
	f, err := open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := retry(func() error { return unix.Fallocate(f.fd, 0, 0, size) }); err != nil {
		return nil, errors.Join(fmt.Errorf("allocate %s: %w", path, err), f.Close(), os.Remove(path))
	}
	return f, nil
}

func (system) Open(path string) (File, error) {
	f, err := open(path, unix.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (system) Append(path string) (File, error) {
	f, err := open(path, unix.O_WRONLY|unix.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *file) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Write(f.fd, p[done:])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, fmt.Errorf("write: %w", err)
		case n == 0:
			return done, fmt.Errorf("write: %w", unix.EIO)
		default:
			done += n
		}
	}
	return done, nil
}

func (f *file) WriteAt(iov [][]byte, off int64) error {
	for len(iov) > 0 {
		n, err := unix.Pwritev(f.fd, iov, off)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = unix.EIO
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		off += int64(n)
		for len(iov) > 0 && n >= len(iov[0]) {
			n -= len(iov[0])
			iov = iov[1:]
		}
		if n > 0 { // rare: copy, so that the caller's slice stays as it was
			iov = append([][]byte{iov[0][n:]}, iov[1:]...)
		}
	}
	return nil
}

func (f *file) Sync() error {
	if err := retry(func() error { return unix.Fdatasync(f.fd) }); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}

func (f *file) Stat() (int64, int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, 0, fmt.Errorf("stat: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, 0, errors.New("not a regular file")
	}
	return st.Size, int(st.Nlink), nil
}

func (f *file) Truncate(size int64) error {
	return retry(func() error { return unix.Ftruncate(f.fd, size) })
}

func (f *file) Close() error {
	fd := f.fd
	f.fd = -1 // the number may be another file's by the next call
	if err := unix.Close(fd); err != nil && err != unix.EINTR {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

func retry(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}

func (system) Rename(from, to string) error {
	fromDir, fromName := at(from)
	toDir, toName := at(to)
	err := unix.Renameat2(fromDir, fromName, toDir, toName, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		// The file system does not know the flag: a link fails if the name exists.
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func (system) Remove(path string) error {
	dir, name := at(path)
	if err := unix.Unlinkat(dir, name, 0); err != nil && err != unix.ENOENT {
		return &fs.PathError{Op: "unlink", Path: path, Err: err}
	}
	return nil
}

func (system) SyncDir(path string) error {
	d, err := os.Open(path)
	if errors.Is(err, unix.EACCES) {
		// router/ is not listable for ordinary users in a system instance. They may
		// create files in it, and a file is enough to sync the file system.
		return syncUnreadable(path)
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func syncUnreadable(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

type fileSystem struct{ d *os.File }

func (system) OpenFS(path string) (FS, error) {
	d, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	return fileSystem{d}, nil
}

func (s fileSystem) Sync() error {
	// Linux reports an error and clears it for this descriptor in one step; EINTR is
	// none of those.
	if err := retry(func() error { return unix.Syncfs(int(s.d.Fd())) }); err != nil {
		return fmt.Errorf("syncfs %s: %w", s.d.Name(), err)
	}
	return nil
}

func (s fileSystem) Close() error { return s.d.Close() }
