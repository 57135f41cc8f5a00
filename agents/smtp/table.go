package smtp

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

	"mvdan.cc/sh/v3/shell"

	"zmailer/agents/dkim"
	"zmailer/shellcfg"
	"zmailer/shellcfg/relations"
	"zmailer/spool/proc"
)

// A lookup asks a table. An error means that nobody knows, so that mail has to wait.
type lookup = func(ctx context.Context, key string) (value string, found bool, err error)

// declare makes the table that a variable of zmailer.conf declares, in the words of
// the policy's "relation" without the name: "-t cdb -f /etc/zmailer/db/tlspolicy".
func declare(conf *shellcfg.Conf, variable, name string) (*relations.Relation, error) {
	words, err := shell.Fields(conf.Get(variable), func(string) string { return "" })
	if err == nil {
		var spec relations.Spec
		if spec, err = relations.ParseSpec(append(words, name)); err == nil {
			spec.Lower = true
			var rel *relations.Relation
			if rel, err = (relations.Env{}).Declare(spec); err == nil {
				return rel, nil
			}
		}
	}
	return nil, proc.Exit(proc.Config, "%s: %s: %w", conf.File, variable, err)
}

// openTables makes the tables that have names in zmailer.conf, or else are files
// that need not be there.
func (cl *commandLine) openTables(conf *shellcfg.Conf) error {
	cl.tls.table = &tlsTable{path: conf.Path("db/tlspolicy")}
	if conf.Get("TLSPOLICY") != "" {
		rel, err := declare(conf, "TLSPOLICY", "tlspolicy")
		if err != nil {
			return err
		}
		cl.tls.table = &tlsRelation{ask: rel.Lookup}
	}
	if cl.keyPlace == "none" || cl.keyPlace == "" && cl.lmtp {
		return nil
	}
	dir := cl.keyPlace
	if dir == "" {
		dir = conf.Path("dkim")
	} else if !filepath.IsAbs(dir) {
		return proc.Exit(proc.Usage, "option -k: want the path of a directory, or none: %q", dir)
	}
	cl.keys = &dkim.Keys{Dir: dir}
	var err error
	if cl.sealer, err = newSealer(conf); err != nil {
		return proc.Exit(proc.Config, "ARCDOMAIN: %w", err)
	}
	if conf.Get("DKIMTABLE") != "" {
		rel, err := declare(conf, "DKIMTABLE", "dkim")
		if err != nil {
			return err
		}
		cl.keys.Table = rel.Lookup
		return nil
	}
	file := optionalFile{path: conf.Path("db/dkim")}
	cl.keys.Table = file.lookup
	return nil
}

// An optionalFile is a text table that need not be there.
type optionalFile struct {
	path string

	mu      sync.Mutex
	checked time.Time
	rel     *relations.Relation // nil: there is no file
	err     error
}

func (f *optionalFile) lookup(ctx context.Context, key string) (string, bool, error) {
	rel, err := f.current()
	if rel == nil || err != nil {
		return "", false, err
	}
	value, found, err := rel.Lookup(ctx, key)
	if err != nil {
		err = fmt.Errorf("%s: %w", f.path, err)
	}
	return value, found, err
}

// current looks whether the file is there, if that was not known a moment ago.
func (f *optionalFile) current() (*relations.Relation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < tableAge {
		return f.rel, f.err
	}
	f.checked, f.err = now, nil
	_, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if f.rel != nil {
			f.err = f.rel.Close()
			f.rel = nil
		}
	case err != nil:
		f.err = err
	case f.rel == nil:
		f.rel, f.err = relations.Env{}.Declare(relations.Spec{Name: "dkim", Type: "text", File: f.path, Lower: true})
	}
	return f.rel, f.err
}

// A tlsRelation is a table of TLS rules that is asked key by key; the values are
// "MODE [FINGERPRINT]...", as in the lines of a tlsTable.
type tlsRelation struct{ ask lookup }

func (t *tlsRelation) of(ctx context.Context, g *target) (tlsRule, bool, error) {
	for _, key := range tlsKeys(g) {
		value, found, err := t.ask(ctx, key)
		if err != nil {
			return tlsRule{}, false, fmt.Errorf("TLSPOLICY: %w", err)
		}
		if !found {
			continue
		}
		rule, err := parseTLSRule(key, strings.Fields(value))
		if err != nil {
			return tlsRule{}, false, fmt.Errorf("TLSPOLICY: %s: %w", key, err)
		}
		rule.source = "tlspolicy:" + key
		return rule, true, nil
	}
	return tlsRule{}, false, nil
}
