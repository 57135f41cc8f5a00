package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"mvdan.cc/sh/v3/shell"

	"zmailer/shellcfg"
	"zmailer/shellcfg/relations"
	"zmailer/spool/proc"
)

// A Lookup asks a table. An error means that nobody knows, so that mail has to wait.
type Lookup = func(ctx context.Context, key string) (value string, found bool, err error)

// Table returns the table that a variable of zmailer.conf declares, in the words of
// the policy's "relation" without the name ("-t cdb -f /etc/zmailer/db/mailboxes"),
// or else the text file of that name in db/, which need not be there.
func Table(conf *shellcfg.Conf, variable, name string) (Lookup, error) {
	if conf.Get(variable) == "" {
		file := &optionalFile{name: name, path: conf.Path("db/" + name)}
		return file.lookup, nil
	}
	words, err := shell.Fields(conf.Get(variable), func(string) string { return "" })
	if err == nil {
		var spec relations.Spec
		if spec, err = relations.ParseSpec(append(words, name)); err == nil {
			spec.Lower = true
			var rel *relations.Relation
			if rel, err = (relations.Env{}).Declare(spec); err == nil {
				return rel.Lookup, nil
			}
		}
	}
	return nil, proc.Exit(proc.Config, "%s: %s: %w", conf.File, variable, err)
}

// An optionalFile is a text table that need not be there.
type optionalFile struct {
	name, path string

	mu      sync.Mutex
	checked time.Time
	rel     *relations.Relation // nil: there is no file
	err     error
}

// fileAge is how long it may take until a file that was made or removed is noticed.
const fileAge = time.Second

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

func (f *optionalFile) current() (*relations.Relation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if now.Sub(f.checked) < fileAge {
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
		f.rel, f.err = relations.Env{}.Declare(relations.Spec{Name: f.name, Type: "text", File: f.path, Lower: true})
	}
	return f.rel, f.err
}
