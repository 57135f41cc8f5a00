package shell

import (
	"sort"
	"strconv"
)

// variable is the content of one slot. The zero value is an unset variable.
type variable struct {
	str      string
	arr      *array // nil for a scalar
	epoch    uint32 // subshell level in which the slot was last journalled
	set      bool   // has a value; an array without elements is set too
	exported bool
	readonly bool
}

// value returns the scalar view: element 0 of an array.
func (v *variable) value() (string, bool) {
	if v.arr == nil {
		return v.str, v.set
	}
	if v.arr.assoc {
		return v.arr.getKey("0")
	}
	return v.arr.get(0)
}

// array is an indexed (sparse) or associative array. Elements of an indexed
// one are kept sorted by index, those of an associative one in the order they
// were added.
type array struct {
	assoc bool
	idx   []int
	keys  []string
	vals  []string
	at    map[string]int // associative: position of a key
}

func (a *array) clone() *array {
	b := &array{assoc: a.assoc}
	b.idx = append([]int(nil), a.idx...)
	b.keys = append([]string(nil), a.keys...)
	b.vals = append([]string(nil), a.vals...)
	if a.at != nil {
		b.at = make(map[string]int, len(a.at))
		for k, i := range a.at {
			b.at[k] = i
		}
	}
	return b
}

// find returns the position of index i and whether it is there.
func (a *array) find(i int) (int, bool) {
	if i >= 0 && i < len(a.idx) && a.idx[i] == i { // dense, the usual case
		return i, true
	}
	p := sort.SearchInts(a.idx, i)
	return p, p < len(a.idx) && a.idx[p] == i
}

func (a *array) get(i int) (string, bool) {
	if i < 0 {
		i += a.next()
	}
	if p, ok := a.find(i); ok {
		return a.vals[p], true
	}
	return "", false
}

func (a *array) getKey(k string) (string, bool) {
	if i, ok := a.at[k]; ok {
		return a.vals[i], true
	}
	return "", false
}

// next is the index after the last one: what += uses.
func (a *array) next() int {
	if len(a.idx) == 0 {
		return 0
	}
	return a.idx[len(a.idx)-1] + 1
}

// set stores element i; false means a negative index before the start.
func (a *array) set(i int, s string) bool {
	if i < 0 {
		if i += a.next(); i < 0 {
			return false
		}
	}
	p, ok := a.find(i)
	if ok {
		a.vals[p] = s
		return true
	}
	a.idx = append(a.idx, 0)
	a.vals = append(a.vals, "")
	copy(a.idx[p+1:], a.idx[p:])
	copy(a.vals[p+1:], a.vals[p:])
	a.idx[p], a.vals[p] = i, s
	return true
}

func (a *array) setKey(k, s string) {
	if i, ok := a.at[k]; ok {
		a.vals[i] = s
		return
	}
	if a.at == nil {
		a.at = make(map[string]int)
	}
	a.at[k] = len(a.keys)
	a.keys = append(a.keys, k)
	a.vals = append(a.vals, s)
}

func (a *array) unset(i int) {
	if i < 0 {
		i += a.next()
	}
	if p, ok := a.find(i); ok {
		a.idx = append(a.idx[:p], a.idx[p+1:]...)
		a.vals = append(a.vals[:p], a.vals[p+1:]...)
	}
}

func (a *array) unsetKey(k string) {
	i, ok := a.at[k]
	if !ok {
		return
	}
	delete(a.at, k)
	a.keys = append(a.keys[:i], a.keys[i+1:]...)
	a.vals = append(a.vals[:i], a.vals[i+1:]...)
	for j := i; j < len(a.keys); j++ {
		a.at[a.keys[j]] = j
	}
}

// names returns the indices or keys as text.
func (a *array) names() []string {
	if a.assoc {
		return a.keys
	}
	out := make([]string, len(a.idx))
	for i, n := range a.idx {
		out[i] = strconv.Itoa(n)
	}
	return out
}

// symtab gives every name (variable, function or command) a slot number. The
// table of a Program is frozen after Load; a session that meets new names, by
// eval or read, adds them to a table of its own.
type symtab struct {
	parent *symtab
	base   int
	ids    map[string]int
	names  []string
	frozen bool
	grown  func(n int) // told the new number of slots
}

func newSymtab(parent *symtab) *symtab {
	t := &symtab{parent: parent, ids: make(map[string]int)}
	if parent != nil {
		t.base = parent.len()
	}
	return t
}

func (t *symtab) len() int { return t.base + len(t.names) }

// lookup returns the slot of a name, or -1.
func (t *symtab) lookup(name string) int {
	if t.parent != nil {
		if id := t.parent.lookup(name); id >= 0 {
			return id
		}
	}
	if id, ok := t.ids[name]; ok {
		return id
	}
	return -1
}

// intern returns the slot of a name, making one if need be.
func (t *symtab) intern(name string) int {
	if id := t.lookup(name); id >= 0 {
		return id
	}
	if t.frozen {
		panic("shell: symbol " + name + " added to a frozen program")
	}
	id := t.len()
	t.ids[name] = id
	t.names = append(t.names, name)
	if t.grown != nil {
		t.grown(id + 1)
	}
	return id
}

func (t *symtab) name(id int) string {
	if id < t.base {
		return t.parent.name(id)
	}
	return t.names[id-t.base]
}

func (t *symtab) reset() {
	clear(t.ids)
	t.names = t.names[:0]
}

func validName(s string) bool {
	if s == "" {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; !(c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && c >= '0' && c <= '9') {
			return false
		}
	}
	return true
}
