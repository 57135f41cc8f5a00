package shell

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// testParser evaluates the arguments of [ and test by the rules of POSIX,
// which decide by the number of arguments, so that values that look like
// operators stay values.
type testParser struct {
	in   *interp
	args []string
	bad  string
}

func builtinTest(in *interp, args []string) int {
	t := testParser{in: in, args: args}
	ok := t.eval(args)
	if t.bad != "" {
		in.complain("test: " + t.bad)
		return 2
	}
	if ok {
		return 0
	}
	return 1
}

func builtinBracket(in *interp, args []string) int {
	if len(args) == 0 || args[len(args)-1] != "]" {
		in.complain("[: missing `]'")
		return 2
	}
	return builtinTest(in, args[:len(args)-1])
}

func (t *testParser) eval(a []string) bool {
	switch len(a) {
	case 0:
		return false
	case 1:
		return a[0] != ""
	case 2:
		if a[0] == "!" {
			return a[1] == ""
		}
		if ok, is := t.unary(a[0], a[1]); is {
			return ok
		}
		t.bad = a[0] + ": unary operator expected"
		return false
	case 3:
		if ok, is := t.binary(a[0], a[1], a[2]); is {
			return ok
		}
		switch {
		case a[1] == "-a":
			return a[0] != "" && a[2] != ""
		case a[1] == "-o":
			return a[0] != "" || a[2] != ""
		case a[0] == "!":
			return !t.eval(a[1:])
		case a[0] == "(" && a[2] == ")":
			return a[1] != ""
		}
		t.bad = a[1] + ": binary operator expected"
		return false
	case 4:
		if a[0] == "!" {
			return !t.eval(a[1:])
		}
		if a[0] == "(" && a[3] == ")" {
			return t.eval(a[1:3])
		}
	}
	t.args = a
	ok := t.or(0)
	if len(t.args) > 0 && t.bad == "" {
		t.bad = "too many arguments"
	}
	return ok
}

// or, and, not and primary are the grammar for more than four arguments.
func (t *testParser) or(depth int) bool {
	ok := t.and(depth)
	for len(t.args) > 0 && t.args[0] == "-o" && t.bad == "" {
		t.args = t.args[1:]
		ok = t.and(depth) || ok
	}
	return ok
}

func (t *testParser) and(depth int) bool {
	ok := t.primary(depth)
	for len(t.args) > 0 && t.args[0] == "-a" && t.bad == "" {
		t.args = t.args[1:]
		ok = t.primary(depth) && ok
	}
	return ok
}

const maxTestDepth = 100

func (t *testParser) primary(depth int) bool {
	if len(t.args) == 0 {
		t.bad = "argument expected"
		return false
	}
	if depth > maxTestDepth {
		t.bad = "nested too deeply"
		return false
	}
	a := t.args
	switch {
	case len(a) >= 3 && isTestBinary(a[1]):
		t.args = a[3:]
		ok, _ := t.binary(a[0], a[1], a[2])
		return ok
	case a[0] == "!":
		t.args = a[1:]
		return !t.primary(depth + 1)
	case a[0] == "(":
		t.args = a[1:]
		ok := t.or(depth + 1)
		if len(t.args) == 0 || t.args[0] != ")" {
			if t.bad == "" {
				t.bad = "`)' expected"
			}
			return false
		}
		t.args = t.args[1:]
		return ok
	case len(a) >= 2 && isTestUnary(a[0]):
		t.args = a[2:]
		ok, _ := t.unary(a[0], a[1])
		return ok
	}
	t.args = a[1:]
	return a[0] != ""
}

func isTestUnary(op string) bool {
	return len(op) == 2 && op[0] == '-' && strings.IndexByte("bcdefghkLnoOGNprsStuvwxz", op[1]) >= 0
}

func isTestBinary(op string) bool {
	switch op {
	case "=", "==", "!=", "<", ">", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef":
		return true
	}
	return false
}

func (t *testParser) unary(op, s string) (ok, is bool) {
	if !isTestUnary(op) {
		return false, false
	}
	return t.in.testUnary(op[1], s), true
}

func (t *testParser) binary(x, op, y string) (ok, is bool) {
	switch op {
	case "=", "==":
		return x == y, true
	case "!=":
		return x != y, true
	case "<":
		return x < y, true
	case ">":
		return x > y, true
	case "-nt", "-ot", "-ef":
		return fileCompare(op, x, y), true
	case "-eq", "-ne", "-lt", "-le", "-gt", "-ge":
		a, ok1 := decimal(x)
		b, ok2 := decimal(y)
		if !ok1 || !ok2 {
			if ok1 {
				x = y
			}
			t.bad = x + ": integer expression expected"
			return false, true
		}
		return compareInts(op, a, b), true
	}
	return false, false
}

