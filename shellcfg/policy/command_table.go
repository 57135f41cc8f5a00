package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
)

var errLate = errors.New("tables are declared at the top level of the configuration, not in functions")

// relation declares a table, which becomes a command. What it names must be
// there when it is asked; until then every lookup fails with status 75.
func (l *loader) relation(c *shell.Call) int {
	spec, err := relations.ParseSpec(c.Args)
	if err != nil {
		return c.Fail(err)
	}
	if l.cfg.Isolated || l.isFake(spec.Name) {
		return l.fake(c, spec)
	}
	if source, ok := strings.CutSuffix(spec.File, builtSuffix); ok && spec.Type == "cdb" {
		if _, err := os.Stat(source); err == nil {
			text := spec
			text.Type, text.File = "text", source
			l.p.built = append(l.p.built, Build{text, spec.File})
		}
	}
	return l.declare(c, spec)
}

// builtSuffix is what the name of a built table has behind the name of its source.
const builtSuffix = ".cdb"

// table declares a table that need not exist: as relation, with the file
// $MAILVAR/db/NAME and type text by default. As long as there is no such file the
// command finds nothing, with status 1; when it appears the configuration is
// loaded anew; the status of table itself is 1. FILE.cdb, which newaliases and
// newdb build, is asked instead unless FILE has changed since.
func (l *loader) table(c *shell.Call) int {
	spec, err := relations.ParseSpec(c.Args)
	if err != nil {
		return c.Fail(err)
	}
	if spec.Type == "" {
		spec.Type = "text"
	}
	if spec.File == "" {
		spec.File = l.p.conf.Path("db/" + spec.Name)
	}
	if l.cfg.Isolated || l.isFake(spec.Name) {
		return l.fake(c, spec)
	}
	built := spec
	built.Lower = spec.Lower || spec.Type == "aliases"
	built.Type, built.File = "cdb", spec.File+builtSuffix
	haveBuilt := false
	if spec.Type == "text" || spec.Type == "aliases" {
		if haveBuilt, err = l.exists(built.File); err != nil {
			return c.Fail(err)
		}
	}
	have, err := l.exists(spec.File)
	if have && (spec.Type == "text" || spec.Type == "aliases") {
		l.p.built = append(l.p.built, Build{spec, built.File})
	}
	switch {
	case err != nil:
		return c.Fail(err)
	case have && haveBuilt:
		return l.declareBoth(c, built, spec)
	case haveBuilt:
		return l.declare(c, built)
	case have:
		return l.declare(c, spec)
	}
	l.define(c, spec.Name, noTable)
	return 1
}

// noTable is the command of a table whose file is not there.
func noTable(c *shell.Call) int {
	if s, _ := c.Host.(*Session); s.node() != nil {
		s.node().add(Event{Kind: EventLookup, Name: c.Name, Args: c.Args, Pos: c.Pos, Outcome: "no table"})
	}
	return 1
}

// declareBoth defines the command of a table that was built from a source.
func (l *loader) declareBoth(c *shell.Call, built, source relations.Spec) int {
	fast, err := l.attach(c, built)
	if err != nil {
		return c.Fail(err)
	}
	slow, err := l.attach(c, source)
	if err != nil {
		return c.Fail(err)
	}
	// A source that was changed counts at once, unless it cannot be read: then the
	// built table, which newaliases keeps for that reason, goes on.
	stale := &throttle{look: func() bool {
		if !fast.Stale() {
			return false
		}
		_, _, err := slow.Lookup(context.Background(), "postmaster")
		return err == nil
	}}
	askFast, askSlow := lookupCommand(fast), lookupCommand(slow)
	return l.define(c, source.Name, func(c *shell.Call) int {
		if relations.PinChoice(c.Ctx, stale, stale.get) {
			return askSlow(c)
		}
		return askFast(c)
	})
}

// throttle looks at something at most once a second.
type throttle struct {
	look  func() bool
	until atomic.Int64
	last  atomic.Bool
}

