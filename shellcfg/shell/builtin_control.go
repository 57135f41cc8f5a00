package shell

import (
	"strings"
)

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
		in.fatalf("%s: only meaningful in a loop, and a subshell is not part of the loop around it", name)
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
