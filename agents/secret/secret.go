// Package secret reads files that hold keys and passwords: of DKIM, of TLS, for AUTH.
package secret

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// Read reads a file of at most max octets. One that others than its owner may read is
// refused, since what it holds is no secret, and so is what is no file.
func Read(path string, max int64) ([]byte, error) {
	// A FIFO must not keep us waiting for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case st.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %04o): chmod 600 it", path, st.Mode().Perm())
	case st.Size() > max:
		return nil, fmt.Errorf("%s has %d octets, at most %d", path, st.Size(), max)
	}
	return io.ReadAll(io.LimitReader(f, max))
}
