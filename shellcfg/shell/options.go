package shell

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Command is a built-in command of the host program. It returns the exit
// status.
type Command func(c *Call) int

// Options configure a Program. The zero value is a pure language: no commands
// but the shell's own, no files, no programs.
type Options struct {
	Commands map[string]Command
	Vars     map[string]string // initial variables

	Fuel      int // commands per Session.Call; default 200,000
	Depth     int // nested function calls; default 100
	MaxOutput int // bytes captured per Call, and size of one value; default 16 MiB

	// Open reads a file for `.`, `source` and `<file`. nil: they are refused.
	Open func(name string) (io.ReadCloser, error)
	// Create opens a file for `>file` and `>>file`. nil: they are refused.
	// /dev/null, /dev/stdout and /dev/stderr need neither.
	Create func(name string, appending bool) (io.WriteCloser, error)

	// Examined is told the files that are tested (-e, -f, -d ...) while the top level runs:
	// what it does depends on them. nil: nobody wants to know.
	Examined func(name string)

	// External lets a command that is nothing else be a program found in the
	// shell variable PATH. It runs in a process group of its own that is killed
	// when the context ends, with the exported variables as its environment.
	External bool
	// NoEval refuses eval when the configuration is loaded.
	NoEval bool

	// Log receives what is printed to standard error, line by line, with the
	// position of the command that printed it, and standard output that
	// nothing captures unless Stdout is set. nil: both are dropped.
	Log func(pos Position, line string)
	// Stdout receives output that nothing captures.
	Stdout io.Writer

	// Trace is the default of every session; see Session.SetTrace.
	Trace *Trace
}

// Trace observes an evaluation. Any of its functions may be nil. Slices of
// arguments are valid only during the call.
type Trace struct {
	Enter   func(f Frame, args []string)
	Leave   func(f Frame, status int)
	Command func(pos Position, name string, args []string, status int, took time.Duration) // host command or program
	Line    func(pos Position)                                                             // a command begins
}

const (
	defaultFuel   = 200_000
	defaultDepth  = 100
	defaultOutput = 16 << 20

	// fuelBytes is the work in bytes that costs as much fuel as one command,
	// so that scripts which double a string pay for it.
	fuelBytes = 1 << 10
)

func (o *Options) setDefaults() {
	if o.Fuel <= 0 {
		o.Fuel = defaultFuel
	}
	if o.Depth <= 0 {
		o.Depth = defaultDepth
	}
	if o.MaxOutput <= 0 {
		o.MaxOutput = defaultOutput
	}
}

// Call is what a Command gets. It is valid until the command returns; Args may
// be kept.
type Call struct {
	Ctx    context.Context
	Name   string
	Args   []string // without the name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Host   any // what Program.Session was given
	Pos    Position

	in *interp
}

// Getenv returns the value of a shell variable, "" when it is unset.
func (c *Call) Getenv(name string) string {
	v, _ := c.in.lookupVar(name)
	return v
}

// Lookup returns the value of a shell variable and whether it is set.
func (c *Call) Lookup(name string) (string, bool) { return c.in.lookupVar(name) }

// Setenv assigns a shell variable, as an assignment in the script would.
func (c *Call) Setenv(name, value string) {
	if !validName(name) {
		c.in.fatalf("%s: %q is not a variable name", c.Name, name)
		return
	}
	c.in.setVar(c.in.syms.intern(name), value)
}

// Call runs a shell function in the caller's scope and returns its status.
// When the function fails fatally (fuel, time, broken script) the command
// should return soon: its own status no longer matters. Failed tells.
func (c *Call) Call(fn string, args ...string) int {
	f := c.in.lookupFunc(fn)
	if f == nil {
		return c.Fail(&unknownError{what: "function", name: fn})
	}
	return c.in.callFunc(f, append([]string(nil), args...), &c.Pos)
}

// Exec runs a program with the ids of a user, and no other groups. Without the
// rights of root they must be our own.
func (c *Call) Exec(uid, gid int, argv []string) int {
	if os.Geteuid() != 0 {
		if uid != os.Geteuid() {
			return c.Fail(fmt.Errorf("%s: only root can run programs as uid %d", c.Name, uid))
		}
		return c.in.program(argv, nil)
	}
	return c.in.program(argv, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)})
}

// HasFunc tells whether a shell function is defined now.
func (c *Call) HasFunc(name string) bool { return c.in.lookupFunc(name) != nil }

// Fail ends the whole evaluation with err at the position of this command. Use
// it where a status could be mistaken for an answer.
func (c *Call) Fail(err error) int {
	c.in.fatal(err)
	return 1
}

// Failed tells whether the evaluation has failed inside Call.
func (c *Call) Failed() bool { return c.in.err != nil }

// Define adds a command while the configuration is being loaded, for commands
// that declare others (relation ... aliases). Later it returns false: a
// program does not change.
func (c *Call) Define(name string, cmd Command) bool {
	if !c.in.loading {
		return false
	}
	c.in.prog.defineCommand(name, cmd)
	return true
}

// Loading tells whether the top level of the configuration is being run.
func (c *Call) Loading() bool { return c.in.loading }

// Stack returns the active functions, innermost first.
func (c *Call) Stack() []Frame { return c.in.stack() }
