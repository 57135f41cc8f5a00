package policy

import (
	"fmt"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// A HeaderEdit is what the function process wants done with the header of the
// message: a field that takes the place of those of its name, or none.
type HeaderEdit struct {
	Name  string
	Field rfc5322.Field // no Raw: fields of that name are left out
}

// HeaderEdits are the edits that the policy has asked for, in their order.
func (s *Session) HeaderEdits() []HeaderEdit { return s.edits }

const maxEdits = 100

var errTooManyEdits = fmt.Errorf("more than %d changes of the header of a message", maxEdits)

// headerCommand is header NAME: the unfolded bodies of all fields of that name.
func headerCommand(c *shell.Call) int {
	s, ok := inSession(c)
	if !ok {
		return 1
	}
	if len(c.Args) != 1 {
		return usage(c, "NAME")
	}
	bodies := s.msg.Header.All(c.Args[0])
	if len(bodies) == 0 {
		return 1
	}
	for _, b := range bodies {
		if st := show(c, rfc5322.OneLine(b, 0)); st != 0 {
			return st
		}
	}
	return 0
}

// setHeaderCommand is setheader NAME [TEXT].
func setHeaderCommand(c *shell.Call) int {
	s, ok := during(c, messagePhase)
	if !ok {
		return 1
	}
	if n := len(c.Args); n != 1 && n != 2 || !rfc5322.ValidFieldName(c.Args[0]) {
		return usage(c, "NAME [TEXT]")
	}
	if len(s.edits) >= maxEdits {
		return c.Fail(errTooManyEdits)
	}
	e := HeaderEdit{Name: c.Args[0]}
	if len(c.Args) == 2 {
		f, err := rfc5322.NewField(e.Name, c.Args[1])
		if err != nil {
			return usage(c, "NAME [TEXT]: %v", err)
		}
		e.Field = f
	}
	s.edits = append(s.edits, e)
	return 0
}
