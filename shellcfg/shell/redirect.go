package shell

// redirect is one redirection of a statement.
type redirect struct {
	fd   int
	op   redirOp
	to   int   // target descriptor of n>&m
	word *word // file name, here-string or here-document
	pos  Position
}

type redirOp uint8

const (
	redirIn redirOp = iota
	redirOut
	redirAppend
	redirBoth // &>
	redirBothAppend
	redirDup
	redirHere
	redirHereString
	redirClose
)

type redirected struct {
	redirs []redirect
	body   node // nil: only the redirections
}

func (n *redirected) run(in *interp) int {
	stdin, stdout, stderr := in.stdin, in.stdout, in.stderr
	var files []interface{ Close() error }
	st := 0
	for i := range n.redirs {
		r := &n.redirs[i]
		in.pos = &r.pos
		c := r.open(in)
		if c != nil {
			files = append(files, c)
		}
		if in.flow != flowNone {
			st = in.stopped(1)
			break
		}
	}
	if in.flow == flowNone && n.body != nil {
		st = n.body.run(in)
	}
	in.stdin, in.stdout, in.stderr = stdin, stdout, stderr
	for _, f := range files {
		if err := f.Close(); err != nil {
			in.fatal(err)
			st = 1
		}
	}
	return st
}

// open performs one redirection and returns what must be closed afterwards.
func (r *redirect) open(in *interp) interface{ Close() error } {
	switch r.op {
	case redirHere:
		s := r.word.text(in)
		in.charge(len(s))
		in.stdin = &input{buf: []byte(s)}
	case redirHereString:
		s := r.word.text(in)
		in.charge(len(s))
		in.stdin = &input{buf: append([]byte(s), '\n')}
	case redirIn:
		return r.openRead(in, r.word.text(in))
	case redirDup:
		switch {
		case r.fd == 1 && r.to == 2:
			in.stdout = in.stderr
		case r.fd == 2 && r.to == 1:
			in.stderr = in.stdout
		}
	case redirClose:
		if r.fd == 0 {
			in.stdin = &input{}
			return nil
		}
		r.direct(in, &sink{in: in, kind: sinkNull})
	default:
		return r.openWrite(in, r.word.text(in))
	}
	return nil
}

func (r *redirect) direct(in *interp, k *sink) {
	switch {
	case r.op == redirBoth || r.op == redirBothAppend:
		in.stdout, in.stderr = k, k
	case r.fd == 2:
		in.stderr = k
	default:
		in.stdout = k
	}
}

func (r *redirect) openRead(in *interp, name string) interface{ Close() error } {
	switch {
	case name == "/dev/null":
		in.stdin = &input{}
	case name == "/dev/stdin":
	case in.prog.opts.Open == nil:
		in.fatalf("%.200q: reading files is not allowed here", name)
	default:
		f, err := in.prog.opts.Open(name)
		if err != nil {
			in.fatal(err)
			return nil
		}
		in.stdin = &input{r: f}
		return f
	}
	return nil
}

func (r *redirect) openWrite(in *interp, name string) interface{ Close() error } {
	switch {
	case name == "/dev/null":
		r.direct(in, &sink{in: in, kind: sinkNull})
	case name == "/dev/stderr":
		r.direct(in, in.stderr)
	case name == "/dev/stdout":
		r.direct(in, in.stdout)
	case in.prog.opts.Create == nil:
		in.fatalf("%.200q: writing files is not allowed here; only /dev/null", name)
	default:
		f, err := in.prog.opts.Create(name, r.op == redirAppend || r.op == redirBothAppend)
		if err != nil {
			in.fatal(err)
			return nil
		}
		r.direct(in, &sink{in: in, kind: sinkFile, file: f})
		return f
	}
	return nil
}
