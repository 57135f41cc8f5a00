package shell

import (
	"io"
	"strconv"
	"strings"
	"sync"
)

// builtin is a command of the shell itself; args are without the name.
type builtin func(in *interp, args []string) int

var (
	builtinOnce  sync.Once
	builtinTable map[string]builtin
)

// builtins returns the table. It is built on first use: most programs of the
// binary never need it. (sync.OnceValue would be an initialization cycle:
// eval compiles, and compiling looks names up here.)
func builtins() map[string]builtin {
	builtinOnce.Do(func() { builtinTable = makeBuiltins() })
	return builtinTable
}

func makeBuiltins() map[string]builtin {
	return map[string]builtin{
		":":        func(*interp, []string) int { return 0 },
		"true":     func(*interp, []string) int { return 0 },
		"false":    func(*interp, []string) int { return 1 },
		"[":        builtinBracket,
		"test":     builtinTest,
		"echo":     builtinEcho,
		"printf":   builtinPrintf,
		"read":     builtinRead,
		"mapfile":  builtinMapfile,
		"cat":      builtinCat,
		"return":   builtinReturn,
		"exit":     builtinExit,
		"break":    func(in *interp, a []string) int { return in.leaveLoop("break", flowBreak, a) },
		"continue": func(in *interp, a []string) int { return in.leaveLoop("continue", flowContinue, a) },
		"shift":    builtinShift,
		"set":      builtinSet,
		"shopt":    builtinShopt,
		"unset":    builtinUnset,
		"eval":     builtinEval,
		".":        builtinSource,
		"source":   builtinSource,
		"type":     builtinType,
		"command":  builtinCommand,
		"builtin":  builtinBuiltin,
		"getopts":  builtinGetopts,

		"readarray": builtinMapfile,
	}
}

// refusedCommands are commands of bash that make no sense inside a server,
// with what to do instead.
var refusedCommands = map[string]string{
	"trap":    "there are no signals; clean up where the function returns",
	"exec":    "call the command",
	"cd":      "the process has no directory of its own; use absolute paths",
	"pushd":   "use absolute paths",
	"popd":    "use absolute paths",
	"dirs":    "use absolute paths",
	"pwd":     "use absolute paths",
	"wait":    "there are no background jobs",
	"jobs":    "there are no background jobs",
	"fg":      "there are no background jobs",
	"bg":      "there are no background jobs",
	"disown":  "there are no background jobs",
	"kill":    "there are no background jobs",
	"suspend": "there are no background jobs",
	"times":   "use zmailer explain, which shows times",
	"ulimit":  "set limits where the daemon is started",
	"umask":   "set the mode where the daemon is started",
	"alias":   "write a function",
	"unalias": "write a function",
	"hash":    "nothing is hashed",
	"history": "this is not interactive",
	"fc":      "this is not interactive",
	"bind":    "this is not interactive",
	"help":    "see shellcfg/LANGUAGE.md",
	"logout":  "use exit",
	"enable":  "all builtins are enabled",
	"caller":  "use zmailer explain",
	"compgen": "this is not interactive", "complete": "this is not interactive", "compopt": "this is not interactive",
}

