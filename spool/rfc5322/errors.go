package rfc5322

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrNotStrict marks an address that RFC 5321 forbids but that the Internet
// uses: see [ParsePath].
var ErrNotStrict = errors.New("address is not strictly RFC 5321")

// ErrTooLarge is returned when a limit of this package or of the caller
// ended the parsing.
var ErrTooLarge = errors.New("too large")

// SyntaxError is one error in an address or a list. It never quotes the input.
type SyntaxError struct {
	What       string // what is wrong
	Pos        int    // offset of the octet where it was noticed
	Start, End int    // the element of a list that it spoils; 0, 0 elsewhere
}

func (e *SyntaxError) Error() string {
	return e.What + " at offset " + strconv.Itoa(e.Pos)
}

// ListError holds the errors of [ParseList] in the order of the input, at most
// a hundred of them; Count counts them all.
type ListError struct {
	Bad   []*SyntaxError
	Count int
}

func (e *ListError) Error() string {
	if e.Count == 1 {
		return e.Bad[0].Error()
	}
	return fmt.Sprintf("%v, and %d more errors", e.Bad[0], e.Count-1)
}

// Unwrap gives errors.As the single errors.
func (e *ListError) Unwrap() []error {
	errs := make([]error, len(e.Bad))
	for i, b := range e.Bad {
		errs[i] = b
	}
	return errs
}
