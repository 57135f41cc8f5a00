package smtpserver

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// freeze [TEXT]: the message is taken, and kept until the administrator releases it;
// in smtp_connect and smtp_helo, all messages of the session.
func freezeCommand(s *session, args []string) error {
	text := rfc5322.OneLine(strings.Join(args, " "), 500)
	if text == "" {
		text = "frozen by policy"
	}
	*s.scoped(&s.hold, &s.mail.hold) = text
	return nil
}

// scoped is the transaction's part of a decision, if there is a transaction: what is
// decided within one ends with it.
func (s *session) scoped(session, transaction *string) *string {
	if s.mail.id == "" {
		return session
	}
	return transaction
}

// tag WORD...: words that router.cf finds as the fact tag.
func tagCommand(s *session, args []string) error {
	if len(args) == 0 {
		return errors.New("want a word")
	}
	to := s.scoped(&s.tags, &s.mail.tags)
	for _, word := range args {
		if word == "" || strings.ContainsAny(word, " \t") || len(*to)+len(word) > maxTags {
			return fmt.Errorf("%.40q: want words, of %d octets together", word, maxTags)
		}
		*to = strings.TrimSpace(*to + " " + word)
	}
	return nil
}

const maxTags = 1000

// joinTags is what the session and the transaction were tagged with.
func (s *session) joinTags() string { return strings.TrimSpace(s.tags + " " + s.mail.tags) }

// maxReplyDelay is the longest wait that one call of policy can cause.
const maxReplyDelay = 30 * time.Second

// delay TIME: the reply waits. A client that cares for its mail waits with it.
func delayCommand(s *session, args []string) error {
	if len(args) != 1 {
		return errors.New("want a time, such as 5s")
	}
	d, err := time.ParseDuration(args[0])
	if err != nil || d < 0 || d > maxReplyDelay {
		return fmt.Errorf("%s: want a time of at most %v", args[0], maxReplyDelay)
	}
	s.verdict.delay = d
	return nil
}

// wait holds a reply back. It ends early when the server wants to end.
func (s *session) wait(d time.Duration) {
	if d <= 0 || s.probe || s.srv.closing.Load() {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.srv.cut.Done():
	}
}

// limitCommand is limit NAME=VALUE...: while the file is loaded it sets the bounds
// of all sessions, in a hook those of this one.
func (c *config) limitCommand(call *shell.Call) int {
	var err error
	if s, ok := call.Host.(*session); ok {
		own := *s.limits
		if err = own.set(call.Args, true); err == nil {
			s.limits = &own
		}
	} else {
		err = c.limits.set(call.Args, false)
	}
	if err != nil {
		return call.Fail(fmt.Errorf("limit: %w", err))
	}
	return 0
}
