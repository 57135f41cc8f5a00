// Package relations is the lookup tables of a configuration.
//
// A table is declared once (Spec, from the shell command "relation") and then
// asked by key. A lookup has three outcomes that are never confused: found,
// with a value; not found; an error, which always means that the table could
// not be asked now and that the message must wait. A file that is missing,
// does not parse or is locked away is such an error, and so is a server that
// is down: only a table that answered can say that there is no such key.
//
// Sources that are files are watched (package watch): a changed file takes
// over within about two seconds, a broken one leaves the last good version in
// use. Pin fixes the versions for as long as one message is routed.
//
// Every type is one file here and one row in kinds. The layers above the
// types are the same for all of them: folding the case of keys, search of
// domains and networks (search.go), cache, substitution in values, statistics.
//
// Bounds: a key has at most 64 KiB, a value 16 MiB, a text file 256 MiB (large
// tables are cdb). A key that is empty, longer, or holds a NUL byte is in no
// table.
package relations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"zmailer/shellcfg/relations/cdb"
	"zmailer/shellcfg/resolver"
)

const (
	maxKey   = cdb.MaxKey
	maxValue = cdb.MaxValue
	maxText  = 256 << 20
)

// Table is what can be asked by key. An error means that the table could not
// be asked, never that there is no such key.
type Table interface {
	Lookup(ctx context.Context, key string) (value string, found bool, err error)
}

// Spec declares a table.
type Spec struct {
	Name     string
	Type     string            // a row of kinds: text, cdb, dns, ...
	Sub      string            // subtype, such as mx in dns,mx
	File     string            // -f: file, address or command, as the type has it
	Lower    bool              // -l: keys in lower case
	Upper    bool              // -u: keys in upper case
	Driver   string            // -d: how a key is searched; "" is exact
	Cache    int               // -s: entries kept
	TTL      time.Duration     // -e: how long a kept entry is good; 0 is for ever
	Negative bool              // -N: keep misses too
	KeyOnHit bool              // -b: the value of a hit is the key
	KeyElse  bool              // -n: on a miss or an empty value the value is the key
	Subst    bool              // -%: replace %0 to %9 in the value
	Eager    bool              // -m: look at the file before every lookup
	Options  map[string]string // -o: options of the type
}

// Env is what tables need of the world around them. The zero Env works:
// nothing is logged and the DNS is asked as /etc/resolv.conf says.
type Env struct {
	Log      *slog.Logger
	DNS      resolver.Resolver
	Passwd   string        // "" is /etc/passwd
	Group    string        // "" is /etc/group
	NSSwitch string        // "" is /etc/nsswitch.conf
	Getent   string        // path of getent; "" is searched in PATH, "-" is none
	Watch    time.Duration // how often files are looked at; 0 is once a second
}

// Open declares a table and makes sure that it can be asked: what
// "zmailer check" wants to know.
func Open(spec Spec) (*Relation, error) { return Env{}.Open(spec) }

// Open is the package's Open in this environment.
func (e Env) Open(spec Spec) (*Relation, error) {
	r, err := e.Declare(spec)
	if err != nil {
		return nil, err
	}
	if _, err := r.Check(context.Background()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Declare makes a table whose source need not be there yet: as long as it
// cannot be asked, lookups are errors. What is wrong with the declaration
// itself is an error at once.
func (e Env) Declare(spec Spec) (*Relation, error) {
	r, err := e.declare(spec)
	if err != nil {
		return nil, fmt.Errorf("relation %s: %w", spec.Name, err)
	}
	return r, nil
}

func (e Env) declare(spec Spec) (*Relation, error) {
	k, err := spec.validate()
	if err != nil {
		return nil, err
	}
	drv, err := findDriver(spec.Driver)
	if err != nil {
		return nil, err
	}
	r := &Relation{spec: spec, search: drv.search, plain: spec.isPlain(), since: time.Now(), cache: newCache(spec)}
	r.fold = foldFunc(spec, k)
	norm := keyNorm(r.fold, drv)
	r.table, err = k.open(&opening{Spec: spec, Env: e, norm: norm})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// opening is what a type gets to make a table.
type opening struct {
	Spec
	Env
	norm normalizer
}

// normalizer brings a key that stands in a source file to the form in which
// it is looked up.
type normalizer func(key string) (string, error)

func foldFunc(s Spec, k kind) func(string) string {
	switch {
	case s.Upper:
		return upper
	case s.Lower || k.lower:
		return lower
	}
	return nil
}

func keyNorm(fold func(string) string, drv driver) normalizer {
	return func(key string) (string, error) {
		if fold != nil {
			key = fold(key)
		}
		if drv.norm != nil {
			return drv.norm(key)
		}
		return key, nil
	}
}

// interval is how often the file of the table is looked at.
func (o *opening) interval() time.Duration {
	if o.Eager {
		return time.Nanosecond
	}
	return o.Watch
}

// logger is never nil. What is logged names its file or command in the error.
func (o *opening) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}
