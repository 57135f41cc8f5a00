package shell

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
)

// flow tells why a list of commands stopped early.
type flow uint8

const (
	flowNone flow = iota
	flowBreak
	flowContinue
	flowReturn
	flowExit
	flowAbort // interp.err is set
)

// interp is the state of one evaluation. It is reused from session to session.
type interp struct {
	prog    *Program
	ctx     context.Context
	done    <-chan struct{}
	host    any
	trace   *Trace
	loading bool
	busy    bool // inside Session.Call

	syms  *symtab
	vars  []variable
	funcs []*function

	// Undo records; see the package comment.
	epoch, lastEpoch uint32
	journal          []savedVar
	locals           []savedVar
	funcJournal      []savedFunc

	arg0   string
	args   []string // positional parameters
	frames []frame
	optind optState

	errexit, nounset, pipefail bool
	noErrexit                  int // >0: inside a condition

	status    int // $?
	subStatus int // status of the last command substitution
	flow      flow
	flowCount int // loops left to break out of or continue
	loops     int
	err       *Error

	fuel     int
	ticks    uint8
	captured int
	evals    int // nested eval and source

	stdin          *input
	stdout, stderr *sink
	pos            *Position

	scratch  []byte
	free     []*fields
	freeSink []*sink
	calls    []*Call
	ncalls   int

	ifs      ifsTable
	patterns map[string]*pattern
	regexps  map[string]*regexp.Regexp
}

type savedVar struct {
	slot int
	v    variable
}

type savedFunc struct {
	slot int
	f    *function
}

// frame is an active function call.
type frame struct {
	fn   *function
	from Position
	args []string // of the caller
	locals,
	loops int
	optind optState
}

// function is a shell function.
type function struct {
	name string
	slot int
	body node
	pos  Position
}

func newInterp(p *Program) *interp {
	in := &interp{prog: p, arg0: p.name, pos: &Position{File: p.name}}
	in.stdin = &input{}
	in.stdout = &sink{in: in, kind: sinkOut}
	in.stderr = &sink{in: in, kind: sinkLog}
	return in
}

// grow makes room for slots up to n.
func (in *interp) grow(n int) {
	for len(in.vars) < n {
		in.vars = append(in.vars, variable{})
		in.funcs = append(in.funcs, nil)
	}
}

// begin prepares one Call: fresh fuel, no pending control flow.
func (in *interp) begin() {
	in.fuel = in.prog.opts.Fuel
	in.captured = 0
	in.flow, in.flowCount, in.loops, in.noErrexit = flowNone, 0, 0, 0
	in.err = nil
}

// touch returns the slot for writing, journalling its content first if this is
// the first write in the current epoch.
func (in *interp) touch(slot int) *variable {
	v := &in.vars[slot]
	if v.epoch != in.epoch {
		in.journal = append(in.journal, savedVar{slot, *v})
		v.epoch = in.epoch
		if v.arr != nil {
			v.arr = v.arr.clone()
			in.charge(len(v.arr.vals) * 16)
		}
	}
	return v
}

// setVar assigns a scalar (or element 0 of an array).
func (in *interp) setVar(slot int, s string) bool {
	if len(s) > fuelBytes && !in.checkSize(len(s)) {
		return false
	}
	v := in.touch(slot)
	if v.readonly {
		in.fatalf("%s: readonly variable", in.syms.name(slot))
		return false
	}
	if v.arr != nil {
		if v.arr.assoc {
			v.arr.setKey("0", s)
		} else {
			v.arr.set(0, s)
		}
		return true
	}
	v.str, v.set = s, true
	return true
}

// setArray replaces the whole variable by an array.
func (in *interp) setArray(slot int, a *array) bool {
	v := in.touch(slot)
	if v.readonly {
		in.fatalf("%s: readonly variable", in.syms.name(slot))
		return false
	}
	v.str, v.arr, v.set = "", a, true
	return true
}

// declareLocal gives the slot a fresh value until the function returns.
// Declaring it twice in one function keeps the first.
func (in *interp) declareLocal(slot int) *variable {
	mark := in.frames[len(in.frames)-1].locals
	for i := mark; i < len(in.locals); i++ {
		if in.locals[i].slot == slot {
			return in.touch(slot)
		}
	}
	v := in.touch(slot)
	if v.readonly {
		in.fatalf("local: %s: readonly variable", in.syms.name(slot))
		return v
	}
	in.locals = append(in.locals, savedVar{slot, *v})
	v.str, v.arr, v.set, v.exported = "", nil, false, false
	return v
}