func (t *throttle) get() bool {
	now := time.Now().UnixNano()
	if until := t.until.Load(); now > until && t.until.CompareAndSwap(until, now+int64(time.Second)) {
		t.last.Store(t.look())
	}
	return t.last.Load()
}

func (l *loader) isFake(name string) bool {
	_, fake := l.cfg.Fakes[name]
	return fake
}

// fake makes a table of what a test says, with everything else that the
// declaration says.
func (l *loader) fake(c *shell.Call, spec relations.Spec) int {
	f, declared := l.cfg.Fakes[spec.Name]
	l.faked[spec.Name] = true
	if !declared && c.Name == "table" {
		l.define(c, spec.Name, noTable)
		return 1
	}
	if f.Fails {
		return l.define(c, spec.Name, func(c *shell.Call) int {
			return ask(c, c.Name, func() (string, bool, error) { return "", false, errFake })
		})
	}
	rel, err := l.attach(c, relations.Spec{
		Name: spec.Name, Type: "incore", Driver: spec.Driver, Lower: spec.Lower || spec.Type == "aliases", Upper: spec.Upper,
		Subst: spec.Subst, KeyOnHit: spec.KeyOnHit, KeyElse: spec.KeyElse,
	})
	if err != nil {
		return c.Fail(err)
	}
	for _, e := range f.Entries {
		if err := rel.Add(e[0], e[1]); err != nil {
			return c.Fail(err)
		}
	}
	return l.define(c, spec.Name, lookupCommand(rel))
}

var errFake = errors.New("fails, as the test says")

// examined has the policy loaded again when a file that the top level tests comes or
// goes.
func (l *loader) examined(path string) {
	_, err := os.Lstat(path)
	l.p.presence = append(l.p.presence, presence{path, err == nil})
}

// exists looks whether a file is there, and has the policy loaded again when
// that changes. A file that cannot be looked at is no missing file.
func (l *loader) exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	found := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	l.p.presence = append(l.p.presence, presence{path, found})
	return found, err
}

func (l *loader) declare(c *shell.Call, spec relations.Spec) int {
	rel, err := l.attach(c, spec)
	if err != nil {
		return c.Fail(err)
	}
	return l.define(c, spec.Name, lookupCommand(rel))
}

func (l *loader) attach(c *shell.Call, spec relations.Spec) (*relations.Relation, error) {
	if !c.Loading() {
		return nil, errLate
	}
	rel, err := l.env.Declare(spec)
	if err == nil {
		l.p.tables = append(l.p.tables, rel)
	}
	return rel, err
}

func (l *loader) define(c *shell.Call, name string, cmd shell.Command) int {
	if !c.Define(name, cmd) {
		return c.Fail(errLate)
	}
	return 0
}

// lookupCommand is the command that a table becomes: KEY [-: DEFAULT]... [ARG]...
func lookupCommand(rel *relations.Relation) shell.Command {
	return func(c *shell.Call) int {
		q, err := relations.ParseQuery(c.Args)
		if err != nil {
			return c.Fail(fmt.Errorf("%s: %w", rel.Name(), err))
		}
		return ask(c, rel.Name(), func() (string, bool, error) { return rel.Ask(c.Ctx, q) })
	}
}

// ask makes a lookup: it prints what was found and returns 0, or 1 for nothing,
// or 75 for a failure, which is remembered.
func ask(c *shell.Call, name string, lookup func() (string, bool, error)) int {
	s, _ := c.Host.(*Session)
	var start time.Time
	explaining := s.node() != nil
	if explaining {
		start = time.Now()
	}
	value, found, err := lookup()
	if explaining {
		s.lookedUp(name, c.Args, c.Pos, start, value, found, err)
	}
	switch {
	case err != nil:
		return s.fail(name, err, c.Pos)
	case !found:
		return 1
	}
	return show(c, value)
}
