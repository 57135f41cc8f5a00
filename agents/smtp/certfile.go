package smtp

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"syscall"
)

// readSecret reads a file of at most max octets that nobody but its owner may
// read: what it holds would be no secret else.
func readSecret(path string, max int64) ([]byte, error) {
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
		return nil, fmt.Errorf("%s can be read by others (mode %04o, want 0600)", path, st.Mode().Perm())
	case st.Size() > max:
		return nil, fmt.Errorf("%s is too large", path)
	}
	return io.ReadAll(io.LimitReader(f, max))
}

// readCertificate reads our own certificate, for option -C.
func (o *options) readCertificate(path string) error {
	text, err := readSecret(path, 1<<20)
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	o.certificates = append(o.certificates, cert)
	return nil
}