func builtinEcho(in *interp, args []string) int {
	newline, escapes := true, false
	for len(args) > 0 && echoOption(args[0]) {
		for _, c := range args[0][1:] {
			switch c {
			case 'n':
				newline = false
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	mark := len(in.scratch)
	for i, a := range args {
		if i > 0 {
			in.scratch = append(in.scratch, ' ')
		}
		if escapes {
			s, stop := unescapeEcho(a)
			in.scratch = append(in.scratch, s...)
			if stop {
				newline = false
				break
			}
			continue
		}
		in.scratch = append(in.scratch, a...)
	}
	if newline {
		in.scratch = append(in.scratch, '\n')
	}
	ok := in.printBytes(in.scratch[mark:])
	in.scratch = in.scratch[:mark]
	if !ok {
		return 1
	}
	return 0
}

func echoOption(s string) bool {
	if len(s) < 2 || s[0] != '-' {
		return false
	}
	return strings.Trim(s[1:], "neE") == ""
}

// builtinCat copies its standard input, or the files named.
func builtinCat(in *interp, args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return in.copyOut(in.stdin)
	}
	for _, name := range args {
		if name == "-" {
			if st := in.copyOut(in.stdin); st != 0 {
				return st
			}
			continue
		}
		if strings.HasPrefix(name, "-") || in.prog.opts.Open == nil {
			in.fatalf("cat: %.200q: only standard input, or files where they are allowed", name)
			return 1
		}
		f, err := in.prog.opts.Open(name)
		if err != nil {
			in.fatal(err)
			return 1
		}
		st := in.copyOut(f)
		if err := f.Close(); err != nil {
			in.fatal(err)
		}
		if st != 0 {
			return st
		}
	}
	return 0
}

func (in *interp) copyOut(r io.Reader) int {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if n > 0 && !in.printBytes(buf[:n]) {
			return 1
		}
		if err == io.EOF {
			return 0
		}
		if err != nil {
			in.fatal(err)
			return 1
		}
		if !in.charge(fuelBytes) {
			return 1
		}
	}
}

func (in *interp) printBytes(p []byte) bool {
	in.stdout.write(p)
	return in.checkSink(in.stdout) && in.charge(len(p))
}

// statusArg reads the status of return and exit.
func (in *interp) statusArg(name string, args []string) (int, bool) {
	if len(args) == 0 {
		return in.status, true
	}
	n, ok := decimal(args[0])
	if !ok || len(args) > 1 {
		in.fatalf("%s: %.40q: numeric argument required", name, args[0])
		return 2, false
	}
	return int(n & 0xff), true
}

func builtinReturn(in *interp, args []string) int {
	if len(in.frames) == 0 && in.evals == 0 {
		in.fatalf("return: not in a function or sourced file")
		return 1
	}
	st, ok := in.statusArg("return", args)
	if ok {
		in.status, in.flow = st, flowReturn
	}
	return st
}

func builtinExit(in *interp, args []string) int {
	st, ok := in.statusArg("exit", args)
	if ok {
		in.status, in.flow = st, flowExit
	}
	return st
}

func (in *interp) leaveLoop(name string, f flow, args []string) int {
	n := 1
	if len(args) > 0 {
		v, ok := decimal(args[0])
		if !ok || v < 1 {
			in.fatalf("%s: %.40q: loop count out of range", name, args[0])
			return 1
		}
		n = int(min(v, 1<<20))
	}
	if in.loops == 0 {
		in.fatalf("%s: only meaningful in a loop", name)
		return 1
	}
	in.flow, in.flowCount = f, min(n, in.loops)
	return 0
}

func builtinShift(in *interp, args []string) int {
	n := 1
	if len(args) > 0 {
		v, ok := decimal(args[0])
		if !ok || v < 0 {
			in.fatalf("shift: %.40q: numeric argument required", args[0])
			return 1
		}
		n = int(min(v, 1<<30))
	}
	if n > len(in.args) {
		return 1
	}
	in.args = in.args[n:]
	return 0
}

func builtinSet(in *interp, args []string) int {
	if len(args) == 0 {
		in.fatalf("set: listing variables is not supported")
		return 1
	}
	for len(args) > 0 {
		a := args[0]
		if len(a) < 2 || a[0] != '-' && a[0] != '+' || a == "--" {
			break
		}
		args = args[1:]
		on := a[0] == '-'
		if a[1:] == "o" {
			if len(args) == 0 {
				in.fatalf("set -o: a name is missing")
				return 1
			}
			if !in.option(args[0], on) {
				return 1
			}
			args = args[1:]
			continue
		}
		for _, c := range a[1:] {
			if shortOptions[c] == "" {
				in.fatalf("set: option %c is not supported: only e, u, f and -o pipefail are", c)
			} else {
				in.option(shortOptions[c], on)
			}
			if in.flow == flowAbort {
				return 1
			}
		}
		if len(args) == 0 {
			return 0
		}
	}
	if len(args) > 0 {
		if args[0] == "-" && len(args) == 1 {
			return 0
		}
		if args[0] == "--" || args[0] == "-" {
			args = args[1:]
		}
		in.args = append([]string(nil), args...)
	}
	return 0
}

var shortOptions = map[rune]string{'e': "errexit", 'u': "nounset", 'f': "noglob"}

func (in *interp) option(name string, on bool) bool {
	switch name {
	case "errexit":
		in.errexit = on
	case "nounset":
		in.nounset = on
	case "pipefail":
		in.pipefail = on
	case "noglob":
		if !on {
			in.fatalf("set +f: there is no pathname expansion: values are data")
			return false
		}
	default:
		in.fatalf("set: %.40q is not supported: only errexit, nounset, noglob and pipefail are", name)
		return false
	}
	return true
}

// builtinShopt accepts what is already so.
func builtinShopt(in *interp, args []string) int {
	if len(args) == 2 && args[0] == "-u" && args[1] == "patsub_replacement" {
		return 0
	}
	in.fatalf("shopt: not supported: the language has no such options")
	return 1
}

func builtinUnset(in *interp, args []string) int {
	vars, funcs := true, true
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		switch args[0] {
		case "-v":
			funcs = false
		case "-f":
			vars = false
		case "--":
		default:
			in.fatalf("unset: option %.40q is not supported", args[0])
			return 1
		}
		args = args[1:]
	}
	for _, a := range args {
		if !in.unset(a, vars, funcs) {
			return 1
		}
	}
	return 0
}

