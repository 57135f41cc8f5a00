package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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
	return l.declare(c, spec)
}

// table declares a table that need not exist: as relation, with the file
// $MAILVAR/db/NAME and type text by default. As long as there is no such file the
// command finds nothing, with status 1; when it appears the configuration is
// loaded anew. Where NAME.cdb is there too it is asked instead.
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
	if spec.Type == "text" || spec.Type == "aliases" {
		compiled := spec.File + ".cdb"
		found, err := l.exists(compiled)
		if err != nil {
			return c.Fail(err)
		}
		if found {
			spec.Lower = spec.Lower || spec.Type == "aliases"
			spec.Type, spec.File = "cdb", compiled
			return l.declare(c, spec)
		}
	}
	found, err := l.exists(spec.File)
	switch {
	case err != nil:
		return c.Fail(err)
	case found:
		return l.declare(c, spec)
	}
	return l.define(c, spec.Name, func(*shell.Call) int { return 1 })
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
	if !c.Loading() {
		return c.Fail(errLate)
	}
	rel, err := l.env.Declare(spec)
	if err != nil {
		return c.Fail(err)
	}
	l.p.tables = append(l.p.tables, rel)
	return l.define(c, spec.Name, lookupCommand(rel))
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
