// Package runner runs a program that takes a message on its standard input: for
// "|program" addresses and for mailers of sm.conf.
//
// The program gets a listed environment and nothing else of this process; it runs
// in a process group of its own, in the name of its user with all his groups. Its
// input is a complete file before it starts, so that the end of the input always
// means the end of the message, also when the agent is killed. When its time is
// over the whole group is killed. How it ends decides the result, see Outcome.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"zmailer/agents/identity"
	"zmailer/spool/rfc5322"
)

// DefaultLimit is how long a program may take.
const DefaultLimit = 5 * time.Minute

const (
	grace      = 5 * time.Second // between SIGTERM and SIGKILL, and for output after the end
	maxOutput  = 4 << 10         // bytes of output kept
	maxReport  = 400             // bytes of output in a result
	outputRows = 5               // lines of output in a result
)

// SafePath is the PATH of every program.
const SafePath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

// A Program is one run.
type Program struct {
	Argv  []string // Argv[0] is a path
	Dir   string
	Env   []string
	As    identity.Identity
	Limit time.Duration // 0 is DefaultLimit
	Limits

	// Input writes the standard input.
	Input func(io.Writer) error
}

// Run runs the program to its end.
func (p *Program) Run(ctx context.Context) Outcome {
	if err := p.As.Check(); err != nil {
		return Outcome{Err: err}
	}
	in, err := inputFile(p.Input)
	if err != nil {
		return Outcome{Err: fmt.Errorf("input of %s: %w", p.Argv[0], err)}
	}
	defer in.Close()
	limit := p.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out output
	cmd := exec.CommandContext(timed, p.Argv[0], p.Argv[1:]...)
	cmd.Dir, cmd.Env = p.Dir, append([]string{}, p.Env...) // nil would be all of ours
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: p.As.Credential()}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	open, err := p.limited(cmd)
	if err != nil {
		return Outcome{Err: err}
	}
	if err = cmd.Start(); err == nil {
		if err = open(); err != nil { // it goes no further than the gate
			cancel()
			cmd.Wait()
			return Outcome{Err: err}
		}
		err = cmd.Wait()
	} else {
		open()
	}
	if err != nil && timed.Err() != nil && cmd.Process != nil {
		// What did not heed SIGTERM, the program's children too. The group may be
		// gone, which is what is wanted.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	return outcome(cmd, err, timed.Err() != nil, ctx.Err() == nil, out.String())
}

func outcome(cmd *exec.Cmd, err error, over, limit bool, text string) Outcome {
	o := Outcome{Output: text}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case over && limit:
		o.Timeout = true
	case over:
		o.Err = errors.New("stopped while the program ran")
	case errors.Is(err, exec.ErrWaitDelay):
		// A program that left a child behind with its output open has ended by
		// itself all the same.
	case errors.As(err, &exit):
		st, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		o.Code = exit.ExitCode()
		if st.Signaled() {
			o.Signal, o.Code = st.Signal(), 0
		}
	default:
		o.Err = err
	}
	return o
}

// output keeps the beginning of what the program says.
type output struct{ b strings.Builder }

func (o *output) Write(p []byte) (int, error) {
	o.b.Write(p[:min(len(p), maxOutput-o.b.Len())])
	return len(p), nil
}

// String is the first lines in one.
func (o *output) String() string {
	var rows []string
	for line := range strings.SplitSeq(o.b.String(), "\n") {
		if line = strings.TrimSpace(line); line != "" && len(rows) < outputRows {
			rows = append(rows, line)
		}
	}
	return rfc5322.OneLine(strings.Join(rows, " / "), maxReport)
}

// Env is an environment that holds only what is listed.
type Env []string

// Set adds a variable unless the value is empty. A NUL would end the value
// within, so that it becomes "?".
func (e *Env) Set(name, value string) {
	if value != "" {
		*e = append(*e, name+"="+strings.ReplaceAll(value, "\x00", "?"))
	}
}

// NewEnv is the part of the environment that every program has.
func NewEnv() Env {
	var e Env
	e.Set("PATH", SafePath)
	e.Set("SHELL", "/bin/sh")
	e.Set("TZ", os.Getenv("TZ"))
	e.Set("ZCONFIG", os.Getenv("ZCONFIG"))
	return e
}
