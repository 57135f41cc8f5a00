package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

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

func (in *interp) loadFile(name string, src io.Reader) error {
	text, err := readSource(name, src)
	if err != nil {
		return &Error{Pos: Position{File: name}, Err: err}
	}
	body, err := in.compile(name, Position{File: name, Line: 1, Col: 1}, text)
	if err != nil {
		return err
	}
	body.run(in)
	in.stdout.flush()
	in.stderr.flush()
	if in.err != nil {
		return in.err
	}
	if in.flow == flowExit && in.status != 0 {
		return &Error{Pos: *in.pos, Err: fmt.Errorf("exit with status %d", in.status)}
	}
	in.flow = flowNone
	return nil
}

// MaxSource bounds one file. The parser recurses for every nested construct,
// and this is what keeps the worst of files within the stack.
const MaxSource = 128 << 10

func readSource(name string, src io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(src, MaxSource+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(text) > MaxSource {
		return nil, fmt.Errorf("larger than %d bytes: split it and source the parts, or use a table for data", MaxSource)
	}
	return text, nil
}

// compile parses and compiles text; base is the position of its first byte.
func (in *interp) compile(name string, base Position, text []byte) (node, error) {
	f, err := parse(name, text)
	if err != nil {
		return nil, syntaxError(name, base, err)
	}
	c := &compiler{in: in, file: name, base: base}
	body := c.program(f)
	if c.err != nil {
		return nil, c.err
	}
	return body, nil
}

// parse guards against a parser that gives up by panicking: a configuration
// file must never take the daemon down.
func parse(name string, text []byte) (f *syntax.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser failed: %v", r)
		}
	}()
	return syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(text), name)
}

func syntaxError(name string, base Position, err error) error {
	e := &Error{Pos: base, Err: err}
	var pe syntax.ParseError
	var le syntax.LangError
	switch {
	case errors.As(err, &pe):
		e.Pos.Line += int(pe.Pos.Line()) - 1
		e.Pos.Col = int(pe.Pos.Col())
		e.Err = errors.New(pe.Text)
	case errors.As(err, &le):
		e.Pos.Line += int(le.Pos.Line()) - 1
		e.Pos.Col = int(le.Pos.Col())
		e.Err = fmt.Errorf("%s is not in this language", le.Feature)
	}
	return e
}
