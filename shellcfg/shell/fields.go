package shell

import (
	"strings"
)

// fields collects the words of one command. cur is the field under
// construction: one string while it has only one piece, else in buf.
type fields struct {
	out     []string
	cur     string
	buf     []byte
	has     bool // there is a field, perhaps an empty quoted one
	joined  bool // it is in buf
	afterWS bool // IFS white space just ended a field
}

// getFields takes a free collector; the words in it stay valid until putFields.
func (in *interp) getFields() *fields {
	if n := len(in.free); n > 0 {
		f := in.free[n-1]
		in.free = in.free[:n-1]
		return f
	}
	return &fields{}
}

func (in *interp) putFields(f *fields) {
	clear(f.out)
	if cap(f.out) > 4096 || cap(f.buf) > 1<<16 {
		f.out, f.buf = nil, nil
	}
	f.out = f.out[:0]
	f.reset()
	in.free = append(in.free, f)
}

func (f *fields) reset() {
	f.cur, f.buf, f.has, f.joined, f.afterWS = "", f.buf[:0], false, false, false
}

// add appends text to the current field.
func (f *fields) add(s string) {
	f.afterWS = false
	switch {
	case !f.has:
		f.cur, f.has = s, true
	case f.joined:
		f.buf = append(f.buf, s...)
	case s != "":
		f.buf = append(append(f.buf[:0], f.cur...), s...)
		f.joined = true
	}
}

// cut finishes the current field even if it is empty.
func (f *fields) cut() {
	if f.joined {
		f.cur = string(f.buf)
	}
	f.out = append(f.out, f.cur)
	f.cur, f.buf, f.has, f.joined = "", f.buf[:0], false, false
}

// end finishes the current field if there is one.
func (f *fields) end() {
	if f.has {
		f.cut()
	}
	f.afterWS = false
}

// ifsTable is IFS as a table of byte classes.
type ifsTable struct {
	value string
	ready bool
	other bool // there is a separator that is not white space
	class [256]byte
}

const (
	ifsNone byte = iota
	ifsWhite
	ifsOther
)

const defaultIFS = " \t\n"

// ifsClass returns the table for the current IFS. An unset IFS splits like the
// default one; only a set and empty one does not split.
func (in *interp) ifsClass() *[256]byte {
	v := &in.vars[slotIFS]
	s := defaultIFS
	if v.set {
		s = v.str
	}
	t := &in.ifs
	if t.ready && t.value == s {
		return &t.class
	}
	t.class, t.other = [256]byte{}, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			t.class[c] = ifsWhite
		case c >= 0x80:
			in.fatalf("IFS: only ASCII characters can separate fields")
		default:
			t.class[c], t.other = ifsOther, true
		}
	}
	t.value, t.ready = s, true
	return &t.class
}

// joinChar is what "$*" puts between its words.
func (in *interp) joinChar() string {
	v := &in.vars[slotIFS]
	switch {
	case !v.set:
		return " "
	case v.str == "":
		return ""
	}
	return v.str[:1]
}

// split adds s to the fields, cutting at IFS (POSIX XCU 2.6.5).
func (f *fields) split(in *interp, s string) {
	if s == "" || !in.charge(len(s)) {
		return
	}
	class := in.ifsClass()
	start := 0
	for i := 0; i < len(s); {
		switch class[s[i]] {
		case ifsNone:
			i++
			continue
		case ifsWhite:
			f.piece(s[start:i])
			for i < len(s) && class[s[i]] == ifsWhite {
				i++
			}
			if f.has {
				f.cut()
				f.afterWS = true
			}
		default: // white space around it belongs to it
			f.piece(s[start:i])
			if f.has || !f.afterWS {
				f.cut()
			}
			f.afterWS = false
			for i++; i < len(s) && class[s[i]] == ifsWhite; i++ {
			}
		}
		start = i
	}
	f.piece(s[start:])
}

func (f *fields) piece(s string) {
	if s != "" {
		f.add(s)
	}
}

// list adds several values: each a field of its own, the first and last joined
// with what stands beside them. Unquoted and with an IFS that has
// more than white space, they are joined by its first character and split
// again, as bash does: a separator at the end of one then makes a field.
func (f *fields) list(in *interp, vals []string, quoted bool) {
	if !in.charge(len(vals) * 16) {
		return
	}
	if !quoted && len(vals) > 1 {
		if in.ifsClass(); in.ifs.other {
			f.split(in, strings.Join(vals, in.joinChar()))
			return
		}
	}
	for i, s := range vals {
		if i > 0 {
			if quoted {
				f.cut()
			} else {
				f.end()
			}
		}
		if quoted {
			f.add(s)
		} else {
			f.split(in, s)
		}
	}
}
