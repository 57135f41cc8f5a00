package shell

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"sort"
	"sync"
	"syscall"
)

// Program is one loaded version of a configuration. It never changes after
// Load and may be used by any number of goroutines.
type Program struct {
	name  string
	opts  Options
	syms  *symtab
	vars  []variable
	funcs []*function
	cmds  []Command // by slot

	errexit, nounset, pipefail bool
	args                       []string

	lines   []Position          // statements, for coverage
	calls   map[string]Position // literal command names that were nothing at compile time
	defined map[string]bool     // functions declared anywhere
	pool    sync.Pool
}

// Slots that the evaluator itself looks at.
const (
	slotIFS = iota
	slotRematch
	slotOptind
	slotOptarg
	slotOpterr
	slotHome
	slotReply
	slotMapfile
	firstSlot
)

var fixedSlots = [firstSlot]string{"IFS", "BASH_REMATCH", "OPTIND", "OPTARG", "OPTERR", "HOME", "REPLY", "MAPFILE"}

// Source is one file of a configuration.
type Source struct {
	Name string
	Text io.Reader
}

// Load compiles a configuration and runs its top level once. Errors are *Error.
func Load(ctx context.Context, opts Options, name string, src io.Reader) (*Program, error) {
	return LoadFiles(ctx, opts, Source{name, src})
}

// LoadFiles loads several files in order, as if they were one.
func LoadFiles(ctx context.Context, opts Options, files ...Source) (*Program, error) {
	name := ""
	if len(files) > 0 {
		name = files[0].Name
	}
	in, err := newLoader(ctx, opts, name)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := in.loadFile(f.Name, f.Text); err != nil {
			return nil, err
		}
	}
	in.prog.freeze(in)
	return in.prog, nil
}

// newLoader makes a program without content and the evaluation that fills it.
func newLoader(ctx context.Context, opts Options, name string) (*interp, error) {
	opts.setDefaults()
	p := &Program{name: name, opts: opts, syms: newSymtab(nil), calls: map[string]Position{}, defined: map[string]bool{}}
	in := newInterp(p)
	in.loading, in.syms = true, p.syms
	in.ctx, in.done, in.trace = ctx, ctx.Done(), opts.Trace
	p.syms.grown = in.grow
	for _, name := range fixedSlots {
		p.syms.intern(name)
	}
	for name, cmd := range opts.Commands {
		p.defineCommand(name, cmd)
	}
	in.setVar(slotIFS, defaultIFS)
	in.setVar(slotOptind, "1")
	for name, val := range opts.Vars {
		if !validName(name) {
			return nil, &Error{Pos: Position{File: name}, Err: fmt.Errorf("%q is not a variable name", name)}
		}
		in.setVar(p.syms.intern(name), val)
	}
	in.begin()
	return in, nil
}

func (p *Program) defineCommand(name string, cmd Command) {
	slot := p.syms.intern(name)
	for len(p.cmds) <= slot {
		p.cmds = append(p.cmds, nil)
	}
	p.cmds[slot] = cmd
}

func (p *Program) command(slot int) Command {
	if slot < len(p.cmds) {
		return p.cmds[slot]
	}
	return nil
}

// freeze makes the state after the top level the base of all sessions.
func (p *Program) freeze(in *interp) {
	p.syms.frozen, p.syms.grown = true, nil
	p.vars, p.funcs = in.vars, in.funcs
	p.errexit, p.nounset, p.pipefail = in.errexit, in.nounset, in.pipefail
	p.args = in.args
	for i := range p.vars {
		p.vars[i].epoch = 0
	}
	p.pool.New = func() any { return p.newSessionInterp() }
}

func (p *Program) newSessionInterp() *interp {
	in := newInterp(p)
	in.syms = newSymtab(p.syms)
	in.syms.grown = in.grow
	in.vars = append(make([]variable, 0, len(p.vars)+16), p.vars...)
	in.funcs = append(make([]*function, 0, len(p.funcs)+16), p.funcs...)
	return in
}

// HasFunc tells whether a function is defined.
func (p *Program) HasFunc(name string) bool { return p.function(name) != nil }

func (p *Program) function(name string) *function {
	if id := p.syms.lookup(name); id >= 0 {
		return p.funcs[id]
	}
	return nil
}

// FuncPos tells where a function is defined.
func (p *Program) FuncPos(name string) (Position, bool) {
	if f := p.function(name); f != nil {
		return f.pos, true
	}
	return Position{}, false
}

// Funcs returns the names of all functions, sorted.
func (p *Program) Funcs() []string {
	var out []string
	for _, f := range p.funcs {
		if f != nil {
			out = append(out, f.name)
		}
	}
	sort.Strings(out)
	return out
}

// HasCommand tells whether a host command is defined.
func (p *Program) HasCommand(name string) bool {
	id := p.syms.lookup(name)
	return id >= 0 && p.command(id) != nil
}

// Var returns a variable as the top level left it.
func (p *Program) Var(name string) (string, bool) {
	if id := p.syms.lookup(name); id >= 0 {
		return p.vars[id].value()
	}
	return "", false
}

// Vars returns all variables that are set, except the shell's own.
func (p *Program) Vars() map[string]string {
	out := make(map[string]string)
	for i := firstSlot; i < len(p.vars); i++ {
		if s, ok := p.vars[i].value(); ok {
			out[p.syms.name(i)] = s
		}
	}
	return out
}

// Array returns the elements of an indexed array.
func (p *Program) Array(name string) ([]string, bool) {
	if id := p.syms.lookup(name); id >= 0 && p.vars[id].arr != nil {
		return append([]string(nil), p.vars[id].arr.vals...), true
	}
	return nil, false
}

// Lines returns the position of every command, in order: what coverage is
// measured against.
func (p *Program) Lines() []Position { return append([]Position(nil), p.lines...) }

// Unresolved is a literal command name that means nothing in the program.
type Unresolved struct {
	Name string
	Pos  Position
	Hint string // for the end of a message: what may have been meant
}

// Unresolved lists commands that are called somewhere but are no function,
// command or builtin: misspellings, or programs when External is set.
func (p *Program) Unresolved() []Unresolved {
	var out []Unresolved
	known := func(yield func(string) bool) {
		for _, names := range []iter.Seq[string]{maps.Keys(p.defined), maps.Keys(p.opts.Commands), maps.Keys(builtins())} {
			for name := range names {
				if !yield(name) {
					return
				}
			}
		}
	}
	for name, pos := range p.calls {
		if !p.defined[name] && !p.HasCommand(name) {
			out = append(out, Unresolved{name, pos, meant(name, known)})
		}
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].Pos, out[j].Pos
		return a.File < b.File || a.File == b.File && (a.Line < b.Line || a.Line == b.Line && a.Col < b.Col)
	})
	return out
}

// FileOpener is an Options.Open that reads regular files of the file system.
func FileOpener(name string) (io.ReadCloser, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hang
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
