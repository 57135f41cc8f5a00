package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// RSABits is the size of new RSA keys, RFC 8301 §3.2. Larger ones make records
// that do not fit into one packet of the DNS.
const RSABits = 2048

// ErrUsage is a name or type that cannot be.
var ErrUsage = errors.New("cannot make this key")

// A Place is where a new key goes and who owns it.
type Place struct {
	Dir      string // of all keys
	UID, GID int    // of the owner, if this process is root
}

// Generate makes a key of type "rsa" or "ed25519" and its file. A key that is
// there is never replaced: mail signed with it may be under way.
func (p *Place) Generate(domain, selector, kind string) (*Key, string, error) {
	if !isName(domain) {
		return nil, "", fmt.Errorf("%w: %q is not a domain", ErrUsage, domain)
	}
	if !isName(selector) {
		return nil, "", fmt.Errorf("%w: %q is not a selector: want letters, digits, dashes and dots", ErrUsage, selector)
	}
	var signer crypto.Signer
	var err error
	switch kind {
	case "rsa":
		signer, err = rsa.GenerateKey(rand.Reader, RSABits)
	case "ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, "", fmt.Errorf("%w: %q is not a type: want rsa or ed25519", ErrUsage, kind)
	}
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return nil, "", err
	}
	dir := filepath.Join(p.Dir, domain)
	for _, d := range []string{p.Dir, dir} {
		if err := p.mkdir(d); err != nil {
			return nil, "", err
		}
	}
	path := filepath.Join(dir, selector+keySuffix)
	if err := p.write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, "", err
	}
	return &Key{Domain: domain, Selector: selector, signer: signer}, path, nil
}

func (p *Place) mkdir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Chown(dir, p.UID, p.GID)
	}
	return err
}

// write makes the file under another name first, which no reader takes for a key.
func (p *Place) write(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil && os.Geteuid() == 0 {
		err = f.Chown(p.UID, p.GID)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // unlike a rename, it fails if there is one
}
