package shell

import (
	"strconv"
	"strings"
)

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
