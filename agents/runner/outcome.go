package runner

import (
	"fmt"
	"syscall"
	"time"

	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

// An Outcome is how a program ended.
type Outcome struct {
	Code    int
	Signal  syscall.Signal // it died of this one
	Timeout bool
	Err     error // it could not be run
	Output  string
}

// exits is what exit statuses mean. Whatever is not listed is temporary, death by
// a signal and running out of time too: who calls a program that does not know
// about mail loses none.
//
// Differs from ZMailer: 65 is permanent (there it ended as an unknown status).
var exits = map[int]struct {
	status, text string
}{
	proc.Usage:       {"4.3.5", "it was called wrongly"},
	proc.DataErr:     {"5.6.0", "it cannot take this message"},
	proc.NoInput:     {"4.3.0", "it cannot read its input"},
	proc.NoUser:      {"5.1.1", "it does not know the recipient"},
	proc.NoHost:      {"5.1.2", "it does not know the host"},
	proc.Unavailable: {"5.3.0", "it does not provide this service"},
	proc.Software:    {"4.3.0", "it has an internal error"},
	proc.OSErr:       {"4.3.0", "the system refused it something"},
	proc.OSFile:      {"4.3.5", "a system file is missing or wrong"},
	proc.CantCreat:   {"4.2.0", "it cannot create its output"},
	proc.IOErr:       {"4.3.0", "it cannot write its output"},
	proc.TempFail:    {"4.3.0", "it asks to try again later"},
	proc.Protocol:    {"4.5.0", "it does not understand the remote side"},
	proc.NoPerm:      {"5.7.1", "it does not allow this"},
	proc.Config:      {"4.3.5", "its configuration is wrong"},
	126:              {"4.3.5", "the program cannot be executed"},
	127:              {"4.3.5", "there is no such program"},
}

// Result is the outcome as the result of a delivery; name is what the reader
// knows the program by.
func (o Outcome) Result(name string, limit time.Duration) dsn.Result {
	if limit <= 0 {
		limit = DefaultLimit
	}
	switch {
	case o.Err != nil:
		return dsn.Temp("4.3.5", "program %s cannot be run: %v", name, o.Err)
	case o.Timeout:
		return dsn.Temp("4.3.0", "program %s did not end within %v and was killed%s", name, limit, o.said())
	case o.Signal != 0:
		return dsn.Temp("4.3.0", "program %s was ended by a signal (%v)%s", name, o.Signal, o.said())
	case o.Code == proc.OK:
		return dsn.Success("2.1.5", "delivered to program %s%s", name, o.said())
	}
	e, known := exits[o.Code]
	if !known {
		return dsn.Temp("4.3.0", "program %s ended with status %d%s", name, o.Code, o.said())
	}
	r := dsn.Temp(e.status, "program %s ended with status %d: %s%s", name, o.Code, e.text, o.said())
	if e.status[0] == '5' {
		r.Action = dsn.Failed
	}
	return r
}

func (o Outcome) said() string {
	if o.Output == "" {
		return ""
	}
	return fmt.Sprintf("; it said: %s", o.Output)
}