func (in *interp) unset(a string, vars, funcs bool) bool {
	name, sub, indexed := strings.Cut(a, "[")
	if !validName(name) && vars {
		in.fatalf("unset: %.40q is not a name", a)
		return false
	}
	slot := in.syms.lookup(name)
	if slot < 0 {
		return true
	}
	if vars && in.vars[slot].set {
		v := in.touch(slot)
		if v.readonly {
			in.fatalf("unset: %s: readonly variable", name)
			return false
		}
		if indexed {
			return in.unsetElement(v, strings.TrimSuffix(sub, "]"))
		}
		v.str, v.arr, v.set, v.exported = "", nil, false, false
		return true
	}
	if funcs && !indexed && in.funcs[slot] != nil {
		in.unsetFunc(slot)
	}
	return true
}

func (in *interp) unsetElement(v *variable, sub string) bool {
	if v.arr == nil {
		in.fatalf("unset: not an array")
		return false
	}
	if v.arr.assoc {
		v.arr.unsetKey(sub)
		return true
	}
	n, ok := parseNumber(sub)
	if !ok {
		in.fatalf("unset: %.40q is not a number", sub)
		return false
	}
	v.arr.unset(int(n))
	return true
}

// maxEval bounds the text of one eval in bytes.
const maxEval = 16 << 10

// maxEvals bounds eval and source within each other.
const maxEvals = 20

func (in *interp) runText(name string, base Position, text []byte) int {
	if in.evals >= maxEvals {
		in.fatalf("eval and source nested more than %d deep", maxEvals)
		return 1
	}
	if !in.charge(len(text) * 8) {
		return 1
	}
	body, err := in.compile(name, base, text)
	if err != nil {
		in.fatal(err)
		return 1
	}
	in.evals++
	st := body.run(in)
	in.evals--
	return st
}

func builtinEval(in *interp, args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if strings.TrimSpace(text) == "" {
		return 0
	}
	if len(text) > maxEval {
		in.fatalf("eval: text larger than %d bytes", maxEval)
		return 1
	}
	base := *in.pos
	return in.runText(base.File, Position{File: base.File, Line: base.Line, Col: base.Col}, []byte(text))
}

func builtinSource(in *interp, args []string) int {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		in.fatalf("source: a file name is missing")
		return 2
	}
	if in.prog.opts.Open == nil {
		in.fatalf("source: no other files can be read here")
		return 1
	}
	f, err := in.prog.opts.Open(args[0])
	if err != nil {
		in.fatal(err)
		return 1
	}
	text, err := readSource(args[0], f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		in.fatal(err)
		return 1
	}
	saved := in.args
	if len(args) > 1 {
		in.args = append([]string(nil), args[1:]...)
	}
	st := in.runText(args[0], Position{File: args[0], Line: 1, Col: 1}, text)
	if len(args) > 1 {
		in.args = saved
	}
	if in.flow == flowReturn { // return ends the file
		in.flow = flowNone
		st = in.status
	}
	return st
}

// kind tells what a command name means.
func (in *interp) kind(name string) string {
	if syntaxKeyword(name) {
		return "keyword"
	}
	if id := in.syms.lookup(name); id >= 0 {
		if in.funcs[id] != nil {
			return "function"
		}
		if in.prog.command(id) != nil {
			return "builtin"
		}
	}
	if builtins()[name] != nil || declCommands[name] {
		return "builtin"
	}
	if in.prog.opts.External && in.lookPath(name) != "" {
		return "file"
	}
	return ""
}

var declCommands = map[string]bool{"local": true, "export": true, "readonly": true, "declare": true, "typeset": true, "let": true}

