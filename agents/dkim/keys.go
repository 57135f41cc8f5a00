package dkim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"zmailer/spool/rfc5322"
)

// Keys finds the keys for a message. It is safe for concurrent use.
type Keys struct {
	Dir string // DIR/DOMAIN/SELECTOR.pem

	// Table, if it is not nil, is asked before the directory: for the address in
	// From, its domain, the domains above with a leading dot, and "*". The value is
	// a list of DOMAIN/SELECTOR, or DOMAIN for all of its keys, or "none".
	Table func(ctx context.Context, key string) (value string, found bool, err error)

	mu      sync.Mutex
	domains map[string]*domainKeys
}

// domainKeys is what is known of the directory of a domain.
type domainKeys struct {
	checked time.Time
	files   map[string]*keyFile // by selector
	keys    []*Key
	err     error
}

type keyFile struct {
	size int64
	time time.Time
	mode fs.FileMode
	key  *Key
}

const (
	keySuffix  = ".pem"
	maxKeys    = 8    // signatures of one message
	maxDomains = 1000 // remembered
	lookAgain  = time.Second
)

// For returns the keys that sign a message with this header; none is no error.
func (k *Keys) For(ctx context.Context, header rfc5322.Header) ([]*Key, error) {
	list, _ := rfc5322.ParseList(header.Get("From")) // what can be read of it
	for i := range list {
		if list[i].IsNull() {
			continue
		}
		domain, err := rfc5322.CanonicalDomain(list[i].Domain)
		if err != nil || !isName(domain) {
			return nil, nil // nobody can publish a key for it
		}
		return k.forAddress(ctx, strings.ToLower(list[i].Address.String()), domain)
	}
	return nil, nil
}

func (k *Keys) forAddress(ctx context.Context, address, domain string) ([]*Key, error) {
	if k.Table != nil {
		value, found, err := k.ask(ctx, address, domain)
		if err != nil {
			return nil, err
		}
		if found {
			return k.named(value)
		}
	}
	return k.OfDomain(domain)
}

// ask looks in the table for the closest entry.
func (k *Keys) ask(ctx context.Context, address, domain string) (string, bool, error) {
	places := []string{address, domain}
	for rest := domain; ; {
		_, above, ok := strings.Cut(rest, ".")
		if !ok {
			break
		}
		places, rest = append(places, "."+above), above
	}
	for _, place := range append(places, "*") {
		if value, found, err := k.Table(ctx, place); found || err != nil {
			return value, found, err
		}
	}
	return "", false, nil
}

// named returns the keys that a value of the table names. All must be there.
func (k *Keys) named(value string) ([]*Key, error) {
	var keys []*Key
	for word := range strings.FieldsSeq(value) {
		if word == "none" {
			return nil, nil
		}
		domain, selector, one := strings.Cut(word, "/")
		if !isName(domain) {
			return nil, fmt.Errorf("table of signatures: %.80q is not DOMAIN/SELECTOR", word)
		}
		all, err := k.OfDomain(domain)
		if err != nil {
			return nil, err
		}
		n := len(keys)
		for _, key := range all {
			if !one || key.Selector == selector {
				keys = append(keys, key)
			}
		}
		if len(keys) == n {
			return nil, fmt.Errorf("table of signatures: no key %.80s in %s", word, k.Dir)
		}
	}
	if len(keys) > maxKeys {
		return nil, fmt.Errorf("%d keys for one message, at most %d", len(keys), maxKeys)
	}
	return keys, nil
}

// OfDomain returns the keys in the directory of a domain.
func (k *Keys) OfDomain(domain string) ([]*Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	d := k.domains[domain]
	if d != nil && now.Sub(d.checked) < lookAgain {
		return d.keys, d.err
	}
	if d == nil {
		if k.domains == nil || len(k.domains) >= maxDomains {
			k.domains = make(map[string]*domainKeys)
		}
		d = new(domainKeys)
		k.domains[domain] = d
	}
	d.checked = now
	d.keys, d.err = d.load(filepath.Join(k.Dir, domain), domain)
	return d.keys, d.err
}

// load reads the directory, and the files that have changed.
func (d *domainKeys) load(dir, domain string) ([]*Key, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		d.files = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	files := make(map[string]*keyFile)
	var keys []*Key
	for _, e := range entries {
		selector, ok := strings.CutSuffix(e.Name(), keySuffix)
		if !ok || !isName(selector) {
			continue
		}
		if len(keys) == maxKeys {
			return nil, fmt.Errorf("%s has more than %d keys", dir, maxKeys)
		}
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		f := d.files[selector]
		if f == nil || f.size != st.Size() || !f.time.Equal(st.ModTime()) || f.mode != st.Mode() {
			f = &keyFile{size: st.Size(), time: st.ModTime(), mode: st.Mode()}
			if f.key, err = ReadKey(path, domain, selector); err != nil {
				return nil, err
			}
		}
		files[selector] = f
		keys = append(keys, f.key)
	}
	d.files = files
	return keys, nil
}

// isName tells whether s can be a domain or selector, and a name in a directory.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		case c == '.' && i > 0 && i+1 < len(s) && s[i-1] != '.':
		default:
			return false
		}
	}
	return s != "" && len(s) <= 253
}
