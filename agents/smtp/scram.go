package smtp

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// An ownFailure is a login that this side gives up.
type ownFailure struct{ err error }

func (e *ownFailure) Error() string { return e.err.Error() }
func (e *ownFailure) Unwrap() error { return e.err }

// A scram is the client's side of SCRAM-SHA-256, RFC 5802 and RFC 7677, without
// channel binding.
type scram struct {
	user, password, nonce string

	first     string // of the client, without the header
	signature []byte // that the server must show
}

// maxIterations bounds the work that a server may ask of us.
const maxIterations = 1_000_000

const gs2 = "n,," // no channel binding, no other identity

func newSCRAM(user, password string) *scram {
	return &scram{user: user, password: password, nonce: rand.Text()}
}

// begin is the first message.
func (c *scram) begin() string {
	c.first = "n=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.user) + ",r=" + c.nonce
	return gs2 + c.first
}

var errSCRAM = errors.New("the challenge of the server is no SCRAM message")

// answer is the second message, the proof that we know the password.
func (c *scram) answer(challenge string) (string, error) {
	var nonce, salt, count string
	fields := strings.Split(challenge, ",")
	if len(fields) < 3 {
		return "", errSCRAM
	}
	for i, want := range []struct {
		prefix string
		v      *string
	}{{"r=", &nonce}, {"s=", &salt}, {"i=", &count}} {
		v, ok := strings.CutPrefix(fields[i], want.prefix)
		if !ok {
			return "", errSCRAM
		}
		*want.v = v
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return "", errors.New("the server's nonce does not begin with ours")
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return "", errSCRAM
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 || n > maxIterations {
		return "", fmt.Errorf("the server asks for %.20q iterations", count)
	}
	salted, err := pbkdf2.Key(sha256.New, c.password, raw, n, sha256.Size)
	if err != nil {
		return "", err
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2)) + ",r=" + nonce
	all := c.first + "," + challenge + "," + final
	key := mac256(salted, "Client Key")
	stored := sha256.Sum256(key)
	proof := mac256(stored[:], all)
	for i := range proof {
		proof[i] ^= key[i]
	}
	c.signature = mac256(mac256(salted, "Server Key"), all)
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify checks that the server knows the password too.
func (c *scram) verify(last string) error {
	v, ok := strings.CutPrefix(last, "v=")
	v, _, _ = strings.Cut(v, ",")
	b, err := base64.StdEncoding.DecodeString(v)
	if !ok || err != nil || !hmac.Equal(b, c.signature) {
		return errors.New("the server does not prove that it knows the password")
	}
	return nil
}

func mac256(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// loginSCRAM logs in without showing the password.
func (s *session) loginSCRAM(cr *credentials) (reply, error) {
	c := newSCRAM(cr.user, cr.password)
	r, err := s.askSecret("AUTH SCRAM-SHA-256 ", []byte(c.begin()))
	if err != nil || r.code != 334 {
		return r, err
	}
	challenge, err := base64.StdEncoding.DecodeString(string(r.text))
	if err != nil {
		return r, errChallenge
	}
	proof, err := c.answer(string(challenge))
	if err != nil {
		return r, &ownFailure{err}
	}
	if r, err = s.askSecret("", []byte(proof)); err != nil || r.code != 334 {
		if err == nil && r.ok() {
			err = &ownFailure{errors.New("the server lets us in without its proof")}
		}
		return r, err
	}
	last, err := base64.StdEncoding.DecodeString(string(r.text))
	if err != nil {
		return r, errChallenge
	}
	if err := c.verify(string(last)); err != nil {
		return r, &ownFailure{err}
	}
	return s.ask("")
}
