package saslauth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Keys are what SCRAM-SHA-256 (RFC 5802, RFC 7677) needs to know of a password.
// Whoever has them can neither log in as the user nor read the password, but can
// pretend to be the server, and try passwords as with any hash.
type Keys struct {
	Iterations     int
	Salt           []byte
	Stored, Server [sha256.Size]byte
}

const (
	scramPrefix = "SCRAM-SHA-256$"

	// The client does this work once; RFC 7677 §4 wants 4096 at least, and
	// clients refuse numbers that look like an attack on them.
	newIterations = 100_000
	minIterations = 4096
	maxIterations = 10_000_000
)

// NewKeys makes keys of a password.
func NewKeys(password string) (Keys, error) {
	k := Keys{Iterations: newIterations, Salt: make([]byte, 16)}
	rand.Read(k.Salt) // never fails
	err := k.derive(password)
	return k, err
}

func (k *Keys) derive(password string) error {
	salted, err := pbkdf2.Key(sha256.New, prepare(password), k.Salt, k.Iterations, sha256.Size)
	if err != nil {
		return err
	}
	k.Stored = sha256.Sum256(mac(salted, "Client Key"))
	copy(k.Server[:], mac(salted, "Server Key"))
	return nil
}

// matches tells whether the keys are of this password.
func (k *Keys) matches(password string) bool {
	other := Keys{Iterations: k.Iterations, Salt: k.Salt}
	if err := other.derive(password); err != nil {
		return false
	}
	return subtle.ConstantTimeCompare(k.Stored[:], other.Stored[:]) == 1
}

func (k *Keys) String() string {
	b64 := base64.StdEncoding.EncodeToString
	return scramPrefix + strconv.Itoa(k.Iterations) + ":" + b64(k.Salt) + "$" + b64(k.Stored[:]) + ":" + b64(k.Server[:])
}

// ParseKeys reads SCRAM-SHA-256$ITERATIONS:SALT$STORED:SERVER, as RFC 5803 and
// PostgreSQL have it.
func ParseKeys(s string) (k Keys, err error) {
	bad := fmt.Errorf("want %sITERATIONS:SALT$STOREDKEY:SERVERKEY, with at least %d iterations", scramPrefix, minIterations)
	rest, ok := strings.CutPrefix(s, scramPrefix)
	head, tail, ok2 := strings.Cut(rest, "$")
	count, salt, ok3 := strings.Cut(head, ":")
	stored, server, ok4 := strings.Cut(tail, ":")
	if !ok || !ok2 || !ok3 || !ok4 {
		return k, bad
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < minIterations || n > maxIterations {
		return k, bad
	}
	k.Iterations = n
	if k.Salt, err = base64.StdEncoding.DecodeString(salt); err != nil || len(k.Salt) == 0 || len(k.Salt) > 64 {
		return k, bad
	}
	for _, v := range []struct {
		text string
		key  *[sha256.Size]byte
	}{{stored, &k.Stored}, {server, &k.Server}} {
		b, err := base64.StdEncoding.DecodeString(v.text)
		if err != nil || len(b) != sha256.Size {
			return k, bad
		}
		copy(v.key[:], b)
	}
	return k, nil
}

// nobody are keys for a user who does not exist: always the same for a name, as
// long as like is, and nothing fits them.
func nobody(user string, like *Keys) Keys {
	k := Keys{Iterations: newIterations}
	salt := 16
	secret := like.Server[:]
	if like.Iterations != 0 {
		k.Iterations, salt = like.Iterations, len(like.Salt)
	}
	for len(k.Salt) < salt {
		k.Salt = append(k.Salt, mac(secret, "salt "+strconv.Itoa(len(k.Salt))+" "+user)...)
	}
	k.Salt = k.Salt[:salt]
	rand.Read(k.Stored[:])
	rand.Read(k.Server[:])
	return k
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// processSecret is known to nobody, and new with each start.
var processSecret = sync.OnceValue(func() []byte {
	b := make([]byte, sha256.Size)
	rand.Read(b)
	return b
})
