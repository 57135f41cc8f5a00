package policy

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"zmailer/shellcfg/shell"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// commands are all commands of a policy. LANGUAGE.md documents each.
func (l *loader) commands() map[string]shell.Command {
	all := map[string]shell.Command{
		"relation": l.relation,
		"table":    l.table,
	}
	maps.Copy(all, decisionCommands)
	maps.Copy(all, addressCommands)
	maps.Copy(all, messageCommands)
	maps.Copy(all, l.p.dnsCommands())
	maps.Copy(all, l.p.userCommands())
	maps.Copy(all, l.p.fileCommands())
	return all
}

var decisionCommands = map[string]shell.Command{
	"deliver":       deliverCommand,
	"reject":        rejectCommand,
	"defer":         deferCommand,
	"freeze":        freezeCommand,
	"discard":       discardCommand,
	"expand":        expandCommand,
	"delay":         delayCommand,
	"hold":          holdCommand,
	"ours":          oursCommand,
	"once":          onceCommand,
	"lookup_failed": lookupFailedCommand,
	"setsender":     setSenderCommand,
	"rewriting":     rewritingCommand,
	"forwarded":     forwardedCommand,
	"srs_forward":   srsForwardCommand,
	"srs_reverse":   srsReverseCommand,
}

var (
	errTooMany    = fmt.Errorf("more decisions than %d for an address, or one for a delivery or a message", maxMade)
	errNotRouting = errors.New("makes sense only while an address is being routed")
)

// routing returns the session of a command that needs an address in work.
func routing(c *shell.Call) (*Session, bool) {
	s, _ := c.Host.(*Session)
	if s == nil || s.cur == nil {
		c.Fail(fmt.Errorf("%s: %w", c.Name, errNotRouting))
		return nil, false
	}
	return s, true
}

// during is routing for a command that answers only some questions.
func during(c *shell.Call, phases ...phase) (*Session, bool) {
	s, ok := routing(c)
	if ok && !slices.Contains(phases, s.phase) {
		c.Fail(fmt.Errorf("%s: is no answer here", c.Name))
		return nil, false
	}
	return s, ok
}

// usage ends the evaluation: a wrong call is a broken policy, not an answer.
func usage(c *shell.Call, format string, args ...any) int {
	return c.Fail(fmt.Errorf("usage: %s %s", c.Name, fmt.Sprintf(format, args...)))
}

func decide(c *shell.Call, d Decision) int {
	s, ok := during(c, routingPhase, crossbarPhase, messagePhase)
	if !ok {
		return 1
	}
	if len(s.made) >= maxMade || s.phase != routingPhase && len(s.made) > 0 {
		return c.Fail(errTooMany)
	}
	d.Why = c.Pos
	s.made = append(s.made, d)
	return 0
}

// deliverCommand is deliver [-p UID] CHANNEL HOST USER.
func deliverCommand(c *shell.Call) int {
	s, ok := during(c, routingPhase, crossbarPhase)
	if !ok {
		return 1
	}
	priv, args := s.privilegeOf(s.cur), c.Args
	if len(args) == 5 && args[0] == "-p" {
		n, err := strconv.ParseUint(args[1], 10, 31)
		if err != nil {
			return usage(c, "-p UID: %q is not a number", args[1])
		}
		priv, args = int(n), args[2:]
	}
	if len(args) != 3 || args[0] == "" || args[2] == "" {
		return usage(c, "[-p UID] CHANNEL HOST USER")
	}
	if strings.ContainsAny(args[0], " \t\n/*") {
		return usage(c, "CHANNEL HOST USER: %q is not the name of a channel", args[0])
	}
	return decide(c, Decision{Action: Deliver, Channel: args[0], Host: args[1], User: args[2], Privilege: priv})
}

// rejectCommand is reject [STATUS] TEXT.
func rejectCommand(c *shell.Call) int { return verdict(c, Reject, "5.0.0") }

// deferCommand is defer [STATUS] TEXT.
func deferCommand(c *shell.Call) int { return verdict(c, Defer, "4.0.0") }

