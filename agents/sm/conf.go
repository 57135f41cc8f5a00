package sm

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"zmailer/agents/runner"
	"zmailer/shellcfg"
	"zmailer/shellcfg/shell"
)

// Stock is the sm.conf of the program. It is used when the instance has none, and
// copied out by the installer.
//
//go:embed sm.conf
var Stock []byte

// A Mailer is one "mailer" of sm.conf.
type Mailer struct {
	Name  string
	Where string // file:line
	User  string // who runs it; empty is the default user
	Limit time.Duration
	runner.Limits

	flags flagSet
	words []word
}

// flagSet holds the flags' letters; BB is noted as '2'.
type flagSet string

func (f flagSet) has(c byte) bool { return strings.IndexByte(string(f), c) >= 0 }

func (f flagSet) smtp() bool { return f.has('b') || f.has('B') }

// useful are the flags there are.
const useful = "mSslfrnUEPeODFRXbBH"

// useless says of Sendmail's and ZMailer's other flags why they are not there.
var useless = map[byte]string{
	'7': "nothing strips the eighth bit", '8': "all mail is passed on with eight bits, leave it out", '9': "nothing is decoded",
	'A': "it was for networks that are gone", 'C': "addresses are completed by the router", 'I': "use the agent smtp",
	'L': "lines are not cut", 'M': "the router adds a missing Message-ID", 'p': "use $g in the command", 'x': "full names are the router's work",
	'h': "hosts keep their case, leave it out", 'u': "users keep their case, leave it out", 'a': "use the agent smtp",
}

func parseFlags(s string) (flagSet, error) {
	var f flagSet
	if s == "-" {
		return f, nil
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == 'B' && f.has('B'):
			f += "2"
		case strings.IndexByte(useful, c) >= 0:
			if !f.has(c) {
				f += flagSet(c)
			}
		case useless[c] != "":
			return "", fmt.Errorf("flag %c: %s", c, useless[c])
		default:
			return "", fmt.Errorf("flag %q: there are the flags %s", c, useful)
		}
	}
	switch {
	case f.has('b') && f.has('B'):
		return "", errors.New("flags b and B: choose one")
	case f.has('H') && !f.smtp():
		return "", errors.New("flag H needs b or B")
	case f.has('U') && (f.has('n') || f.smtp()):
		return "", errors.New(`flag U needs the "From " line, which n, b and B leave out`)
	}
	return f, nil
}

const loadTime = 10 * time.Second

// LoadMailers runs the sm.conf at path, or the stock one if there is none.
func LoadMailers(ctx context.Context, path string, vars map[string]string) (map[string]*Mailer, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		src, err, path = Stock, nil, "(stock)/sm.conf"
	}
	if err != nil {
		return nil, err
	}
	if len(src) > shellcfg.MaxConfSize {
		return nil, fmt.Errorf("%s: %d bytes: too large", path, len(src))
	}
	mailers := make(map[string]*Mailer)
	var said []string
	opts := shell.Options{
		Commands: map[string]shell.Command{"mailer": func(c *shell.Call) int {
			m, err := parseMailer(c.Args, vars)
			if err == nil && mailers[m.Name] != nil {
				err = fmt.Errorf("%s is defined at %s already", m.Name, mailers[m.Name].Where)
			}
			if err != nil {
				return c.Fail(fmt.Errorf("mailer: %w", err))
			}
			m.Where = c.Pos.String()
			mailers[m.Name] = m
			return 0
		}},
		Vars: vars,
		Open: shell.FileOpener,
		Log:  func(pos shell.Position, line string) { said = append(said, pos.String()+": "+line) },
	}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	if _, err := shell.Load(ctx, opts, path, bytes.NewReader(src)); err != nil {
		return nil, err
	}
	if len(said) > 0 {
		return nil, errors.New(said[0])
	}
	return mailers, nil
}

func parseMailer(args []string, vars map[string]string) (*Mailer, error) {
	if len(args) == 0 || args[0] == "" || strings.Contains(args[0], "=") {
		return nil, errors.New("want a name, then flags=, user=, limit=, limits= and command=")
	}
	m := &Mailer{Name: args[0], Limit: runner.DefaultLimit}
	for _, arg := range args[1:] {
		key, v, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %.40q: want key=value; is the command between quotes?", m.Name, arg)
		}
		var err error
		switch key {
		case "flags":
			m.flags, err = parseFlags(v)
		case "user":
			m.User = v
		case "limit":
			if m.Limit, err = time.ParseDuration(v); err != nil || m.Limit < time.Second {
				err = fmt.Errorf("limit %.40q: want a time of at least a second, such as 5m", v)
			}
		case "limits":
			m.Limits, err = runner.ParseLimits(v)
		case "command":
			m.words, err = parseCommand(v, vars)
		default:
			err = fmt.Errorf("unknown attribute %.40q: want flags, user, limit, limits or command", key)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
	}
	switch {
	case len(m.words) == 0:
		return nil, fmt.Errorf("%s: command= is missing", m.Name)
	case !filepath.IsAbs(m.words[0].text()):
		return nil, fmt.Errorf("%s: the program must be given by its absolute path", m.Name)
	case m.flags.has('S') && m.User != "":
		return nil, fmt.Errorf("%s: flag S and user=%s contradict each other", m.Name, m.User)
	case m.flags.has('S'):
		m.User = "root"
	}
	return m, nil
}
