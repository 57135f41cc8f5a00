package relations

import (
	"errors"
	"fmt"
)

// maxProblems is how many errors of one file are reported: enough to see what
// is wrong, few enough to read.
const maxProblems = 50

// problems collects what is wrong with a file, each with its line.
type problems struct {
	errs []error
	n    int
}

func (p *problems) add(file string, line int, format string, args ...any) {
	if p.n++; p.n <= maxProblems {
		p.errs = append(p.errs, fmt.Errorf("%s:%d: %w", file, line, fmt.Errorf(format, args...)))
	}
}

// list returns the errors, the last one saying how many more there were.
func (p *problems) list() []error {
	if p.n <= maxProblems {
		return p.errs
	}
	return append(p.errs[:maxProblems:maxProblems], fmt.Errorf("and %d more", p.n-maxProblems))
}

func (p *problems) err() error { return errors.Join(p.list()...) }
