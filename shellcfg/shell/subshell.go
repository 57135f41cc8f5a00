package shell

// subshell is ( ... ): the same process, a scope that is rolled back.
type subshell struct{ body list }

func (n *subshell) run(in *interp) int {
	sc := in.enter()
	st := n.body.run(in)
	st = in.stopped(st)
	in.leave(sc)
	return st
}

// pipeline runs its stages one after the other; what one writes is collected
// in memory and read by the next. Every stage is a subshell.
type pipeline struct {
	stages []node
	both   []bool // |&
}

func (n *pipeline) run(in *interp) int {
	stdin, stdout, stderr := in.stdin, in.stdout, in.stderr
	defer func() { in.stdin, in.stdout, in.stderr = stdin, stdout, stderr }()
	st, failed := 0, 0
	last := len(n.stages) - 1
	for i, stage := range n.stages {
		k := stdout
		if i < last {
			k = in.getSink()
		}
		in.stdout, in.stderr = k, stderr
		if i < last && n.both[i] {
			in.stderr = k
		}
		sc := in.enter()
		st = in.stopped(stage.run(in))
		in.leave(sc)
		if st != 0 {
			failed = st
		}
		if i < last {
			in.stdin = &input{buf: k.take()}
			in.putSink(k)
		}
		if in.flow == flowAbort {
			return 1
		}
	}
	if in.pipefail {
		return failed
	}
	return st
}

// capture runs $(...) and returns what it printed without the newlines at the
// end.
func (in *interp) capture(body node) string {
	if !in.tick() {
		return ""
	}
	k := in.getSink()
	stdout := in.stdout
	in.stdout = k
	sc := in.enter()
	in.errexit = false // as in bash without inherit_errexit
	st := in.stopped(body.run(in))
	in.leave(sc)
	in.stdout = stdout
	in.status, in.subStatus = st, st
	b := k.buf
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	s := string(b)
	in.putSink(k)
	return s
}

// scope is what a subshell gives back when it ends.
type scope struct {
	epoch                      uint32
	journal, funcs, locals     int
	args                       []string
	optind                     optState
	errexit, nounset, pipefail bool
	loops                      int
}

func (in *interp) enter() scope {
	sc := scope{in.epoch, len(in.journal), len(in.funcJournal), len(in.locals), in.args, in.optind,
		in.errexit, in.nounset, in.pipefail, in.loops}
	in.lastEpoch++
	in.epoch = in.lastEpoch
	in.loops = 0 // break cannot reach a loop outside
	return sc
}

// leave rolls the subshell back. Only a fatal error goes on beyond it.
func (in *interp) leave(sc scope) {
	in.rollback(sc.journal, sc.funcs)
	for i := sc.locals; i < len(in.locals); i++ {
		in.locals[i].v = variable{}
	}
	in.locals = in.locals[:sc.locals]
	in.epoch, in.args, in.optind, in.loops = sc.epoch, sc.args, sc.optind, sc.loops
	in.errexit, in.nounset, in.pipefail = sc.errexit, sc.nounset, sc.pipefail
	if in.flow != flowAbort {
		in.flow = flowNone
	}
}

func (in *interp) rollback(journal, funcs int) {
	for i := len(in.journal) - 1; i >= journal; i-- {
		s := &in.journal[i]
		in.vars[s.slot] = s.v
		s.v = variable{}
	}
	in.journal = in.journal[:journal]
	for i := len(in.funcJournal) - 1; i >= funcs; i-- {
		in.funcs[in.funcJournal[i].slot] = in.funcJournal[i].f
		in.funcJournal[i].f = nil
	}
	in.funcJournal = in.funcJournal[:funcs]
}
