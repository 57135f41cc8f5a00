package shell

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

// assignElement assigns a variable or one element of an array.
func (in *interp) assignElement(slot int, x *index, s string) bool {
	if x.kind == indexNone {
		return in.setVar(slot, s)
	}
	v := &in.vars[slot]
	if v.arr != nil && v.arr.assoc {
		k := x.key.text(in)
		if v = in.touch(slot); v.readonly {
			in.fatalf("%s: readonly variable", in.syms.name(slot))
			return false
		}
		v.arr.setKey(k, s)
		return true
	}
	if x.num == nil {
		in.fatalf("%s[%s]: not an arithmetic expression", in.syms.name(slot), x.key.src)
		return false
	}
	i := x.num.eval(in)
	if in.flow == flowAbort {
		return false
	}
	v = in.touch(slot)
	if v.readonly {
		in.fatalf("%s: readonly variable", in.syms.name(slot))
		return false
	}
	if v.arr == nil {
		v.arr = &array{}
		if v.set {
			v.arr.set(0, v.str)
		}
		v.str, v.set = "", true
	}
	if _, there := v.arr.find(int(i)); !there && i >= 0 && int(i) < v.arr.next() {
		in.charge(len(v.arr.idx) * 16) // the elements behind it move
	}
	if !v.arr.set(int(i), s) {
		in.fatalf("%s[%d]: bad array subscript", in.syms.name(slot), i)
		return false
	}
	return in.charge(len(s))
}