func builtinType(in *interp, args []string) int {
	short := false
	if len(args) > 0 && args[0] == "-t" {
		short, args = true, args[1:]
	}
	st := 0
	for _, a := range args {
		k := in.kind(a)
		switch {
		case k == "":
			if !short {
				in.complain("type: " + a + ": not found")
			}
			st = 1
		case short:
			in.print(k + "\n")
		case k == "file":
			in.print(a + " is " + in.lookPath(a) + "\n")
		default:
			in.print(a + " is a " + map[string]string{"keyword": "shell keyword", "builtin": "shell builtin", "function": "function"}[k] + "\n")
		}
	}
	return st
}

func builtinCommand(in *interp, args []string) int {
	if len(args) > 0 && (args[0] == "-v" || args[0] == "-V") {
		st := 0
		for _, a := range args[1:] {
			k := in.kind(a)
			switch {
			case k == "":
				st = 1
			case k == "file":
				in.print(in.lookPath(a) + "\n")
			default:
				in.print(a + "\n")
			}
		}
		return st
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return 0
	}
	if strings.HasPrefix(args[0], "-") {
		in.fatalf("command: option %.40q is not supported", args[0])
		return 1
	}
	return in.invoke(args, true)
}

func builtinBuiltin(in *interp, args []string) int {
	if len(args) == 0 {
		return 0
	}
	b := builtins()[args[0]]
	if b == nil {
		in.fatalf("builtin: %.40q is not a shell builtin", args[0])
		return 1
	}
	return in.runBuiltin(b, args)
}

// optState is where getopts stands inside a cluster of options.
type optState struct {
	ind int // OPTIND it belongs to
	pos int // next letter
}

func builtinGetopts(in *interp, args []string) int {
	if len(args) < 2 || !validName(args[1]) {
		in.fatalf("getopts: usage: getopts optstring name [arg ...]")
		return 2
	}
	spec, name := args[0], in.syms.intern(args[1])
	argv := in.args
	if len(args) > 2 {
		argv = args[2:]
	}
	s, _ := in.vars[slotOptind].value()
	ind, err := strconv.Atoi(s)
	if err != nil || ind < 1 {
		ind = 1
	}
	if in.optind.ind != ind {
		in.optind = optState{ind: ind}
	}
	silent := strings.HasPrefix(spec, ":")
	if in.optind.pos == 0 {
		if ind > len(argv) || len(argv[ind-1]) < 2 || argv[ind-1][0] != '-' {
			return in.optEnd(name, ind)
		}
		if argv[ind-1] == "--" {
			return in.optEnd(name, ind+1)
		}
		in.optind.pos = 1
	}
	arg := argv[ind-1]
	letter := arg[in.optind.pos : in.optind.pos+1]
	in.optind.pos++
	next := ind
	if in.optind.pos >= len(arg) {
		next = ind + 1
	}
	at := strings.Index(spec, letter)
	value, hasValue := "", false
	switch {
	case letter == ":" || at < 0:
		return in.optBad(name, letter, "?", "illegal option -- ", silent, next)
	case at+1 < len(spec) && spec[at+1] == ':':
		hasValue = true
		if in.optind.pos < len(arg) {
			value, next = arg[in.optind.pos:], ind+1
		} else if ind < len(argv) {
			value, next = argv[ind], ind+2
		} else {
			return in.optBad(name, letter, ":", "option requires an argument -- ", silent, ind+1)
		}
	}
	if hasValue {
		in.setVar(slotOptarg, value)
	} else {
		in.unset("OPTARG", true, false)
	}
	in.optNext(next)
	in.setVar(name, letter)
	return 0
}

func (in *interp) optNext(next int) {
	if next != in.optind.ind {
		in.optind = optState{ind: next}
	}
	in.setVar(slotOptind, itoa(next))
}

func (in *interp) optEnd(name, next int) int {
	in.optNext(next)
	in.setVar(name, "?")
	in.unset("OPTARG", true, false)
	return 1
}

func (in *interp) optBad(name int, letter, mark, text string, silent bool, next int) int {
	if silent {
		in.setVar(slotOptarg, letter)
	} else {
		mark = "?"
		in.unset("OPTARG", true, false)
		if s, ok := in.vars[slotOpterr].value(); !ok || s != "0" {
			in.complain(in.arg0 + ": " + text + letter)
		}
	}
	in.optNext(next)
	in.setVar(name, mark)
	return 0
}
