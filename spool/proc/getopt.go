package proc

import (
	"fmt"
	"strings"
)

// Getopt parses options the way sendmail and its relatives are called: letters
// in clusters, values joined or separate, parsing ended by "--", by "-" or by the
// first word that is no option. pflag cannot read "-q15m" beside a bare "-q".
//
// The specification lists the letters. One ":" after a letter means that it takes
// a value, joined or in the next word; two mean that it takes a joined value or
// none, so that "-q joe" leaves joe alone.
type Getopt struct {
	Opt   byte   // letter of the current option
	Value string // its value
	Given bool   // an optional value was given

	spec    string
	args    []string
	cluster string // rest of the word that is being read
	err     error
}

// NewGetopt starts parsing args, which do not include the program's name.
func NewGetopt(spec string, args []string) *Getopt {
	return &Getopt{spec: spec, args: args}
}

// Next moves on to the next option. It returns false at the end or at an error.
func (g *Getopt) Next() bool {
	if g.err != nil {
		return false
	}
	if g.cluster == "" {
		if len(g.args) == 0 || len(g.args[0]) < 2 || g.args[0][0] != '-' {
			return false
		}
		word := g.args[0]
		g.args = g.args[1:]
		if word == "--" {
			return false
		}
		g.cluster = word[1:]
	}
	g.Opt, g.cluster = g.cluster[0], g.cluster[1:]
	g.Value, g.Given = "", false
	i := strings.IndexByte(g.spec, g.Opt)
	if i < 0 || g.Opt == ':' {
		g.err = Exit(Usage, "invalid option -- '%c'", g.Opt)
		return false
	}
	rest := g.spec[i+1:]
	switch {
	case strings.HasPrefix(rest, "::"):
		g.Value, g.Given, g.cluster = g.cluster, g.cluster != "", ""
	case strings.HasPrefix(rest, ":"):
		return g.required()
	}
	return true
}

func (g *Getopt) required() bool {
	g.Given = true
	if g.cluster != "" {
		g.Value, g.cluster = g.cluster, ""
		return true
	}
	if len(g.args) == 0 {
		g.err = Exit(Usage, "option requires an argument -- '%c'", g.Opt)
		return false
	}
	g.Value, g.args = g.args[0], g.args[1:]
	return true
}

// Args returns the words after the options.
func (g *Getopt) Args() []string { return g.args }

// Err returns what stopped Next, an *ExitError with status Usage, or nil.
func (g *Getopt) Err() error { return g.err }

// Bad returns the error for a value that the current option does not take.
func (g *Getopt) Bad(format string, args ...any) error {
	return Exit(Usage, "option -%c %s: %s", g.Opt, g.Value, fmt.Sprintf(format, args...))
}
