// Package proc is what every program of the mailer shares as a process: exit
// statuses, option parsing in the manner of getopt(3), and locked pid files.
package proc

import (
	"errors"
	"fmt"
)

// Exit statuses of sysexits.h.
const (
	OK          = 0
	Usage       = 64 // called wrongly
	DataErr     = 65 // input is wrong
	NoInput     = 66 // input cannot be read
	NoUser      = 67 // no such addressee
	NoHost      = 68 // no such host
	Unavailable = 69 // service is not available
	Software    = 70 // internal error
	OSErr       = 71 // system error
	OSFile      = 72 // system file is missing or wrong
	CantCreat   = 73 // output cannot be created
	IOErr       = 74 // input or output error
	TempFail    = 75 // try again
	Protocol    = 76 // remote error in a protocol
	NoPerm      = 77 // not allowed
	Config      = 78 // configuration is wrong
)

// An ExitError ends a program with a status. The dispatcher prints its message,
// if it has one.
type ExitError struct {
	Code int
	Err  error // nil: say nothing
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// Exit returns an error that ends the program with the given status and message.
// The format may wrap errors with %w.
func Exit(code int, format string, args ...any) error {
	return &ExitError{Code: code, Err: fmt.Errorf(format, args...)}
}

// Silent returns an error that ends the program with the given status and no
// message: the program has said everything itself.
func Silent(code int) error { return &ExitError{Code: code} }

// Code is the exit status that err means.
func Code(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return OK
	case errors.As(err, &exit):
		return exit.Code
	}
	return Software
}
