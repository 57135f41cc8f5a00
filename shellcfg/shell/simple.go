package shell

import (
	"time"
)

// simple is a command with its words and assignments.
type simple struct {
	pos     Position
	name    string // when the first word is literal
	slot    int    // of that name, or -1
	builtin builtin
	words   []*word
	assigns []*assignment
}

func (n *simple) run(in *interp) int {
	in.pos = &n.pos
	if !in.tick() {
		return 1
	}
	if t := in.trace; t != nil && t.Line != nil {
		t.Line(n.pos)
	}
	in.subStatus = 0
	if len(n.words) == 0 {
		return n.assignAll(in)
	}
	f := in.getFields()
	for _, w := range n.words {
		w.expand(in, f)
		if in.flow != flowNone {
			in.putFields(f)
			return in.stopped(1)
		}
	}
	in.pos = &n.pos
	var st int
	if len(f.out) == 0 { // nothing but empty expansions
		st = n.assignAll(in)
	} else if len(n.assigns) > 0 {
		st = n.withAssigns(in, f.out)
	} else {
		st = n.dispatch(in, f.out)
	}
	in.putFields(f)
	return st
}

// dispatch finds what a name means: function, host command, shell builtin,
// program, in this order.
func (n *simple) dispatch(in *interp, argv []string) int {
	if n.slot < 0 {
		return in.invoke(argv, false)
	}
	if f := in.funcs[n.slot]; f != nil {
		return in.callFunc(f, argv[1:], &n.pos)
	}
	if c := in.prog.command(n.slot); c != nil {
		return in.hostCommand(c, n.name, argv[1:])
	}
	if n.builtin != nil {
		return n.builtin(in, argv[1:])
	}
	return in.program(argv, nil)
}

// invoke runs a command whose name came out of an expansion, or of `command`,
// which skips functions.
func (in *interp) invoke(argv []string, noFunc bool) int {
	name := argv[0]
	if id := in.syms.lookup(name); id >= 0 {
		if f := in.funcs[id]; f != nil && !noFunc {
			return in.callFunc(f, argv[1:], in.pos)
		}
		if c := in.prog.command(id); c != nil {
			return in.hostCommand(c, name, argv[1:])
		}
	}
	if b := builtins()[name]; b != nil {
		return in.runBuiltin(b, argv)
	}
	if r := refusedCommands[name]; r != "" {
		in.fatalf("%s: not supported: %s", name, r)
		return 1
	}
	return in.program(argv, nil)
}

// runBuiltin runs a builtin whose name was not seen when the file was loaded.
func (in *interp) runBuiltin(b builtin, argv []string) int {
	if in.prog.opts.NoEval && argv[0] == "eval" {
		in.fatalf("eval: it is switched off here; call a function by name instead")
		return 1
	}
	return b(in, argv[1:])
}

// hostCommand calls a Go command. Its arguments are a copy because it may keep
// them.
func (in *interp) hostCommand(cmd Command, name string, args []string) int {
	if in.ncalls == len(in.calls) {
		in.calls = append(in.calls, &Call{in: in})
	}
	c := in.calls[in.ncalls]
	in.ncalls++
	c.Ctx, c.Name, c.Host, c.Pos = in.ctx, name, in.host, *in.pos
	c.Args = append([]string(nil), args...)
	c.Stdin, c.Stdout, c.Stderr = in.stdin, in.stdout, in.stderr
	pos, stdout, stderr := in.pos, in.stdout, in.stderr
	t := in.trace
	var began time.Time
	if t != nil && t.Command != nil {
		began = time.Now()
	}
	st := cmd(c)
	in.ncalls--
	c.Args, c.Host, c.Stdin, c.Ctx = nil, nil, nil, nil
	in.pos = pos
	if t != nil && t.Command != nil {
		t.Command(*pos, name, args, st, time.Since(began))
	}
	if !in.checkSink(stdout) || !in.checkSink(stderr) || !in.checkTime() {
		return 1
	}
	return st & 0xff
}
