package shell

import (
	"context"
)

// Session is the state of one evaluation, such as that of one message. What it
// assigns or defines vanishes with it. It is not safe for concurrent use.
type Session struct {
	in *interp
}

// Session starts an evaluation on top of the program. host is what commands
// find in Call.Host. Close it to give its memory back.
func (p *Program) Session(ctx context.Context, host any) *Session {
	in := p.pool.Get().(*interp)
	in.ctx, in.done, in.host, in.trace = ctx, ctx.Done(), host, p.opts.Trace
	in.lastEpoch = 1
	in.epoch = 1
	in.args = p.args
	in.errexit, in.nounset, in.pipefail = p.errexit, p.nounset, p.pipefail
	in.status, in.subStatus, in.optind = 0, 0, optState{}
	in.pos = &Position{File: p.name}
	return &Session{in}
}

// Call runs a function. err is always an *Error: fuel, depth, time, or a
// broken script; then the status means nothing.
func (s *Session) Call(fn string, args ...string) (status int, err error) {
	in := s.in
	in.begin()
	in.busy = true
	f := in.lookupFunc(fn)
	switch {
	case f == nil:
		in.fatal(&unknownError{what: "function", name: fn})
	case in.checkTime():
		from := *in.pos
		in.stdin = &input{}
		status = in.callFunc(f, append([]string(nil), args...), &from)
		if in.flow == flowExit {
			status = in.status
		}
		in.status = status
	}
	in.busy = false
	in.stdout.flush()
	in.stderr.flush()
	if in.err != nil {
		e := in.err
		s.unwind()
		return 1, e
	}
	return status, nil
}

// unwind drops what an aborted evaluation left behind, so that the session can
// go on with another function.
func (s *Session) unwind() {
	in := s.in
	in.restoreLocals(0)
	in.frames = in.frames[:0]
	in.ncalls = 0
	in.flow, in.err = flowNone, nil
	in.scratch = in.scratch[:0]
}

// Output runs a function and returns what it printed, without the newlines at
// the end.
func (s *Session) Output(fn string, args ...string) (out string, status int, err error) {
	in := s.in
	k := in.getSink()
	stdout := in.stdout
	in.stdout = k
	status, err = s.Call(fn, args...)
	in.stdout = stdout
	b := k.buf
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	out = string(b)
	in.putSink(k)
	return out, status, err
}

// Var returns a variable as the session sees it.
func (s *Session) Var(name string) (string, bool) { return s.in.lookupVar(name) }

// Setenv assigns a variable for the rest of the session. It returns false if
// the name is not one, or readonly.
func (s *Session) Setenv(name, value string) bool {
	if !validName(name) {
		return false
	}
	slot := s.in.syms.intern(name)
	if s.in.vars[slot].readonly {
		return false
	}
	return s.in.setVar(slot, value)
}

// HasFunc tells whether the session can call a function.
func (s *Session) HasFunc(name string) bool { return s.in.lookupFunc(name) != nil }

// SetTrace observes the calls that follow; nil stops it.
func (s *Session) SetTrace(t *Trace) { s.in.trace = t }

// SetHost changes what commands find in Call.Host.
func (s *Session) SetHost(host any) { s.in.host = host }

// SetContext bounds the calls that follow.
func (s *Session) SetContext(ctx context.Context) { s.in.ctx, s.in.done = ctx, ctx.Done() }

// Close undoes everything the session did and recycles it. The session must
// not be used afterwards.
func (s *Session) Close() {
	in := s.in
	if in == nil {
		return
	}
	s.in = nil
	if in.busy { // a command panicked: its state is anybody's guess
		return
	}
	in.rollback(0, 0)
	in.locals = in.locals[:0]
	n := len(in.prog.vars)
	clear(in.vars[n:])
	clear(in.funcs[n:])
	in.vars, in.funcs = in.vars[:n], in.funcs[:n]
	in.syms.reset()
	in.ctx, in.done, in.host, in.trace, in.args = nil, nil, nil, nil, nil
	in.stdin = nil
	in.prog.pool.Put(in)
}