// decimal reads an integer as test does: decimal only.
func decimal(s string) (int64, bool) {
	s = strings.Trim(s, " \t\n")
	digits := strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+"), "0")
	if s == "" || s == "-" || s == "+" {
		return 0, false
	}
	if digits == "" {
		return 0, s[len(s)-1] == '0'
	}
	for i := 0; i < len(digits); i++ {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
	}
	if len(digits) > 18 {
		return 0, false
	}
	n, _ := parseNumber(digits)
	if s[0] == '-' {
		n = -n
	}
	return n, true
}

func compareInts(op string, a, b int64) bool {
	switch op {
	case "-eq":
		return a == b
	case "-ne":
		return a != b
	case "-lt":
		return a < b
	case "-le":
		return a <= b
	case "-gt":
		return a > b
	}
	return a >= b
}

func fileCompare(op, x, y string) bool {
	a, err1 := os.Stat(x)
	b, err2 := os.Stat(y)
	switch op {
	case "-nt":
		return err1 == nil && (err2 != nil || a.ModTime().After(b.ModTime()))
	case "-ot":
		return err2 == nil && (err1 != nil || a.ModTime().Before(b.ModTime()))
	}
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// testUnary evaluates one unary operator of [ or [[.
func (in *interp) testUnary(op byte, s string) bool {
	switch op {
	case 'z':
		return s == ""
	case 'n':
		return s != ""
	case 'v':
		return in.isSet(s)
	case 'o':
		return s == "errexit" && in.errexit || s == "nounset" && in.nounset || s == "pipefail" && in.pipefail || s == "noglob"
	case 't':
		return false
	}
	if in.loading && in.prog.opts.Examined != nil {
		in.prog.opts.Examined(s)
	}
	switch op {
	case 'r':
		return in.examined(unix.Access(s, unix.R_OK))
	case 'w':
		return in.examined(unix.Access(s, unix.W_OK))
	case 'x':
		return in.examined(unix.Access(s, unix.X_OK))
	case 'h', 'L':
		fi, err := os.Lstat(s)
		return in.examined(err) && fi.Mode()&os.ModeSymlink != 0
	}
	fi, err := os.Stat(s)
	return in.examined(err) && testMode(op, fi)
}

// examined tells whether there is a file to be tested. A file server that does not
// answer does not say that there is none: that ends the evaluation.
func (in *interp) examined(err error) bool {
	if err != nil && !noFile(err) {
		in.fatal(err)
	}
	return err == nil
}

// noFile tells the errors that are answers: no file of that name can be used so.
func noFile(err error) bool {
	for _, answer := range []error{unix.ENOENT, unix.ENOTDIR, unix.EACCES, unix.EPERM, unix.EROFS, unix.ETXTBSY, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

func testMode(op byte, fi os.FileInfo) bool {
	m := fi.Mode()
	switch op {
	case 'e':
		return true
	case 'f':
		return m.IsRegular()
	case 'd':
		return m.IsDir()
	case 's':
		return fi.Size() > 0
	case 'p':
		return m&os.ModeNamedPipe != 0
	case 'S':
		return m&os.ModeSocket != 0
	case 'b':
		return m&os.ModeDevice != 0 && m&os.ModeCharDevice == 0
	case 'c':
		return m&os.ModeCharDevice != 0
	case 'u':
		return m&os.ModeSetuid != 0
	case 'g':
		return m&os.ModeSetgid != 0
	case 'k':
		return m&os.ModeSticky != 0
	case 'O', 'G':
		return testOwner(op, fi)
	}
	return false
}

// isSet is -v: a name, or a name with a subscript.
func (in *interp) isSet(s string) bool {
	name, sub, indexed := strings.Cut(s, "[")
	id := in.syms.lookup(name)
	if id < 0 {
		return false
	}
	v := &in.vars[id]
	if !indexed {
		_, ok := v.value()
		return ok
	}
	sub = strings.TrimSuffix(sub, "]")
	if v.arr == nil {
		return v.set && sub == "0"
	}
	if v.arr.assoc {
		_, ok := v.arr.getKey(sub)
		return ok
	}
	n, ok := parseNumber(sub)
	if ok {
		_, ok = v.arr.get(int(n))
	}
	return ok
}
