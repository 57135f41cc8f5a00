package migrate

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
)

// sendmailAsker asks "sendmail -bv".
type sendmailAsker struct{ program, cf string }

func newSendmailAsker(dir, program string) (asker, error) {
	path, err := findProgram(program, "/usr/libexec/sendmail/sendmail", "/usr/lib/sm.bin/sendmail", "/usr/sbin/sendmail.sendmail", "/usr/sbin/sendmail")
	return &sendmailAsker{path, filepath.Join(dir, "sendmail.cf")}, err
}

func (s *sendmailAsker) about() string            { return "" }
func (s *sendmailAsker) reduce(way string) string { return way }

func (s *sendmailAsker) ask(ctx context.Context, addr string) ([]string, error) {
	out, _, err := run(ctx, s.program, "-C", s.cf, "-bv", "--", addr)
	if err != nil {
		return nil, err
	}
	return parseVerify(out)
}

// parseVerify reads what "sendmail -bv" prints: a line for each address in the end.
func parseVerify(out string) (ways []string, err error) {
	for line := range strings.Lines(out) {
		name, what, ok := cutLast(strings.TrimSpace(line), "... ")
		if !ok {
			continue
		}
		rest, deliverable := strings.CutPrefix(what, "deliverable: mailer ")
		switch {
		case deliverable:
			ways = append(ways, verifiedWay(rest))
		case strings.HasPrefix(what, "aliased to"), strings.HasPrefix(what, "including file"):
		case strings.Contains(what, "lookup failure"), strings.Contains(what, "deferred"), strings.Contains(what, "emporar"):
			err = errors.Join(err, errors.New(name+": "+what))
		default:
			ways = append(ways, refused)
		}
	}
	if len(ways) == 0 && err == nil {
		err = errors.New("sendmail -bv says nothing that can be read: " + strings.TrimSpace(out))
	}
	return ways, err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// verifiedWay reads "esmtp, host far.example., user ann@far.example".
func verifiedWay(s string) string {
	mailer, rest, _ := strings.Cut(s, ", ")
	host := ""
	if h, ok := strings.CutPrefix(rest, "host "); ok {
		host, rest, _ = strings.Cut(h, ", ")
	}
	user := strings.TrimPrefix(rest, "user ")
	switch mailer {
	case "local":
		user, _, _ = strings.Cut(user, "+")
		return "mailbox " + user
	case "prog":
		return "program " + strings.TrimPrefix(strings.Trim(user, `"`), "|")
	case "*file*":
		return "file " + user
	case "discard":
		return "discarded"
	case "esmtp", "smtp", "relay", "dsmtp", "smtp8":
		mailer = "smtp"
	}
	return hopTo(mailer, host, user)
}
