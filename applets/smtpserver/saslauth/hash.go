package saslauth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// A Hash is the hash of a password in one of these forms:
//
//	$argon2id$v=19$m=M,t=T,p=P$SALT$KEY    RFC 9106
//	$2b$COST$...                           bcrypt, also $2a$ and $2y$
//	$5$..., $6$...                         crypt(3) with SHA-256 or SHA-512
//	SCRAM-SHA-256$I:SALT$STORED:SERVER     RFC 5803: keys, which prove a password too
//
// A scheme that Dovecot and LDAP servers put before it, as in {CRYPT}$6$...,
// is passed over.
type Hash struct {
	matches func(password string) bool
	scram   *Keys
}

var (
	errHash     = errors.New("want a hash of argon2id ($argon2id$...), bcrypt ($2b$...), crypt with SHA ($5$..., $6$...), or keys of SCRAM-SHA-256")
	errYescrypt = errors.New("hashes of yescrypt cannot be checked here; ask PAM (auth_with saslauthd), or set the password anew with SHA-512")
)

// Bounds of argon2id: what more costs is not a check but an attack on ourselves.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 100
)

// schemes are the prefixes that say nothing the hash does not.
var schemes = []string{"{crypt}", "{blf-crypt}", "{sha256-crypt}", "{sha512-crypt}", "{argon2id}"}

// ParseHash reads a hash.
func ParseHash(s string) (*Hash, error) {
	for _, p := range schemes {
		if len(s) > len(p) && strings.EqualFold(s[:len(p)], p) {
			s = s[len(p):]
			break
		}
	}
	switch {
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	case strings.HasPrefix(s, "$5$"), strings.HasPrefix(s, "$6$"):
		return parseSHACrypt(s)
	case strings.HasPrefix(s, scramPrefix):
		k, err := ParseKeys(s)
		if err != nil {
			return nil, err
		}
		return &Hash{matches: k.matches, scram: &k}, nil
	case strings.HasPrefix(s, "$y$"), strings.HasPrefix(s, "$gy$"):
		return nil, errYescrypt
	}
	return nil, errHash
}

func parseBcrypt(s string) (*Hash, error) {
	if _, err := bcrypt.Cost([]byte(s)); err != nil {
		return nil, errHash
	}
	return &Hash{matches: func(password string) bool {
		return bcrypt.CompareHashAndPassword([]byte(s), []byte(password)) == nil
	}}, nil
}

func parseArgon(s string) (*Hash, error) {
	f := strings.Split(s, "$")
	if len(f) != 6 || f[2] != "v=19" {
		return nil, errHash
	}
	const params = "m=%d,t=%d,p=%d"
	var memory, passes uint32
	var threads uint8
	if _, err := fmt.Sscanf(f[3], params, &memory, &passes, &threads); err != nil || fmt.Sprintf(params, memory, passes, threads) != f[3] {
		return nil, errHash
	}
	salt, err := base64.RawStdEncoding.DecodeString(f[4])
	if err != nil {
		return nil, errHash
	}
	key, err := base64.RawStdEncoding.DecodeString(f[5])
	if err != nil || memory > maxMemory || passes == 0 || passes > maxPasses || threads == 0 || len(salt) < 8 || len(key) < 16 || len(key) > 128 {
		return nil, errHash
	}
	return &Hash{matches: func(password string) bool {
		return subtle.ConstantTimeCompare(argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(key))), key) == 1
	}}, nil
}

// HashPassword makes a hash, with the parameters that OWASP advises for argon2id.
func HashPassword(password string) string {
	const memory, passes, threads = 19 << 10, 2, 1
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, passes, memory, threads, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// A gate lets so many checks of passwords run at once.
type gate chan struct{}

func newGate() gate { return make(gate, runtime.GOMAXPROCS(0)) }

// matches checks the password when it is its turn.
func (g gate) matches(ctx context.Context, h *Hash, password string) (bool, error) {
	select {
	case g <- struct{}{}:
		defer func() { <-g }()
		return h.matches(password), nil
	case <-ctx.Done():
		return false, fmt.Errorf("wait for the check of other passwords: %w", ctx.Err())
	}
}
