package shell

// node is a compiled statement. run returns its exit status; interp.flow tells
// whether to go on.
type node interface{ run(in *interp) int }

// list is a sequence of statements.
type list []node

func (l list) run(in *interp) int {
	st := 0
	for _, n := range l {
		st = n.run(in)
		in.status = st
		if in.flow != flowNone {
			return st
		}
	}
	return st
}

// checked applies set -e to a statement.
type checked struct{ body node }

func (n checked) run(in *interp) int {
	st := n.body.run(in)
	if st != 0 && in.errexit && in.noErrexit == 0 && in.flow == flowNone {
		in.status = st
		in.flow = flowExit
	}
	return st
}

// cond runs a list whose failure is an answer, not an error.
func cond(in *interp, l node) bool {
	in.noErrexit++
	st := l.run(in)
	in.noErrexit--
	in.status = st
	return st == 0
}

type negation struct{ body node }

func (n negation) run(in *interp) int {
	if cond(in, n.body) {
		return in.stopped(1)
	}
	return in.stopped(0)
}

// stopped returns st unless return or exit has set the status already.
func (in *interp) stopped(st int) int {
	if in.flow == flowReturn || in.flow == flowExit || in.flow == flowAbort {
		return in.status
	}
	return st
}

type andOr struct {
	x, y node
	and  bool
}

func (n *andOr) run(in *interp) int {
	ok := cond(in, n.x)
	if in.flow != flowNone || ok != n.and {
		return in.status
	}
	return n.y.run(in)
}

type ifNode struct {
	cond, then list
	els        node // nil: nothing
}

func (n *ifNode) run(in *interp) int {
	ok := cond(in, n.cond)
	if in.flow != flowNone {
		return in.status
	}
	if ok {
		return n.then.run(in)
	}
	if n.els != nil {
		return n.els.run(in)
	}
	return 0
}

type whileNode struct {
	cond, body list
	until      bool
	pos        Position
}

func (n *whileNode) run(in *interp) int {
	in.loops++
	defer func() { in.loops-- }()
	st := 0
	for {
		in.pos = &n.pos
		if !in.tick() {
			return 1
		}
		ok := cond(in, n.cond)
		if in.flow != flowNone {
			if in.loopDone() {
				return in.stopped(st)
			}
			continue
		}
		if ok == n.until {
			return st
		}
		st = n.body.run(in)
		if in.flow != flowNone && in.loopDone() {
			return in.stopped(st)
		}
	}
}

// loopDone handles break and continue at one loop level.
func (in *interp) loopDone() bool {
	switch in.flow {
	case flowBreak:
		if in.flowCount--; in.flowCount <= 0 {
			in.flow = flowNone
		}
		return true
	case flowContinue:
		if in.flowCount--; in.flowCount <= 0 {
			in.flow = flowNone
			return false
		}
		return true
	}
	return true
}

type forNode struct {
	slot  int
	words []*word
	args  bool // for x; do: over the positional parameters
	body  list
	pos   Position
}

func (n *forNode) run(in *interp) int {
	vals := in.args
	if !n.args {
		f := in.getFields()
		defer in.putFields(f)
		for _, w := range n.words {
			w.expand(in, f)
		}
		vals = f.out
	}
	if in.flow != flowNone {
		return in.stopped(1)
	}
	in.loops++
	defer func() { in.loops-- }()
	st := 0
	for _, s := range vals {
		in.pos = &n.pos
		if !in.tick() || !in.setVar(n.slot, s) {
			return 1
		}
		st = n.body.run(in)
		if in.flow != flowNone && in.loopDone() {
			return in.stopped(st)
		}
	}
	return st
}

type cForNode struct {
	init, cond, post arith // each may be nil
	body             list
	pos              Position
}

func (n *cForNode) run(in *interp) int {
	in.pos = &n.pos
	if n.init != nil {
		n.init.eval(in)
	}
	in.loops++
	defer func() { in.loops-- }()
	st := 0
	for in.flow == flowNone {
		in.pos = &n.pos
		if !in.tick() || n.cond != nil && n.cond.eval(in) == 0 || in.flow != flowNone {
			break
		}
		st = n.body.run(in)
		if in.flow != flowNone && in.loopDone() {
			break
		}
		if n.post != nil {
			in.pos = &n.pos
			n.post.eval(in)
		}
	}
	return in.stopped(st)
}

type caseNode struct {
	word  *word
	items []caseItem
	pos   Position
}

type caseItem struct {
	patterns []*patWord
	body     list
	next     byte // 0 stop, '&' run the next body, ';' go on matching
}

func (n *caseNode) run(in *interp) int {
	in.pos = &n.pos
	if !in.tick() {
		return 1
	}
	if t := in.trace; t != nil && t.Line != nil {
		t.Line(n.pos)
	}
	in.subStatus = 0
	s := n.word.text(in)
	in.status = in.subStatus
	st := 0
	through := false
	for i := range n.items {
		it := &n.items[i]
		if !through && !it.matches(in, s) {
			if in.flow != flowNone {
				return in.stopped(1)
			}
			continue
		}
		st = it.body.run(in)
		if in.flow != flowNone || it.next == 0 {
			return st
		}
		through = it.next == '&'
	}
	return st
}

func (it *caseItem) matches(in *interp, s string) bool {
	for _, p := range it.patterns {
		if !in.charge(len(s)) {
			return false
		}
		if p.pattern(in).match(s) {
			return in.flow == flowNone
		}
	}
	return false
}

type arithNode struct {
	xs  []arith // let has several
	pos Position
}

func (n *arithNode) run(in *interp) int {
	in.pos = &n.pos
	if !in.tick() {
		return 1
	}
	if t := in.trace; t != nil && t.Line != nil {
		t.Line(n.pos)
	}
	var v int64
	for _, x := range n.xs {
		v = x.eval(in)
	}
	if v == 0 || in.flow == flowAbort {
		return 1
	}
	return 0
}

type funcNode struct {
	name string
	slot int
	body node
	pos  Position
}

func (n *funcNode) run(in *interp) int {
	in.setFunc(&function{n.name, n.slot, n.body, n.pos})
	return 0
}
