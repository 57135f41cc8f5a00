package shell

import (
	"time"
)

// assignment is name=value, name+=value, name[i]=value or name=(...).
type assignment struct {
	slot   int
	idx    index
	add    bool
	value  *word
	array  []arrayElem
	isList bool
	pos    Position
}

type arrayElem struct {
	idx   *index // [i]=value
	value *word
}

func (a *assignment) run(in *interp) bool {
	in.pos = &a.pos
	if a.isList {
		return a.assignList(in, false)
	}
	s := ""
	if a.value != nil {
		s = a.value.text(in)
	}
	if in.flow == flowAbort {
		return false
	}
	return a.assign(in, s)
}

// assign stores or appends a value that has been computed.
func (a *assignment) assign(in *interp, s string) bool {
	if a.add {
		old, _ := in.vars[a.slot].value()
		if a.idx.kind != indexNone {
			old, _ = in.element(a.slot, &a.idx)
		}
		if !in.checkSize(len(old) + len(s)) {
			return false
		}
		s = old + s
	}
	return in.assignElement(a.slot, &a.idx, s)
}

// assignList is name=(...); assoc makes it an associative array.
func (a *assignment) assignList(in *interp, assoc bool) bool {
	v := &in.vars[a.slot]
	if v.arr != nil && v.arr.assoc {
		assoc = true
	}
	arr := &array{assoc: assoc}
	if a.add && v.arr != nil {
		arr = v.arr.clone()
		in.charge(len(arr.vals) * 16)
	} else if a.add && v.set {
		arr.set(0, v.str)
	}
	if assoc {
		if !a.fillAssoc(in, arr) {
			return false
		}
		return in.setArray(a.slot, arr)
	}
	f := in.getFields()
	defer in.putFields(f)
	next := arr.next()
	for _, e := range a.array {
		if e.idx == nil {
			f.out = f.out[:0]
			e.value.expand(in, f)
			for _, s := range f.out {
				arr.set(next, s)
				next++
			}
			continue
		}
		if e.idx.num == nil {
			in.fatalf("[%s]: not an arithmetic expression", e.idx.key.src)
			return false
		}
		n := int(e.idx.num.eval(in))
		if !arr.set(n, wordText(in, e.value)) {
			in.fatalf("[%d]: bad array subscript", n)
			return false
		}
		next = n + 1
	}
	return in.flow != flowAbort && in.setArray(a.slot, arr)
}

func (a *assignment) fillAssoc(in *interp, arr *array) bool {
	for i := 0; i < len(a.array); i++ {
		e := a.array[i]
		if e.idx != nil {
			arr.setKey(e.idx.key.text(in), wordText(in, e.value))
			continue
		}
		key, val := wordText(in, e.value), ""
		if i+1 < len(a.array) && a.array[i+1].idx == nil {
			i++
			val = wordText(in, a.array[i].value)
		}
		arr.setKey(key, val)
	}
	return in.flow != flowAbort
}

func wordText(in *interp, w *word) string {
	if w == nil {
		return ""
	}
	return w.text(in)
}

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

func (n *simple) assignAll(in *interp) int {
	for _, a := range n.assigns {
		if !a.run(in) {
			return 1
		}
	}
	in.status = in.subStatus
	return in.subStatus
}

// withAssigns makes prefix assignments for the time of one command.
func (n *simple) withAssigns(in *interp, argv []string) int {
	mark := len(in.locals)
	for _, a := range n.assigns {
		s := a.value.text(in)
		if a.add {
			old, _ := in.vars[a.slot].value()
			s = old + s
		}
		v := in.touch(a.slot)
		if v.readonly {
			in.fatalf("%s: readonly variable", in.syms.name(a.slot))
		}
		if in.flow == flowAbort {
			in.restoreLocals(mark)
			return 1
		}
		in.locals = append(in.locals, savedVar{a.slot, *v})
		v.str, v.arr, v.set, v.exported = s, nil, true, true
	}
	st := n.dispatch(in, argv)
	in.restoreLocals(mark)
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
	return in.program(argv)
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
	return in.program(argv)
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

// redirect is one redirection of a statement.
type redirect struct {
	fd    int
	op    redirOp
	to    int   // target descriptor of n>&m
	word  *word // file name, here-string or here-document
	pos   Position
	empty bool
}

type redirOp uint8

const (
	redirIn redirOp = iota
	redirOut
	redirAppend
	redirBoth // &>
	redirBothAppend
	redirDup
	redirHere
	redirHereString
	redirClose
)

type redirected struct {
	redirs []redirect
	body   node // nil: only the redirections
}

func (n *redirected) run(in *interp) int {
	stdin, stdout, stderr := in.stdin, in.stdout, in.stderr
	var files []interface{ Close() error }
	st := 0
	for i := range n.redirs {
		r := &n.redirs[i]
		in.pos = &r.pos
		c := r.open(in)
		if c != nil {
			files = append(files, c)
		}
		if in.flow != flowNone {
			st = in.stopped(1)
			break
		}
	}
	if in.flow == flowNone && n.body != nil {
		st = n.body.run(in)
	}
	in.stdin, in.stdout, in.stderr = stdin, stdout, stderr
	for _, f := range files {
		if err := f.Close(); err != nil {
			in.fatal(err)
			st = 1
		}
	}
	return st
}

// open performs one redirection and returns what must be closed afterwards.
func (r *redirect) open(in *interp) interface{ Close() error } {
	switch r.op {
	case redirHere:
		in.stdin = &input{buf: []byte(r.word.text(in))}
	case redirHereString:
		in.stdin = &input{buf: []byte(r.word.text(in) + "\n")}
	case redirIn:
		return r.openRead(in, r.word.text(in))
	case redirDup:
		switch {
		case r.fd == 1 && r.to == 2:
			in.stdout = in.stderr
		case r.fd == 2 && r.to == 1:
			in.stderr = in.stdout
		}
	case redirClose:
		if r.fd == 0 {
			in.stdin = &input{}
			return nil
		}
		r.direct(in, &sink{in: in, kind: sinkNull})
	default:
		return r.openWrite(in, r.word.text(in))
	}
	return nil
}

func (r *redirect) direct(in *interp, k *sink) {
	switch {
	case r.op == redirBoth || r.op == redirBothAppend:
		in.stdout, in.stderr = k, k
	case r.fd == 2:
		in.stderr = k
	default:
		in.stdout = k
	}
}

func (r *redirect) openRead(in *interp, name string) interface{ Close() error } {
	switch {
	case name == "/dev/null":
		in.stdin = &input{}
	case name == "/dev/stdin":
	case in.prog.opts.Open == nil:
		in.fatalf("%.200q: reading files is not allowed here", name)
	default:
		f, err := in.prog.opts.Open(name)
		if err != nil {
			in.fatal(err)
			return nil
		}
		in.stdin = &input{r: f}
		return f
	}
	return nil
}

func (r *redirect) openWrite(in *interp, name string) interface{ Close() error } {
	switch {
	case name == "/dev/null":
		r.direct(in, &sink{in: in, kind: sinkNull})
	case name == "/dev/stderr":
		r.direct(in, in.stderr)
	case name == "/dev/stdout":
		r.direct(in, in.stdout)
	case in.prog.opts.Create == nil:
		in.fatalf("%.200q: writing files is not allowed here; only /dev/null", name)
	default:
		f, err := in.prog.opts.Create(name, r.op == redirAppend || r.op == redirBothAppend)
		if err != nil {
			in.fatal(err)
			return nil
		}
		r.direct(in, &sink{in: in, kind: sinkFile, file: f})
		return f
	}
	return nil
}
