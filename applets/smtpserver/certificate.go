package smtpserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"zmailer/shellcfg/shell"
)

// A certFile is a certificate with its key, in files that are read again when
// they have changed: certificates are renewed by programs that know nothing of
// this one.
type certFile struct {
	cert, key string
	log       *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	version [2]fileVersion
	current *tls.Certificate
}

type fileVersion struct {
	mtime time.Time
	size  int64
}

func versionOf(path string) (fileVersion, error) {
	st, err := os.Stat(path)
	if err != nil {
		return fileVersion{}, err
	}
	return fileVersion{st.ModTime(), st.Size()}, nil
}

// certEvery is how often the files are looked at, at most.
const certEvery = time.Second

func newCertFile(cert, key string, log *slog.Logger) (*certFile, error) {
	f := &certFile{cert: cert, key: key, log: log}
	return f, f.load()
}

// load reads the files if they have changed. It leaves the old certificate in
// use when the new one is no good.
func (f *certFile) load() error {
	var v [2]fileVersion
	for i, path := range []string{f.cert, f.key} {
		var err error
		if v[i], err = versionOf(path); err != nil {
			return err
		}
	}
	if f.current != nil && v == f.version {
		return nil
	}
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	f.current, f.version = &c, v
	return nil
}

// get returns the certificate as of the last second.
func (f *certFile) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= certEvery {
		f.looked = now
		// A pair that does not fit is one of which the second file is about to come.
		if err := f.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("certificate not renewed, the old one goes on", "err", err)
		}
	}
	return f.current
}

// certificates choose by the name and the abilities of the client.
type certificates []*certFile

func (l certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	first := l[0].get()
	if hello.SupportsCertificate(first) == nil {
		return first, nil
	}
	for _, f := range l[1:] {
		if c := f.get(); hello.SupportsCertificate(c) == nil {
			return c, nil
		}
	}
	return first, nil
}

// tls CERTIFICATE KEY, files in PEM; one for each name the server has.
func (c *config) certificate(call *shell.Call) error {
	if len(call.Args) != 2 {
		return errors.New("want the files of certificate and key")
	}
	f, err := newCertFile(c.path(call.Args[0]), c.path(call.Args[1]), c.log)
	if err != nil {
		return err
	}
	c.certs = append(c.certs, f)
	return nil
}

// tls_profile intermediate|modern: as Mozilla's recommendations, from TLS 1.2 or
// from 1.3.
func (c *config) tlsProfile(call *shell.Call) error {
	if len(call.Args) == 1 {
		switch call.Args[0] {
		case "intermediate":
			c.minTLS = tls.VersionTLS12
			return nil
		case "modern":
			c.minTLS = tls.VersionTLS13
			return nil
		}
	}
	return fmt.Errorf("want intermediate or modern")
}

// serverTLS is the configuration for all certificates. Tickets are off: senders
// of one large vendor fail with Go's.
func serverTLS(certs certificates, least uint16) *tls.Config {
	return &tls.Config{
		GetCertificate:         certs.choose,
		MinVersion:             least,
		SessionTicketsDisabled: true,
	}
}
