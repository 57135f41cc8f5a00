package smtpserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// A passwordFile is the list of those who may log in: a line "user:hash" for
// each, where the hash is that of argon2id in its PHC form, or of bcrypt. Empty
// lines and lines that begin with # are skipped. It is read again when it has
// changed.
type passwordFile struct {
	path string
	busy chan struct{} // one for each password that is being checked

	mu    sync.Mutex
	mtime time.Time
	size  int64
	users map[string]string
	dummy string // some user's hash, for those who do not exist
}

const maxPasswordFile = 16 << 20

func newPasswordFile(path string) (*passwordFile, error) {
	f := &passwordFile{path: path, busy: make(chan struct{}, runtime.GOMAXPROCS(0))}
	return f, f.refresh()
}

// refresh reads the file if it has changed.
func (f *passwordFile) refresh() error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > maxPasswordFile {
		return fmt.Errorf("%s: not a regular file of at most %d octets", f.path, maxPasswordFile)
	}
	if f.users != nil && st.ModTime().Equal(f.mtime) && st.Size() == f.size {
		return nil
	}
	users, dummy, err := parsePasswords(file)
	if err != nil {
		return fmt.Errorf("%s:%w", f.path, err)
	}
	f.users, f.dummy, f.mtime, f.size = users, dummy, st.ModTime(), st.Size()
	return nil
}

// parsePasswords reads the lines. Errors begin with the number of the line.
func parsePasswords(r io.Reader) (users map[string]string, dummy string, err error) {
	users = make(map[string]string)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		switch {
		case !ok || user == "" || !printableText(user):
			return nil, "", fmt.Errorf("%d: want user:hash", n)
		case users[user] != "":
			return nil, "", fmt.Errorf("%d: user %s is there twice", n, user)
		}
		if _, err := parseHash(hash); err != nil {
			return nil, "", fmt.Errorf("%d: user %s: %w", n, user, err)
		}
		users[user], dummy = hash, hash
	}
	return users, dummy, lines.Err()
}

// check tells whether the password is the user's. It takes as long for a user
// who does not exist. An error says that nobody can tell now.
func (f *passwordFile) check(ctx context.Context, user, password string) (bool, error) {
	f.mu.Lock()
	err := f.refresh()
	hash, known := f.users[user]
	if !known {
		hash = f.dummy
	}
	f.mu.Unlock()
	if err != nil || hash == "" {
		return false, err
	}
	// Each check takes memory and time on purpose: not many at once.
	select {
	case f.busy <- struct{}{}:
		defer func() { <-f.busy }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	h, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	return h.matches(password) && known, nil
}

// A passwordHash is one hash with its parameters.
type passwordHash struct {
	bcrypt []byte // or else argon2id:

	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

var errHash = errors.New("want a hash of argon2id ($argon2id$...) or bcrypt ($2b$...)")

// Bounds of argon2id: what more costs is not a check but an attack on ourselves.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 100
)

func parseHash(s string) (h passwordHash, err error) {
	if strings.HasPrefix(s, "$2a$") || strings.HasPrefix(s, "$2b$") || strings.HasPrefix(s, "$2y$") {
		if _, err := bcrypt.Cost([]byte(s)); err != nil {
			return h, errHash
		}
		h.bcrypt = []byte(s)
		return h, nil
	}
	f := strings.Split(s, "$")
	if len(f) != 6 || f[0] != "" || f[1] != "argon2id" || f[2] != "v=19" {
		return h, errHash
	}
	const params = "m=%d,t=%d,p=%d"
	if _, err := fmt.Sscanf(f[3], params, &h.memory, &h.passes, &h.threads); err != nil || fmt.Sprintf(params, h.memory, h.passes, h.threads) != f[3] {
		return h, errHash
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(f[4]); err != nil {
		return h, errHash
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(f[5]); err != nil {
		return h, errHash
	}
	if h.memory > maxMemory || h.passes == 0 || h.passes > maxPasses || h.threads == 0 || len(h.salt) < 8 || len(h.key) < 16 || len(h.key) > 128 {
		return h, errHash
	}
	return h, nil
}

func (h *passwordHash) matches(password string) bool {
	if h.bcrypt != nil {
		return bcrypt.CompareHashAndPassword(h.bcrypt, []byte(password)) == nil
	}
	key := argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key)))
	return subtle.ConstantTimeCompare(key, h.key) == 1
}

// hashPassword makes a hash for the file, with parameters that OWASP advises.
func hashPassword(password string) string {
	const memory, passes, threads = 19 << 10, 2, 1
	salt := make([]byte, 16)
	rand.Read(salt) // never fails
	key := argon2.IDKey([]byte(password), salt, passes, memory, threads, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", memory, passes, threads, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// passwordLine reads a password from r and makes the line of the file.
func passwordLine(user string, r io.Reader) (string, error) {
	if user == "" || strings.Contains(user, ":") || user[0] == '#' || strings.TrimSpace(user) != user || !printableText(user) {
		return "", fmt.Errorf("%q cannot be the name of a user", user)
	}
	password, err := io.ReadAll(io.LimitReader(r, maxAuthLine))
	if err != nil {
		return "", err
	}
	password, _, _ = bytes.Cut(password, []byte("\n"))
	if len(password) == 0 {
		return "", errors.New("no password on standard input")
	}
	return user + ":" + hashPassword(string(password)), nil
}
