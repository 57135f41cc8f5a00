package smtpserver

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
)

// clientCerts are the certificates by which clients can log in.
type clientCerts struct {
	roots *x509.CertPool      // nil: the certificates themselves are listed in the table
	users *relations.Relation // nil: a certificate names its user
}

// client_certs CAFILE|- [TABLE]: a client on a submission port may log in with a
// certificate of one of the authorities (EXTERNAL). The user is what the table has
// for its SHA-256 fingerprint, its mail addresses or its common name; without a
// table, the first of those names. With - for the file the table must have the
// fingerprint.
func (c *config) clientCerts(call *shell.Call) error {
	if len(call.Args) == 0 || len(call.Args) > 2 {
		return errors.New("want a file of certificates of authorities in PEM, or -, and maybe a table")
	}
	k := &clientCerts{}
	if len(call.Args) == 2 {
		var err error
		if k.users, err = c.table(call.Args[1]); err != nil {
			return err
		}
	}
	if call.Args[0] == "-" {
		if k.users == nil {
			return errors.New("-: without authorities a table must name the fingerprints")
		}
	} else {
		file := c.path(call.Args[0])
		pem, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		k.roots = x509.NewCertPool()
		if !k.roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s: no certificate in it", file)
		}
	}
	c.auth.external = k
	return nil
}

// asking is the configuration of TLS that asks the client for a certificate. What
// is wrong with one only means that it does not count.
func (k *clientCerts) asking(conf *tls.Config) *tls.Config {
	conf = conf.Clone()
	conf.ClientAuth = tls.RequestClientCert
	conf.ClientCAs = k.roots
	return conf
}

// user tells who a client with this chain of certificates is, "" if nobody.
func (k *clientCerts) user(ctx context.Context, chain []*x509.Certificate) (string, error) {
	if len(chain) == 0 {
		return "", nil
	}
	leaf := chain[0]
	sum := sha256.Sum256(leaf.Raw)
	names := []string{hex.EncodeToString(sum[:])}
	if k.roots != nil {
		opt := x509.VerifyOptions{Roots: k.roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		for _, c := range chain[1:] {
			opt.Intermediates.AddCert(c)
		}
		if _, err := leaf.Verify(opt); err != nil {
			return "", nil
		}
		names = append(names, leaf.EmailAddresses...)
		if leaf.Subject.CommonName != "" {
			names = append(names, leaf.Subject.CommonName)
		}
	}
	if k.users == nil {
		if len(names) < 2 {
			return "", nil
		}
		return names[1], nil
	}
	for _, name := range names {
		user, found, err := k.users.Lookup(ctx, name)
		if found || err != nil {
			return user, err
		}
	}
	return "", nil
}

// certUser is the user whose certificate the client has shown.
func (s *session) certUser() string {
	if s.cfg.auth.external == nil || s.tls == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(s.ctx, loginTime)
	defer cancel()
	user, err := s.cfg.auth.external.user(ctx, s.tls.ConnectionState().PeerCertificates)
	if err != nil {
		s.log.Error("certificate of the client cannot be looked up", "client", s.clientText, "err", err)
	}
	return user
}
