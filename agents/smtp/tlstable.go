package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// A tlsTable is the file of rules for destinations, db/tlspolicy. Lines are
//
//	example.org      verify
//	.example.org     dane
//	[192.0.2.1]:587  fingerprint 3c:91:...
//	*                auto
//
// The destination is looked for as the job names it, then the host that it led
// to, then the domains above the two, written with a leading dot, then "*". Empty
// lines and those that begin with "#" are comments. A file that does not exist has
// no rules; one with a mistake is not used at all, and mail waits: it might be the
// line that forbids sending in the clear.
type tlsTable struct {
	path string

	mu      sync.Mutex
	checked time.Time
	stamp   fileStamp
	rules   map[string]tlsRule
	err     error
}

type fileStamp struct {
	size int64
	time time.Time
}

const (
	maxTLSTable = 8 << 20
	// tableAge is how old what is known about the file may be.
	tableAge = time.Second
)

// of finds the rule for a target.
func (t *tlsTable) of(_ context.Context, g *target) (tlsRule, bool, error) {
	rules, err := t.load()
	if err != nil || len(rules) == 0 {
		return tlsRule{}, false, err
	}
	for _, key := range tlsKeys(g) {
		if r, ok := rules[key]; ok {
			return r, true, nil
		}
	}
	return tlsRule{}, false, nil
}

// tlsKeys is what a table is asked for, the closest first.
func tlsKeys(g *target) []string {
	names := [...]string{g.dest, strings.ToLower(g.name)}
	keys := append(make([]string, 0, 12), names[:]...)
	for _, name := range names {
		for i := strings.IndexByte(name, '.'); i >= 0 && name[0] != '[' && name[0] != '/'; {
			keys = append(keys, name[i:])
			next := strings.IndexByte(name[i+1:], '.')
			if next < 0 {
				break
			}
			i += 1 + next
		}
	}
	return append(keys, "*")
}

// load returns the rules, reading the file again when it has changed.
func (t *tlsTable) load() (map[string]tlsRule, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if now.Sub(t.checked) < tableAge {
		return t.rules, t.err
	}
	t.checked = now
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		t.rules, t.err, t.stamp = nil, nil, fileStamp{}
		return nil, nil
	}
	if err != nil {
		t.err = err
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.err = err
		return nil, err
	}
	if st.Size() > maxTLSTable {
		t.err = fmt.Errorf("%s has %d octets, at most %d", t.path, st.Size(), maxTLSTable)
		return nil, t.err
	}
	if stamp := (fileStamp{st.Size(), st.ModTime()}); stamp != t.stamp || t.err != nil {
		t.stamp = stamp
		t.rules, t.err = readTLSTable(f, t.path)
	}
	return t.rules, t.err
}

func readTLSTable(r io.Reader, path string) (map[string]tlsRule, error) {
	rules := make(map[string]tlsRule)
	lines := bufio.NewScanner(io.LimitReader(r, maxTLSTable))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		rule, err := parseTLSLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if _, twice := rules[rule.pattern]; twice {
			return nil, fmt.Errorf("%s:%d: %s stands there twice", path, n, rule.pattern)
		}
		rule.source = fmt.Sprintf("tlspolicy:%d", n)
		rules[rule.pattern] = rule
	}
	return rules, lines.Err()
}