// restoreLocals undoes declareLocal and prefix assignments back to mark. The
// slot may have been journalled in this epoch meanwhile, so its epoch stays.
func (in *interp) restoreLocals(mark int) {
	for i := len(in.locals) - 1; i >= mark; i-- {
		s := &in.locals[i]
		in.vars[s.slot] = s.v
		s.v = variable{}
	}
	in.locals = in.locals[:mark]
}

func (in *interp) setFunc(f *function) {
	if !in.loading || in.epoch != 0 {
		in.funcJournal = append(in.funcJournal, savedFunc{f.slot, in.funcs[f.slot]})
	}
	in.funcs[f.slot] = f
}

func (in *interp) unsetFunc(slot int) {
	in.funcJournal = append(in.funcJournal, savedFunc{slot, in.funcs[slot]})
	in.funcs[slot] = nil
}

func (in *interp) lookupFunc(name string) *function {
	if id := in.syms.lookup(name); id >= 0 {
		return in.funcs[id]
	}
	return nil
}

func (in *interp) lookupVar(name string) (string, bool) {
	if id := in.syms.lookup(name); id >= 0 {
		return in.vars[id].value()
	}
	return "", false
}

// callFunc runs a function with args as its positional parameters.
func (in *interp) callFunc(f *function, args []string, from *Position) int {
	if len(in.frames) >= in.prog.opts.Depth {
		in.fatal(fmt.Errorf("%w: %d", ErrDepth, in.prog.opts.Depth))
		return 1
	}
	if !in.tick() {
		return 1
	}
	in.frames = append(in.frames, frame{fn: f, from: *from, args: in.args, locals: len(in.locals), loops: in.loops, optind: in.optind})
	in.args, in.loops = args, 0
	if t := in.trace; t != nil && t.Enter != nil {
		t.Enter(Frame{f.name, *from}, args)
	}
	st := f.body.run(in)
	if in.flow == flowReturn {
		in.flow = flowNone
		st = in.status
	}
	if t := in.trace; t != nil && t.Leave != nil {
		t.Leave(Frame{f.name, *from}, st)
	}
	fr := &in.frames[len(in.frames)-1]
	in.restoreLocals(fr.locals)
	in.args, in.loops, in.optind = fr.args, fr.loops, fr.optind
	*fr = frame{}
	in.frames = in.frames[:len(in.frames)-1]
	in.pos = from
	return st
}

func (in *interp) stack() []Frame {
	out := make([]Frame, 0, len(in.frames))
	for i := len(in.frames) - 1; i >= 0; i-- {
		out = append(out, Frame{in.frames[i].fn.name, in.frames[i].from})
	}
	return out
}

// tick pays for one command and looks at the clock now and then.
func (in *interp) tick() bool {
	in.fuel--
	if in.fuel < 0 {
		in.fatal(fmt.Errorf("%w: %d", ErrFuel, in.prog.opts.Fuel))
		return false
	}
	in.ticks++
	if in.ticks&63 == 0 {
		return in.checkTime()
	}
	return true
}

func (in *interp) checkTime() bool {
	select {
	case <-in.done:
		in.fatal(context.Cause(in.ctx))
		return false
	default:
		return true
	}
}

// charge pays for work on n bytes.
func (in *interp) charge(n int) bool {
	if n < fuelBytes {
		return true
	}
	in.fuel -= n / fuelBytes
	if in.fuel < 0 {
		in.fatal(fmt.Errorf("%w: %d", ErrFuel, in.prog.opts.Fuel))
		return false
	}
	return in.checkTime()
}

func (in *interp) checkSize(n int) bool {
	if n > in.prog.opts.MaxOutput {
		in.fatal(fmt.Errorf("%w: %d bytes", ErrOutput, n))
		return false
	}
	return in.charge(n)
}

// fatal ends the evaluation. The first error stands.
func (in *interp) fatal(err error) {
	in.flow = flowAbort
	if in.err != nil {
		return
	}
	var e *Error
	if errors.As(err, &e) { // text that eval or source could not compile
		in.err = &Error{Pos: e.Pos, Stack: in.stack(), Err: e.Err}
		return
	}
	in.err = &Error{Pos: *in.pos, Stack: in.stack(), Err: err}
}

func (in *interp) fatalf(format string, args ...any) {
	in.fatal(fmt.Errorf(format, args...))
}

// unknown ends the evaluation for want of a command.
func (in *interp) unknown(name string) {
	in.fatal(&unknownError{"command", name, meant(name, maps.Keys(in.prog.opts.Commands))})
}

type unknownError struct{ what, name, hint string }

func (e *unknownError) Error() string { return fmt.Sprintf("unknown %s %q%s", e.what, e.name, e.hint) }
func (e *unknownError) Is(t error) bool {
	return t == ErrUnknown
}
