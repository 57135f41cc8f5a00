package setup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zmailer/spool/proc"
)

// initSums records what init has written, as sumsFile does for the installer: a
// later init may replace that, an upgrade leaves it alone.
const initSums = ".init"

// write puts the files in their places, or does nothing if one was edited.
func (n *initiation) write(files map[string]string) error {
	if n.prefix == "" && os.Geteuid() != 0 {
		return proc.Exit(proc.NoPerm, "the configuration of the system is root's; see what would be written with: zmailer init --dry-run ...")
	}
	if n.conf == nil {
		if err := n.create(); err != nil {
			return proc.Exit(proc.CantCreat, "%w", err)
		}
	}
	stock, err := readSums(n.etc, sumsFile)
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	mine, err := readSums(n.etc, initSums)
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	edited, err := n.edited(files, stock, mine)
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	if len(edited) > 0 && !n.force {
		return proc.Exit(proc.CantCreat, "edited since: %s\nNothing was changed. See what init would write with --dry-run; --force replaces the files and keeps yours as NAME.before-init.",
			strings.Join(edited, ", "))
	}
	if err := n.replace(files, edited, mine); err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	return n.conclude()
}

// create makes an instance where there is none.
func (n *initiation) create() (err error) {
	if n.options.port, err = strconv.Atoi(n.port); err != nil {
		return err
	}
	if err := n.options.directories(); err != nil {
		return err
	}
	return n.options.configuration()
}

// edited lists the files that neither the installer nor init wrote as they are.
func (n *initiation) edited(files map[string]string, stock, mine sums) ([]string, error) {
	var list []string
	for _, name := range sortedNames(files) {
		have, err := os.ReadFile(filepath.Join(n.etc, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if s := sum(have); string(have) != files[name] && s != stock[name] && s != mine[name] {
			list = append(list, name)
		}
	}
	return list, nil
}

func (n *initiation) replace(files map[string]string, edited []string, mine sums) error {
	for _, name := range edited {
		path := filepath.Join(n.etc, name)
		if err := os.Rename(path, path+".before-init"); err != nil {
			return err
		}
	}
	stock := n.stock()
	for _, name := range sortedNames(files) {
		path, text := filepath.Join(n.etc, name), files[name]
		if text == "" {
			delete(mine, name)
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		mode := fs.FileMode(0o644)
		if name == authFile {
			mode = 0o600
		}
		if have, err := os.ReadFile(path); err == nil && string(have) == text {
			fmt.Fprintf(n.out, "%-40s as it was\n", path)
		} else if err := writeFile(path, []byte(text), mode); err != nil {
			return err
		} else {
			fmt.Fprintf(n.out, "%-40s written\n", path)
		}
		if text != stock[name] {
			mine[name] = sum([]byte(text))
		} else {
			delete(mine, name)
		}
	}
	if n.cert == "tls/cert.pem" {
		if err := n.certificate(); err != nil {
			return err
		}
	}
	return mine.write(n.etc, initSums)
}

// conclude says what the host is now, and what to do next.
func (n *initiation) conclude() error {
	say := func(format string, args ...any) { fmt.Fprintf(n.out, format+"\n", args...) }
	say("\nThis host is %s; addresses without a domain get @%s.", n.names.host, n.names.domain)
	switch {
	case n.smart != nil && n.local:
		say("Mail of local users stays here; all other mail goes to %s.", n.smart.host)
	case n.smart != nil:
		say("All mail goes to %s. Tell who reads root's mail in %s.", n.smart.host, filepath.Join(n.etc, "db/aliases"))
	case n.public():
		if n.internet {
			say("It takes mail for its names and for those in %s from everybody.", filepath.Join(n.etc, "db/localnames"))
		}
		if len(n.backup) > 0 {
			say("It keeps mail for %s until their own hosts take it.", strings.Join(n.backup, ", "))
		}
	default:
		say("It delivers mail to its users, and none to other hosts.")
	}
	say("\nNext: zmailer check; then zmailer restart, or: systemctl restart zmailer")
	return nil
}

const certYears = 10

// certificate makes a certificate of our own: enough for senders that encrypt when
// they can, and do not ask who we are. One that is there is kept.
func (n *initiation) certificate() error {
	dir := filepath.Join(n.etc, "tls")
	if _, err := os.Stat(filepath.Join(dir, "cert.pem")); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: n.names.host}, DNSNames: []string{n.names.host},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(certYears, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "key.pem")
	if err := writeFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o640); err != nil {
		return err
	}
	if err := n.readableByServer(path); err != nil {
		return err
	}
	fmt.Fprintf(n.out, "%-40s made\n", filepath.Join(dir, "cert.pem"))
	return writeFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// readableByServer lets the SMTP server, which is not root any more when it
// reloads, read a file.
func (n *initiation) readableByServer(path string) error {
	if os.Geteuid() != 0 || n.prefix != "" {
		return nil
	}
	u, err := user.Lookup("zmailer")
	if err != nil {
		return nil // there is no such user: the server stays root
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return os.Chown(path, 0, gid)
}
