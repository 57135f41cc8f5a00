package shell

import (
	"bytes"
	"strings"
)

// builtinRead is read [-r] [-d delim] [-a array] [name ...].
func builtinRead(in *interp, args []string) int {
	raw, array, delim := false, "", byte('\n')
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		opt := args[0]
		args = args[1:]
		switch {
		case opt == "--":
		case opt == "-r":
			raw = true
			continue
		case (opt == "-a" || opt == "-ra") && len(args) > 0:
			raw = raw || opt == "-ra"
			array, args = args[0], args[1:]
			continue
		case opt == "-d" && len(args) > 0:
			delim = 0
			if args[0] != "" {
				delim = args[0][0]
			}
			args = args[1:]
			continue
		default:
			in.fatalf("read: option %.40q is not supported: only -r, -a and -d are", opt)
			return 2
		}
		break
	}
	line, quoted, ok := in.readLine(raw, delim)
	if in.flow == flowAbort {
		return 1
	}
	if !in.readInto(line, quoted, array, args) || !ok {
		return 1
	}
	return 0
}

// readLine returns a line; quoted marks the bytes a backslash protects.
func (in *interp) readLine(raw bool, delim byte) (line []byte, quoted []bool, ok bool) {
	limit := in.prog.opts.MaxOutput
	for {
		part, full, err := in.stdin.line(limit, delim)
		if err != nil {
			in.fatal(err)
			return nil, nil, false
		}
		if !in.charge(len(part)) {
			return nil, nil, false
		}
		if raw {
			return dropNul(part), nil, full
		}
		again := false
		for i := 0; i < len(part); i++ {
			if part[i] != '\\' {
				line, quoted = append(line, part[i]), append(quoted, false)
				continue
			}
			if i++; i == len(part) {
				again = full
				break
			}
			line, quoted = append(line, part[i]), append(quoted, true)
		}
		if !again {
			return line, quoted, full
		}
		if !in.checkSize(len(line)) {
			return nil, nil, false
		}
	}
}

// dropNul removes NUL bytes, which no shell variable can hold.
func dropNul(b []byte) []byte {
	if bytes.IndexByte(b, 0) < 0 {
		return b
	}
	var out []byte
	for _, c := range b {
		if c != 0 {
			out = append(out, c)
		}
	}
	return out
}

// readInto splits a line over the names; the last takes the rest.
func (in *interp) readInto(line []byte, quoted []bool, arrayName string, names []string) bool {
	for _, n := range append([]string{arrayName}, names...) {
		if n != "" && !validName(n) {
			in.fatalf("read: %.40q is not a variable name", n)
			return false
		}
	}
	if arrayName == "" && len(names) == 0 {
		return in.setVar(slotReply, string(line))
	}
	class := *in.ifsClass()
	sp := readSplitter{line: line, quoted: quoted, class: &class}
	sp.skipWhite()
	if arrayName != "" {
		a := &array{}
		for n := 0; sp.more(); n++ {
			a.set(n, sp.field())
		}
		return in.setArray(in.syms.intern(arrayName), a)
	}
	for i, n := range names {
		val := ""
		if i == len(names)-1 {
			val = sp.rest()
		} else if sp.more() {
			val = sp.field()
		}
		if !in.setVar(in.syms.intern(n), val) {
			return false
		}
	}
	return true
}

type readSplitter struct {
	line   []byte
	quoted []bool
	class  *[256]byte
	at     int
}

func (s *readSplitter) kind(i int) byte {
	if s.quoted != nil && s.quoted[i] {
		return ifsNone
	}
	return s.class[s.line[i]]
}

func (s *readSplitter) skipWhite() {
	for s.at < len(s.line) && s.kind(s.at) == ifsWhite {
		s.at++
	}
}

func (s *readSplitter) more() bool { return s.at < len(s.line) }

// field takes the next field and the separator after it.
func (s *readSplitter) field() string {
	start := s.at
	for s.at < len(s.line) && s.kind(s.at) == ifsNone {
		s.at++
	}
	out := string(s.line[start:s.at])
	s.skipWhite()
	if s.at < len(s.line) && s.kind(s.at) == ifsOther {
		s.at++
		s.skipWhite()
	}
	return out
}

// rest is what the last name gets: everything, without white space at the end,
// and without one separator if that ends the line and there is only one field.
func (s *readSplitter) rest() string {
	start := s.at
	probe := *s
	first := probe.field()
	if !probe.more() {
		return first
	}
	end := len(s.line)
	for end > start && s.kind(end-1) == ifsWhite {
		end--
	}
	return string(s.line[start:end])
}

// builtinMapfile is mapfile [-t] [name].
func builtinMapfile(in *interp, args []string) int {
	trim := false
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		if args[0] != "-t" {
			in.fatalf("mapfile: option %.40q is not supported: only -t is", args[0])
			return 2
		}
		trim, args = true, args[1:]
	}
	slot := slotMapfile
	if len(args) > 0 {
		if !validName(args[0]) {
			in.fatalf("mapfile: %.40q is not a variable name", args[0])
			return 1
		}
		slot = in.syms.intern(args[0])
	}
	a := &array{}
	for n := 0; ; n++ {
		line, ok, err := in.stdin.line(in.prog.opts.MaxOutput, '\n')
		if err != nil {
			in.fatal(err)
			return 1
		}
		if !ok && len(line) == 0 {
			break
		}
		if !in.tick() || !in.charge(len(line)) {
			return 1
		}
		s := string(dropNul(line))
		if ok && !trim {
			s += "\n"
		}
		a.set(n, s)
	}
	if !in.setArray(slot, a) {
		return 1
	}
	return 0
}
