package saslauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// A File is a list of those who may log in: a line "user:HASH" for each, or
// "user:HASH KEYS" with keys for SCRAM. Empty lines and lines that begin with #
// are skipped. It is read again when it has changed.
type File struct {
	path   string
	shadow bool
	gate   gate

	mu    sync.Mutex
	mtime time.Time
	size  int64
	list  *entries
}

// An entry is one user.
type entry struct {
	hash *Hash
	keys *Keys
	err  error // why the hash cannot be checked
}

type entries struct {
	users map[string]entry
	dummy *Hash // some user's hash, for those who do not exist
	like  Keys  // some user's keys, for the same
	scram bool  // everybody has keys
}

const (
	maxFile = 64 << 20
	maxLine = 4096
)

// OpenFile reads a password file.
func OpenFile(path string) (*File, error) { return openFile(path, false) }

// OpenShadow reads a file like /etc/shadow: more fields follow the hash, accounts
// are locked with ! and *, and what cannot be checked is no error of the file.
func OpenShadow(path string) (*File, error) { return openFile(path, true) }

func openFile(path string, shadow bool) (*File, error) {
	f := &File{path: path, shadow: shadow, gate: newGate()}
	_, err := f.current()
	return f, err
}

// current is the list, read again if the file has changed.
func (f *File) current() (*entries, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	st, err := os.Stat(f.path)
	if err == nil && f.list != nil && st.ModTime().Equal(f.mtime) && st.Size() == f.size {
		return f.list, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if st, err = file.Stat(); err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, fmt.Errorf("%s: not a regular file of at most %d octets", f.path, maxFile)
	}
	list, err := parseEntries(io.LimitReader(file, maxFile), f.shadow)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", f.path, err)
	}
	f.list, f.mtime, f.size = list, st.ModTime(), st.Size()
	return list, nil
}

// parseEntries reads the lines. Errors begin with the number of the line.
func parseEntries(r io.Reader, shadow bool) (*entries, error) {
	l := &entries{users: make(map[string]entry)}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 512), maxLine)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, value, ok := strings.Cut(line, ":")
		if !ok || !ValidUser(user) {
			return nil, fmt.Errorf("%d: want user:hash", n)
		}
		user = prepare(user)
		if _, twice := l.users[user]; twice {
			return nil, fmt.Errorf("%d: user %s is there twice", n, user)
		}
		e := parseEntry(value, shadow)
		if e.err != nil && !shadow {
			return nil, fmt.Errorf("%d: user %s: %w", n, user, e.err)
		}
		l.add(user, e)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %w", n+1, err)
	}
	l.scram = len(l.users) > 0
	for _, e := range l.users {
		l.scram = l.scram && e.keys != nil
	}
	return l, nil
}

func (l *entries) add(user string, e entry) {
	l.users[user] = e
	if l.dummy == nil {
		l.dummy = e.hash
	}
	if l.like.Iterations == 0 && e.keys != nil {
		l.like = *e.keys
	}
}

var errLocked = errors.New("the password is locked or empty")

// parseEntry reads what follows the name.
func parseEntry(value string, shadow bool) (e entry) {
	if shadow {
		value, _, _ = strings.Cut(value, ":")
		if value == "" || value[0] == '!' || value[0] == '*' {
			return entry{err: errLocked}
		}
	}
	hash, keys, two := strings.Cut(value, " ")
	if e.hash, e.err = ParseHash(hash); e.err != nil {
		return e
	}
	e.keys = e.hash.scram
	if two {
		k, err := ParseKeys(strings.TrimSpace(keys))
		e.keys, e.err = &k, err
	}
	return e
}

// HasKeys tells whether all users have keys for SCRAM.
func (f *File) HasKeys() bool {
	l, err := f.current()
	return err == nil && l.scram
}

// Check is Checker's. It takes as long for a user who does not exist.
func (f *File) Check(ctx context.Context, user, password string) (bool, error) {
	l, err := f.current()
	if err != nil {
		return false, err
	}
	e, known := l.users[user]
	if e.err != nil && e.err != errLocked {
		return false, fmt.Errorf("%s: user %s: %w", f.path, user, e.err)
	}
	known = known && e.err == nil
	if !known {
		e.hash = l.dummy
	}
	if e.hash == nil {
		return false, nil
	}
	ok, err := f.gate.matches(ctx, e.hash, password)
	return ok && known, err
}

// Keys is KeyStore's.
func (f *File) Keys(_ context.Context, user string) (Keys, error) {
	l, err := f.current()
	if err != nil {
		return Keys{}, err
	}
	if e := l.users[user]; e.keys != nil && e.err == nil {
		return *e.keys, nil
	}
	return nobody(user, &l.like), nil
}

// ValidUser tells whether a user can have this name in a file.
func ValidUser(s string) bool {
	const most = 255
	if s == "" || len(s) > most || s[0] == '#' || strings.TrimSpace(s) != s || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r == ':' || unicode.IsControl(r) }) < 0
}

// Line makes the line of a user for the file.
func Line(user, password string, scram bool) (string, error) {
	if !ValidUser(user) {
		return "", fmt.Errorf("%q cannot be the name of a user", user)
	}
	if password == "" {
		return "", errors.New("the password is empty")
	}
	line := prepare(user) + ":" + HashPassword(password)
	if !scram {
		return line, nil
	}
	k, err := NewKeys(password)
	return line + " " + k.String(), err
}
