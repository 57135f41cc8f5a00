package shell

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a configuration file. Line and Col count from 1.
type Position struct {
	File string
	Line int
	Col  int
}

// String returns file:line, the form that goes into logs, or only the file for
// the file as a whole.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// Frame is one active function: its name and where it was called from.
type Frame struct {
	Func string
	Pos  Position
}

// Error is a configuration that could not be loaded or an evaluation that
// could not be finished. Stack has the innermost function first.
type Error struct {
	Pos   Position
	Stack []Frame
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Pos.String())
	if e.Pos.Col > 0 {
		fmt.Fprintf(&b, ":%d", e.Pos.Col)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	for i, f := range e.Stack {
		if i == maxStackShown {
			fmt.Fprintf(&b, ", and %d more", len(e.Stack)-i)
			break
		}
		fmt.Fprintf(&b, ", in %s called at %s", f.Func, f.Pos)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// maxStackShown keeps the message of a runaway recursion on one readable line.
const maxStackShown = 8

// The bounds of an evaluation, for errors.Is.
var (
	ErrFuel    = errors.New("fuel exhausted: too many commands (an endless loop?)")
	ErrDepth   = errors.New("functions nested too deeply (endless recursion?)")
	ErrOutput  = errors.New("too much output or too large a value")
	ErrUnknown = errors.New("unknown command")
)
