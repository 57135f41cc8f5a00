package relations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"zmailer/shellcfg/internal/lru"
)

const maxCache = 10_000_000

// Relation is a declared table with everything that the declaration says.
// It is safe for concurrent use.
type Relation struct {
	spec   Spec
	table  Table
	fold   func(string) string
	search searcher // nil: exact
	plain  bool     // see isPlain
	since  time.Time
	cache  *lru.Cache[string, cached]

	hits, misses, failures, fromCache atomic.Int64
}

// cached is an outcome of the search for a key.
type cached struct {
	hit     hit
	version any // of the source, as versioned tells
}

// hit is what a search found.
type hit struct {
	value string
	rest  string // what %0 stands for
	found bool
}

// Query is a call of the table with everything a call may have.
type Query struct {
	Key      string
	Defaults []string // -: keys that are tried when nothing else was found
	Args     []string // %1 to %9 in a value, if the table was declared with -%
}

// Bounds of a call, as they always were.
const (
	maxDefaults = 19
	maxArgs     = 28
)

// ParseQuery reads the words after the name of a table:
//
//	KEY [-: DEFAULT]... [--] [ARG]...
func ParseQuery(args []string) (Query, error) {
	if len(args) == 0 {
		return Query{}, errors.New("need a key")
	}
	q := Query{Key: args[0]}
	args = args[1:]
	for len(args) > 0 && args[0] == "-:" {
		if len(args) < 2 {
			return Query{}, errors.New("-: needs a key")
		}
		q.Defaults = append(q.Defaults, args[1])
		args = args[2:]
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	q.Args = args
	if len(q.Defaults) > maxDefaults || len(q.Args) > maxArgs {
		return Query{}, fmt.Errorf("more than %d defaults or %d arguments", maxDefaults, maxArgs)
	}
	return q, nil
}

// Optional abilities of a type.
type (
	// checker looks at the source at once and reports what keeps it from
	// being used, and what is doubtful in it.
	checker interface {
		Check(ctx context.Context) (warnings []error, err error)
	}
	// versioned tells which version of its source a lookup in ctx would see.
	versioned interface{ version(ctx context.Context) any }
	// stale tells whether the source of a compiled table is newer.
	stale interface{ Stale() bool }
	// editable tables are filled by whoever declares them.
	editable interface{ Add(key, value string) error }
	// countable tables know how many entries they have.
	countable interface {
		Len(ctx context.Context) (int, error)
	}
	// listable tables can be gone through.
	listable interface {
		Each(ctx context.Context, f func(Entry) error) error
	}
	// reloading tables count the versions they had.
	reloading interface{ Reloads() int64 }
)

// Name is the name in the declaration.
func (r *Relation) Name() string { return r.spec.Name }

// Spec is the declaration.
func (r *Relation) Spec() Spec { return r.spec }

// Lookup finds the value of key.
func (r *Relation) Lookup(ctx context.Context, key string) (string, bool, error) {
	if !r.plain {
		return r.Ask(ctx, Query{Key: key})
	}
	var value string
	var found bool
	var err error
	if possible(key) {
		if r.fold != nil {
			key = r.fold(key)
		}
		value, found, err = r.table.Lookup(ctx, key)
	}
	return value, found, r.count(found, err)
}

// count counts an outcome and says in an error which table it was.
func (r *Relation) count(found bool, err error) error {
	switch {
	case err != nil:
		r.failures.Add(1)
		return fmt.Errorf("%s: %w", r.spec.Name, err)
	case found:
		r.hits.Add(1)
	default:
		r.misses.Add(1)
	}
	return nil
}

// isPlain tells whether a lookup is nothing but one question to the table.
func (s *Spec) isPlain() bool {
	return s.Cache == 0 && !s.Subst && !s.KeyOnHit && !s.KeyElse && drivers[s.Driver].search == nil
}

// Ask answers a call of the table. With -n a key that is not there is found
// with itself as the value.
func (r *Relation) Ask(ctx context.Context, q Query) (string, bool, error) {
	h, err := r.find(ctx, q)
	if err == nil && h.found && r.spec.Subst {
		h.value, err = substitute(h.value, h.rest, q.Args)
	}
	if err := r.count(h.found, err); err != nil {
		return "", false, err
	}
	value := h.value
	if h.found && r.spec.KeyOnHit {
		value = q.Key
	}
	if r.spec.KeyElse && (!h.found || value == "") {
		return q.Key, true, nil
	}
	return value, h.found, nil
}

// find applies cache, search and default keys.
func (r *Relation) find(ctx context.Context, q Query) (hit, error) {
	key := q.Key
	if !possible(key) {
		return hit{}, nil
	}
	if r.fold != nil {
		key = r.fold(key)
	}
	if r.cache == nil {
		return r.seek(ctx, key, q.Defaults)
	}
	id := key
	if len(q.Defaults) > 0 {
		id += "\x00" + strings.Join(q.Defaults, "\x00") // no key holds a NUL
	}
	var ver any
	if v, ok := r.table.(versioned); ok {
		ver = v.version(ctx)
	}
	if c, ok := r.cache.Get(id, time.Now()); ok && c.version == ver {
		r.fromCache.Add(1)
		return c.hit, nil
	}
	h, err := r.seek(ctx, key, q.Defaults)
	if err == nil && (h.found || r.spec.Negative) {
		var expires time.Time
		if r.spec.TTL > 0 {
			expires = time.Now().Add(r.spec.TTL)
		}
		r.cache.Put(strings.Clone(id), cached{h, ver}, expires)
	}
	return h, err
}

func newCache(s Spec) *lru.Cache[string, cached] {
	if s.Cache == 0 {
		return nil
	}
	return lru.New[string, cached](s.Cache)
}

func possible(key string) bool {
	return key != "" && len(key) <= maxKey && strings.IndexByte(key, 0) < 0
}

// seek tries the forms of the key, then the default keys.
func (r *Relation) seek(ctx context.Context, key string, defaults []string) (h hit, err error) {
	if r.search == nil {
		h, err = r.try(ctx, candidate{key, key})
	} else {
		h, err = r.walk(ctx, key, len(defaults) == 0)
	}
	for i := 0; i < len(defaults) && err == nil && !h.found; i++ {
		d := defaults[i]
		if r.fold != nil {
			d = r.fold(d)
		}
		if possible(d) {
			h, err = r.try(ctx, candidate{d, key})
		}
	}
	return h, err
}

func (r *Relation) try(ctx context.Context, c candidate) (hit, error) {
	value, found, err := r.table.Lookup(ctx, c.key)
	return hit{value: value, rest: c.rest, found: found}, err
}

// walk is apart from seek because a loop over a function costs allocations,
// which an exact lookup must not pay for.
func (r *Relation) walk(ctx context.Context, key string, fallback bool) (hit, error) {
	for c := range r.search(key, fallback) {
		if h, err := r.try(ctx, c); err != nil || h.found {
			return h, err
		}
	}
	return hit{}, nil
}

// Check looks at the source now, whatever was seen before. Warnings are what
// an administrator should know but what does not keep the table from working.
func (r *Relation) Check(ctx context.Context) (warnings []error, err error) {
	if c, ok := r.table.(checker); ok {
		warnings, err = c.Check(ctx)
	}
	if r.Stale() {
		warnings = append(warnings, fmt.Errorf("%s is older than its source: run newaliases or zmailer newdb", r.spec.File))
	}
	if err != nil {
		err = fmt.Errorf("relation %s: %w", r.spec.Name, err)
	}
	return warnings, err
}

// Stale tells whether the table was compiled from a source that has changed
// since.
func (r *Relation) Stale() bool {
	s, ok := r.table.(stale)
	return ok && s.Stale()
}

// Add sets the value of a key in a table of type incore.
func (r *Relation) Add(key, value string) error {
	e, ok := r.table.(editable)
	if !ok {
		return fmt.Errorf("%s: a table of type %s cannot be changed", r.spec.Name, r.spec.Type)
	}
	if !possible(key) || len(value) > maxValue {
		return fmt.Errorf("%s: key or value out of bounds", r.spec.Name)
	}
	if r.fold != nil {
		key = r.fold(key)
	}
	if r.cache != nil {
		defer r.cache.Flush()
	}
	return e.Add(key, value)
}

// Len counts the entries; ok is false if the type cannot tell.
func (r *Relation) Len(ctx context.Context) (n int, ok bool, err error) {
	c, ok := r.table.(countable)
	if !ok {
		return 0, false, nil
	}
	n, err = c.Len(ctx)
	return n, true, err
}

// Entry is a key with its value and, where the source is text, its line.
type Entry struct {
	Key, Value string
	Line       int
}

// Each calls f for every entry in the order of the source until f returns an
// error. It is errors.ErrUnsupported for types that cannot be gone through.
func (r *Relation) Each(ctx context.Context, f func(Entry) error) error {
	l, ok := r.table.(listable)
	if !ok {
		return fmt.Errorf("%s: list a table of type %s: %w", r.spec.Name, r.spec.Type, errors.ErrUnsupported)
	}
	if err := l.Each(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", r.spec.Name, err)
	}
	return nil
}

// Close ends connections and programs.
func (r *Relation) Close() error {
	if c, ok := r.table.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Stats counts since the declaration.
type Stats struct {
	Lookups  int64 // Hits + Misses + Failures
	Hits     int64
	Misses   int64
	Failures int64 // could not be asked
	Cached   int64 // of Lookups, answered from the cache
	Reloads  int64 // versions of the source that took over

	Since   time.Time // of the declaration
	Changed time.Time // of the source file; zero if it has none
}

// Stats returns the counts of now.
func (r *Relation) Stats() Stats {
	s := Stats{Since: r.since, Hits: r.hits.Load(), Misses: r.misses.Load(), Failures: r.failures.Load(), Cached: r.fromCache.Load()}
	s.Lookups = s.Hits + s.Misses + s.Failures
	if l, ok := r.table.(reloading); ok {
		s.Reloads = l.Reloads()
		if st, err := os.Stat(r.spec.File); err == nil {
			s.Changed = st.ModTime()
		}
	}
	return s
}
