package shell

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

func syntaxKeyword(s string) bool { return syntax.IsKeyword(s) }

// formatter runs one printf.
type formatter struct {
	in   *interp
	args []string
	used bool // a conversion took an argument in this round
	stop bool // \c in %b
	st   int
	out  []byte
}

// maxWidth bounds the field width and precision of printf.
const maxWidth = 4096

// builtinPrintf is printf [-v name] format [argument ...].
func builtinPrintf(in *interp, args []string) int {
	target := ""
	if len(args) > 1 && args[0] == "-v" {
		target, args = args[1], args[2:]
		if !validName(target) {
			in.fatalf("printf: %.40q is not a variable name", target)
			return 2
		}
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		in.fatalf("printf: usage: printf [-v var] format [arguments]")
		return 2
	}
	f := formatter{in: in, args: args[1:], out: in.scratch[len(in.scratch):]}
	for {
		f.used = false
		f.format(args[0])
		if f.stop || !f.used || len(f.args) == 0 || in.flow == flowAbort {
			break
		}
		if !in.tick() || len(f.out) > fuelBytes && !in.checkSize(len(f.out)) {
			return 1
		}
	}
	if in.flow == flowAbort {
		return 1
	}
	if target != "" {
		if !in.setVar(in.syms.intern(target), string(f.out)) {
			return 1
		}
		return f.st
	}
	if !in.printBytes(f.out) {
		return 1
	}
	return f.st
}

func (f *formatter) next() (string, bool) {
	f.used = true
	if len(f.args) == 0 {
		return "", false
	}
	s := f.args[0]
	f.args = f.args[1:]
	return s, true
}

func (f *formatter) format(s string) {
	for i := 0; i < len(s) && !f.stop && f.in.flow == flowNone; {
		switch {
		case s[i] == '\\':
			text, n, stop := escape(s[i:], escPrintf)
			f.out = append(f.out, text...)
			f.stop = stop
			i += n
		case s[i] != '%':
			f.out = append(f.out, s[i])
			i++
		case i+1 < len(s) && s[i+1] == '%':
			f.out = append(f.out, '%')
			i += 2
		default:
			i += f.conversion(s[i:])
		}
	}
}

// spec is a parsed %[flags][width][.precision].
type spec struct {
	minus, zero, plus, space, alt bool
	width, prec                   int // prec -1: none
}

// conversion handles one % and returns its length.
func (f *formatter) conversion(s string) int {
	sp := spec{prec: -1}
	i := 1
	for ; i < len(s) && strings.IndexByte("-0+ #", s[i]) >= 0; i++ {
		switch s[i] {
		case '-':
			sp.minus = true
		case '0':
			sp.zero = true
		case '+':
			sp.plus = true
		case ' ':
			sp.space = true
		case '#':
			sp.alt = true
		}
	}
	sp.width, i = f.count(s, i)
	if sp.width < 0 {
		sp.minus, sp.width = true, -sp.width
	}
	if i < len(s) && s[i] == '.' {
		sp.prec, i = f.count(s, i+1)
	}
	sp.width, sp.prec = min(sp.width, maxWidth), min(sp.prec, maxWidth)
	if i == len(s) {
		f.in.fatalf("printf: %q: missing format character", s)
		return i
	}
	switch c := s[i]; c {
	case 's', 'b', 'q', 'c':
		f.text(c, sp)
	case 'd', 'i', 'u', 'x', 'X', 'o':
		f.integer(c, sp)
	default:
		f.in.fatalf("printf: %%%c: not supported: use s, b, q, c, d, i, u, x, X or o", c)
	}
	return i + 1
}

// count reads a width: digits, or * for an argument.
func (f *formatter) count(s string, i int) (int, int) {
	if i < len(s) && s[i] == '*' {
		a, _ := f.next()
		n, ok := decimal(a)
		if !ok && a != "" {
			f.bad(a)
		}
		return int(max(min(n, maxWidth), -maxWidth)), i + 1
	}
	n := 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = min(n*10+int(s[i]-'0'), maxWidth)
	}
	return n, i
}

func (f *formatter) bad(a string) {
	f.in.complain(fmt.Sprintf("printf: %.40q: invalid number", a))
	f.st = 1
}

func (f *formatter) text(c byte, sp spec) {
	s, _ := f.next()
	switch c {
	case 'b':
		s, f.stop = unescapeEcho(s)
	case 'q':
		s = quoteWord(s)
	case 'c':
		if len(s) > 1 {
			s = s[:1]
		}
	}
	if sp.prec >= 0 && sp.prec < len(s) {
		s = s[:sp.prec]
	}
	f.pad(s, "", sp, false)
}

func (f *formatter) integer(c byte, sp spec) {
	a, given := f.next()
	n := int64(0)
	if given {
		n = f.parseInt(a)
	}
	sign, digits := "", ""
	switch c {
	case 'd', 'i':
		digits = strconv.FormatInt(n, 10)
		if n < 0 {
			sign, digits = "-", digits[1:]
		} else if sp.plus {
			sign = "+"
		} else if sp.space {
			sign = " "
		}
	case 'u':
		digits = strconv.FormatUint(uint64(n), 10)
	case 'x', 'X':
		digits = strconv.FormatUint(uint64(n), 16)
		if sp.alt && n != 0 {
			sign = "0x"
		}
		if c == 'X' {
			sign, digits = strings.ToUpper(sign), strings.ToUpper(digits)
		}
	case 'o':
		digits = strconv.FormatUint(uint64(n), 8)
		if sp.alt {
			sign = "0"
		}
	}
	if pad := sp.prec - len(digits); pad > 0 {
		digits = strings.Repeat("0", pad) + digits
	}
	f.pad(digits, sign, sp, sp.zero && !sp.minus && sp.prec < 0)
}

// parseInt reads a number as printf does: also 'c for a character.
func (f *formatter) parseInt(a string) int64 {
	if a != "" && (a[0] == '\'' || a[0] == '"') {
		r, n := utf8.DecodeRuneInString(a[1:])
		if n == 1 && r == utf8.RuneError {
			return int64(a[1])
		}
		if n == 0 {
			return 0
		}
		return int64(r)
	}
	n, ok := parseNumber(a)
	if !ok || strings.Contains(a, "#") {
		f.bad(a)
		return leadingInt(a)
	}
	return n
}

// leadingInt is the number at the start of a: what printf prints beside its
// complaint.
func leadingInt(a string) int64 {
	for i := len(a); i > 0; i-- {
		if n, ok := decimal(a[:i]); ok && a[i-1] >= '0' && a[i-1] <= '9' {
			return n
		}
		if i > 64 {
			i = 64
		}
	}
	return 0
}

func (f *formatter) pad(s, sign string, sp spec, zero bool) {
	n := sp.width - len(s) - len(sign)
	switch {
	case n <= 0:
		f.out = append(append(f.out, sign...), s...)
	case sp.minus:
		f.out = append(append(f.out, sign...), s...)
		f.out = append(f.out, strings.Repeat(" ", n)...)
	case zero:
		f.out = append(f.out, sign...)
		f.out = append(f.out, strings.Repeat("0", n)...)
		f.out = append(f.out, s...)
	default:
		f.out = append(f.out, strings.Repeat(" ", n)...)
		f.out = append(append(f.out, sign...), s...)
	}
}
