package shell

import (
	"io"
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
