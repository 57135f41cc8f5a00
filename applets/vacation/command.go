package vacation

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

const help = `vacation reads a message from standard input and answers its sender with the text
of ~/.vacation.msg, at most once an interval. Put this into ~/.forward, with your
login for joe:

  \joe, "|/usr/bin/vacation joe"

Options:
  -a ALIAS   mail for this name or address is mine too (may be repeated)
  -C FILE    another zmailer.conf
  -d         say on standard error what is done and why
  -f FILE    remember answered senders here; default ~/.vacation.memory
  -I, -i     forget whom was answered, and keep the interval of -r; then end
  -j         answer although neither To nor Cc names me
  -l         list whom was answered when; then end
  -m FILE    text of the answer; default ~/.vacation.msg
  -R ADDR    envelope sender of the answer instead of the null sender
  -r TIME    interval: a number of days, or with s, m, h, d, w; 0 answers always, a
             word such as infinite answers once; default 7 days
  -s ADDR    answer this address instead of the envelope sender
  -t TIME    the same as -r, as in Sun's and ZMailer's vacation
  -U         LOGIN has no account: -f and -m name the files
  -x         never answer the addresses and @domains read from standard input; then end
  -z         answer with the null sender (this is the default)

The text may begin with header fields such as Subject and From; a whole MIME
message is taken as it is. $SUBJECT and $FROM stand for the subject and sender of
the message that is answered.`

// options is what a command line asks for.
type options struct {
	aliases  []string
	debug    bool
	memory   string
	init     bool
	toAll    bool // -j
	list     bool
	text     string
	sender   string        // -R
	interval time.Duration // -r; unset if negative
	replyTo  string        // -s
	virtual  bool          // -U
	exclude  bool
	login    string
}

// Command returns the vacation command.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:                "vacation [OPTION...] LOGIN",
		Short:              "Answer mail for a user who is away",
		Long:               help,
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Equal(args, []string{"--help"}) {
				return cmd.Help()
			}
			o, err := parseOptions(args)
			if err != nil {
				return err
			}
			return run(cmd, o)
		},
	}
}

func parseOptions(args []string) (*options, error) {
	o := &options{interval: -1}
	g := proc.NewGetopt("a:C:df:Iijlm:R:r:s:t:Uxz", args)
	for g.Next() {
		if err := o.option(g); err != nil {
			return nil, err
		}
	}
	if err := g.Err(); err != nil {
		return nil, err
	}
	switch rest := g.Args(); {
	case len(rest) > 1:
		return nil, proc.Exit(proc.Usage, "more than one login: %q", rest)
	case len(rest) == 1:
		o.login = rest[0]
	}
	if o.virtual && (o.login == "" || o.text == "" || o.memory == "") {
		return nil, proc.Exit(proc.Usage, "-U needs a login, -f and -m")
	}
	return o, nil
}

func (o *options) option(g *proc.Getopt) (err error) {
	if strings.ContainsFunc(g.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return g.Bad("control character")
	}
	switch g.Opt {
	case 'a':
		o.aliases = append(o.aliases, g.Value)
	case 'C':
		return os.Setenv("ZCONFIG", g.Value)
	case 'd':
		o.debug = true
	case 'f':
		o.memory = g.Value
	case 'I', 'i':
		o.init = true
	case 'j':
		o.toAll = true
	case 'l':
		o.list = true
	case 'm':
		o.text = g.Value
	case 'R':
		o.sender, err = address(g.Value)
	case 's':
		o.replyTo, err = address(g.Value)
	case 'r', 't':
		o.interval, err = parseInterval(g.Value)
	case 'U':
		o.virtual = true
	case 'x':
		o.exclude = true
	case 'z':
		o.sender = ""
	}
	if err != nil {
		return g.Bad("%v", err)
	}
	return nil
}

func address(v string) (string, error) {
	a, err := rfc5322.ParseAddress(v)
	return a.String(), err
}

// forever is an interval that does not end.
const forever = time.Duration(1<<63 - 1)

// units are those of Sun's vacation; a bare number is days, as in Sendmail's.
var units = map[byte]time.Duration{
	's': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour,
}

func parseInterval(v string) (time.Duration, error) {
	if v == "" {
		return 0, fmt.Errorf("want a time")
	}
	if c := v[0]; c < '0' || c > '9' {
		return forever, nil
	}
	unit, digits := units['d'], v
	if u, ok := units[v[len(v)-1]]; ok {
		unit, digits = u, v[:len(v)-1]
	}
	n := time.Duration(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("want a number of days, or one with s, m, h, d or w")
		}
		if n = n*10 + time.Duration(c-'0'); n > forever/unit/10 {
			return forever, nil
		}
	}
	return n * unit, nil
}

func run(cmd *cobra.Command, o *options) error {
	syscall.Umask(0o077)
	a, err := newAccount(o)
	if err != nil {
		return err
	}
	level := slog.LevelError
	if o.debug {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})).With("applet", "vacation")
	m := &memory{path: a.memory, interval: o.interval, now: time.Now}
	if m.usual, err = a.usualInterval(); err != nil {
		return err
	}
	switch {
	case o.init, o.exclude:
		return o.prepare(m, cmd.InOrStdin())
	case o.list:
		return m.list(cmd.OutOrStdout())
	}
	r := &responder{account: a, memory: m, log: log, force: o.toAll, replyTo: o.replyTo, sender: o.sender}
	return r.message(cmd.Context(), cmd.InOrStdin())
}

// prepare makes the memory anew, and notes who is never answered.
func (o *options) prepare(m *memory, in io.Reader) error {
	if o.init {
		if err := m.reset(o.interval); err != nil {
			return proc.Exit(proc.CantCreat, "%w", err)
		}
	}
	if !o.exclude {
		return nil
	}
	if err := m.exclude(in); err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	return nil
}
