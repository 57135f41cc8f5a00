package smtpserver

import (
	"bytes"
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
	files  keyPair
	keeper *keyKeeper // reads what this process cannot; nil: nobody
	log    *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	every   time.Duration
	version [2]fileVersion
	text    [2][]byte // what the keeper read
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

// certEvery is how often the files are looked at, at most, by this process.
const certEvery = time.Second

func newCertFile(files keyPair, keeper *keyKeeper, log *slog.Logger) (*certFile, error) {
	f := &certFile{files: files, keeper: keeper, log: log, every: certEvery}
	return f, f.load()
}

// load reads the files if they have changed. It leaves the old certificate in
// use when the new one is no good.
func (f *certFile) load() error {
	err := f.loadDirectly()
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if !f.keeper.knows(f.files) {
		return fmt.Errorf("%w; restart the server, which reads it as root, or give its account (TRUSTEDUSER) the group of the file", err)
	}
	cert, key, err := f.keeper.read(f.files)
	if err != nil {
		return err
	}
	f.every = keptEvery
	if f.current != nil && bytes.Equal(cert, f.text[0]) && bytes.Equal(key, f.text[1]) {
		return nil
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", f.files.Cert, f.files.Key, err)
	}
	f.current, f.text = &c, [2][]byte{cert, key}
	return nil
}

func (f *certFile) loadDirectly() error {
	var v [2]fileVersion
	for i, path := range []string{f.files.Cert, f.files.Key} {
		var err error
		if v[i], err = versionOf(path); err != nil {
			return err
		}
	}
	if f.current != nil && v == f.version {
		return nil
	}
	cert, key, err := readPair(f.files)
	if err != nil {
		return err
	}
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", f.files.Cert, f.files.Key, err)
	}
	f.current, f.version = &c, v
	return nil
}

// get returns the certificate as of the last second.
func (f *certFile) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.looked) >= f.every {
		f.looked = now
		// A pair that does not fit is one of which the second file is about to come.
		if err := f.load(); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("certificate not renewed, the old one goes on", "err", err)
		}
	}
	return f.current
}

// certificates choose by the name and the abilities of the client.
type certificates []certSource

// A certSource has a certificate, or nil while there is none.
type certSource interface{ get() *tls.Certificate }

func (l certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var first *tls.Certificate
	for _, s := range l {
		c := s.get()
		if c == nil {
			continue
		}
		if hello.SupportsCertificate(c) == nil {
			return c, nil
		}
		if first == nil {
			first = c
		}
	}
	if first == nil {
		return nil, errors.New("there is no certificate yet")
	}
	return first, nil
}

// ready tells whether there is a certificate at all.
func (l certificates) ready() bool {
	for _, s := range l {
		if s.get() != nil {
			return true
		}
	}
	return false
}

// tls CERTIFICATE KEY, files in PEM; one for each name the server has.
func (c *config) certificate(call *shell.Call) error {
	if len(call.Args) != 2 {
		return errors.New("want the files of certificate and key")
	}
	f, err := newCertFile(keyPair{c.path(call.Args[0]), c.path(call.Args[1])}, c.carried.keeper, c.log)
	if err != nil {
		return err
	}
	c.certs = append(c.certs, f)
	return nil
}

// tls_profile intermediate|modern: as Mozilla's recommendations: TLS 1.2 with
// forward secrecy and authenticated ciphers and 1.3, or 1.3 alone. Without it, 1.2
// may also use what Go allows for old peers, since the alternative is often no
// encryption at all.
func (c *config) tlsProfile(call *shell.Call) error {
	if len(call.Args) == 1 {
		switch call.Args[0] {
		case "intermediate":
			c.minTLS, c.ciphers = tls.VersionTLS12, intermediateCiphers
			return nil
		case "modern":
			c.minTLS, c.ciphers = tls.VersionTLS13, nil
			return nil
		}
	}
	return fmt.Errorf("want intermediate or modern")
}

// intermediateCiphers are those of TLS 1.2 in the intermediate profile that Go has.
// Their order does not matter, Go chooses.
var intermediateCiphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// serverTLS is the configuration for all certificates. Tickets are off: senders
// of one large vendor fail with Go's.
func serverTLS(certs certificates, least uint16, ciphers []uint16) *tls.Config {
	return &tls.Config{
		GetCertificate:         certs.choose,
		MinVersion:             least,
		CipherSuites:           ciphers,
		SessionTicketsDisabled: true,
	}
}
