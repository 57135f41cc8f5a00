package journal

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// The journal's directory belongs to the server, and root reads it: a FIFO there
// must not hang root, nor a link lead it elsewhere.

// openRegular opens a file for reading.
func openRegular(path string) (*os.File, error) {
	fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		err = spool.ErrNotRegular
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return regular(os.NewFile(uintptr(fd), path))
}

// regular returns f, or closes it if it is not a regular file with one name.
func regular(f *os.File) (*os.File, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1) {
		err = spool.ErrNotRegular
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: f.Name(), Err: err}, f.Close())
	}
	return f, nil
}

// openSegment opens a segment for writing.
func openSegment(d disk.Disk, path string) (disk.File, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, err
	}
	_, links, err := f.Stat()
	if err == nil && links != 1 {
		err = spool.ErrNotRegular
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: path, Err: err}, f.Close())
	}
	return f, nil
}
