package smtpserver

import (
	"fmt"
	"strings"

	"github.com/d--j/go-milter"
	"github.com/emersion/go-smtp"

	"zmailer/spool"
)

var errMilter = refuse(451, 4, 7, 1, "Service unavailable, try again later")

// beginMilters connects to the milters and tells them of the client. One that
// cannot be asked now is tried again with the first message.
func (s *session) beginMilters() *smtp.SMTPError {
	s.closeMilters()
	if s.local != nil || s.probe {
		return nil
	}
	for _, spec := range s.cfg.milters {
		if spec.wants(s.listens) {
			s.milters = append(s.milters, milterLink{spec: spec})
		}
	}
	return s.eachMilter("connect", s.openMilter)
}

// milterHelo tells of what the client calls itself.
func (s *session) milterHelo() *smtp.SMTPError {
	return s.eachMilter("helo", func(l *milterLink) (*milter.Action, error) {
		if l.sess == nil {
			return s.openMilter(l)
		}
		return l.sess.Helo(s.helo)
	})
}

// milterMail tells of a sender, and of its parameters as they were given.
func (s *session) milterMail(params string) *smtp.SMTPError {
	for i := range s.milters {
		s.milters[i].done = false
	}
	return s.eachMilter("mail", func(l *milterLink) (*milter.Action, error) {
		if l.sess == nil {
			if act, err := s.openMilter(l); err != nil || act.Type != milter.ActionContinue {
				return act, err
			}
		}
		l.inMail = true
		return l.sess.Mail(s.mail.from.String(), strings.Join(strings.Fields(params), "\x00"))
	})
}

// milterRcpt tells of a recipient that was found good.
func (s *session) milterRcpt(r *spool.Recipient) *smtp.SMTPError {
	s.mail.told = r.Addr
	var params []string
	if r.Notify != "" {
		params = append(params, "NOTIFY="+r.Notify)
	}
	if r.ORcpt != "" {
		params = append(params, "ORCPT="+r.ORcpt)
	}
	return s.eachMilter("rcpt", func(l *milterLink) (*milter.Action, error) {
		return l.sess.Rcpt(r.Addr, strings.Join(params, "\x00"))
	})
}

// milterData tells that the message comes.
func (s *session) milterData() *smtp.SMTPError {
	return s.eachMilter("data", func(l *milterLink) (*milter.Action, error) { return l.sess.DataStart() })
}

// milterReset tells that there will be no message.
func (s *session) milterReset() {
	for i := range s.milters {
		l := &s.milters[i]
		if !l.inMail {
			continue
		}
		l.inMail = false
		l.conn.expect(l.spec.command, maxMilterAnswer)
		err := l.sess.Abort(nil)
		if err == nil {
			err = l.conn.flush()
		}
		if err != nil {
			l.close()
		}
	}
}

// milting tells whether a milter is to see the message.
func (s *session) milting() bool {
	for i := range s.milters {
		if l := &s.milters[i]; !l.passed && !l.done {
			return true
		}
	}
	return false
}

// eachMilter puts one step to the milters, in their order, until one refuses or
// throws the message away.
func (s *session) eachMilter(step string, f func(l *milterLink) (*milter.Action, error)) *smtp.SMTPError {
	for i := range s.milters {
		l := &s.milters[i]
		if l.passed || l.done && s.mail.id != "" || s.mail.discard != "" {
			continue
		}
		act, err := s.askMilter(l, f)
		if e := s.milterSays(l, step, act, err); e != nil {
			return e
		}
	}
	return nil
}

// askMilter makes one call of the library, which panics at some packets that no
// milter should send.
func (s *session) askMilter(l *milterLink, f func(l *milterLink) (*milter.Action, error)) (act *milter.Action, err error) {
	defer func() {
		if r := recover(); r != nil {
			act, err = nil, fmt.Errorf("milter: %v", r)
		}
	}()
	if l.sess != nil {
		l.conn.expect(l.spec.command, maxMilterAnswer)
	}
	if act, err = f(l); err == nil {
		err = l.conn.flush()
	}
	return act, err
}

// milterSays takes the verdict of a milter on a step.
func (s *session) milterSays(l *milterLink, step string, act *milter.Action, err error) *smtp.SMTPError {
	before := step == "connect" || step == "helo"
	if err != nil {
		s.log.Error("milter failed", "host", l.spec.name, "action", step, "client", s.clientText, "spoolid", string(s.mail.id), "err", err)
		l.close()
		switch {
		case before:
			return nil // MAIL will show
		case l.spec.accept:
			l.done = true
			return nil
		}
		return errMilter
	}
	switch act.Type {
	case milter.ActionAccept:
		l.done, l.passed = !before, before
	case milter.ActionDiscard:
		if !before {
			s.mail.discard = l.spec.name
		}
	case milter.ActionReject, milter.ActionTempFail, milter.ActionRejectWithCode:
		l.done = step != "rcpt"
		return milterReply(act)
	}
	return nil
}

// maxMilterLines bounds the lines of a refusal, as libmilter does.
const maxMilterLines = 32

// milterReply is the refusal of a milter: its text, if it has one, of lines that
// begin with the code. A percent sign comes doubled, as Sendmail wants it.
func milterReply(act *milter.Action) *smtp.SMTPError {
	code := int(act.SMTPCode)
	e := refuse(code, code/100, 7, 1, "")
	var text []string
	for line := range strings.Lines(act.SMTPReply) {
		if len(text) == maxMilterLines {
			break
		}
		line = strings.TrimRight(line, "\r\n")
		line = line[min(4, len(line)):]
		word, rest, _ := strings.Cut(line, " ")
		if ec, ok := parseEnhanced(word); ok && ec[0] == code/100 {
			e.EnhancedCode, line = ec, rest
		}
		text = append(text, line)
	}
	e.Message = strings.ReplaceAll(strings.Join(text, "\n"), "%%", "%")
	if e.Message == "" {
		e.Message = "Refused by a filter"
	}
	return e
}