func verdict(c *shell.Call, action Action, status string) int {
	args := c.Args
	if len(args) > 0 && dsn.ValidStatus(args[0]) {
		if args[0][0] != status[0] {
			return usage(c, "[STATUS] TEXT: status %s is of another class", args[0])
		}
		status, args = args[0], args[1:]
	}
	text := rfc5322.OneLine(strings.Join(args, " "), 500)
	if text == "" {
		return usage(c, "[STATUS] TEXT")
	}
	return decide(c, Decision{Action: action, Status: status, Text: text})
}

// freezeCommand is freeze TEXT. For a message that the administrator has released
// from the freezer nothing is decided: the script goes on as without it, and if it
// decides nothing else the stock policy does.
func freezeCommand(c *shell.Call) int {
	if s, ok := c.Host.(*Session); ok && s.msg.Released {
		s.thawed = true
		return 0
	}
	return decide(c, Decision{Action: Freeze, Text: rfc5322.OneLine(strings.Join(c.Args, " "), 500)})
}

// discardCommand is discard [TEXT].
func discardCommand(c *shell.Call) int {
	return decide(c, Decision{Action: Discard, Text: rfc5322.OneLine(strings.Join(c.Args, " "), 500)})
}

// oursCommand says that mail to the recipient is taken from anybody. It means
// nothing below an expansion: what counts is what the client asked for.
func oursCommand(c *shell.Call) int {
	s, ok := routing(c)
	if !ok {
		return 1
	}
	if len(c.Args) != 0 {
		return usage(c, "takes no arguments")
	}
	if s.cur.parent == nil {
		s.claimed = true
	}
	return 0
}

// onceCommand is once KEY: status 0 unless an address above this one asked too.
func onceCommand(c *shell.Call) int {
	s, ok := routing(c)
	if !ok {
		return 1
	}
	if len(c.Args) != 1 {
		return usage(c, "KEY")
	}
	if !s.cur.once(c.Args[0]) {
		return 1
	}
	return 0
}

// lookupFailedCommand is lookup_failed [-c]: tells what could not be asked, and
// with -c goes on without it.
func lookupFailedCommand(c *shell.Call) int {
	s, ok := routing(c)
	if !ok {
		return 1
	}
	if s.failure == "" {
		return 1
	}
	text := s.failure
	switch {
	case len(c.Args) == 1 && c.Args[0] == "-c":
		s.failure = ""
	case len(c.Args) != 0:
		return usage(c, "[-c]")
	}
	return show(c, text)
}

// show prints a line.
func show(c *shell.Call, text string) int {
	if _, err := io.WriteString(c.Stdout, text+"\n"); err != nil {
		return c.Fail(err)
	}
	return 0
}

// maxFields bounds the header fields that lists add.
const maxFields = 8 << 10

// options reads the options of expand and returns the texts of the lists.
func (l *list) options(c *shell.Call) ([]string, bool) {
	g := proc.NewGetopt("ap:s:d:h:", c.Args)
	for g.Next() {
		switch g.Opt {
		case 'a':
			l.addresses = true
		case 'p':
			n, err := strconv.ParseUint(g.Value, 10, 31)
			if err != nil {
				usage(c, "-p UID: %q is not a number", g.Value)
				return nil, false
			}
			l.privilege = int(n)
		case 's':
			if _, err := rfc5322.ParseAddress(g.Value); g.Value != "" && err != nil {
				usage(c, "-s SENDER: %v", err)
				return nil, false
			}
			l.sender, l.hasSender = g.Value, true
		case 'd':
			l.detail = g.Value
		case 'h':
			name, body, _ := strings.Cut(g.Value, ":")
			f, err := rfc5322.NewField(name, body)
			if err != nil || len(l.fields)+len(f.Raw) > maxFields {
				usage(c, "-h FIELD: %q is not NAME: TEXT, or there are too many", rfc5322.OneLine(g.Value, 80))
				return nil, false
			}
			l.fields += string(f.Raw)
		}
	}
	if g.Err() != nil {
		usage(c, "[-a] [-p UID] [-s SENDER] [-d DETAIL] [-h FIELD]... [--] [LIST...]: %v", g.Err())
		return nil, false
	}
	if texts := g.Args(); len(texts) > 0 {
		return texts, true
	}
	b, err := io.ReadAll(io.LimitReader(c.Stdin, maxOutput))
	if err != nil {
		c.Fail(err)
		return nil, false
	}
	return []string{string(b)}, true
}
