package smtpserver

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// etrn_from NETWORK...: who may ask with ETRN for the mail that waits for a host.
func (c *config) etrnFrom(call *shell.Call) error {
	return addNetworks(&c.etrns, call.Args)
}

func (s *session) offersETRN() bool {
	return s.local == nil && s.client.IsValid() && contains(s.cfg.etrns, s.client)
}

// etrnTime is how long the scheduler may take to begin.
const etrnTime = 20 * time.Second

// etrn obeys ETRN, RFC 1985: NAME is a host, or @NAME the host and all below it.
func (s *session) etrn(arg string) {
	host := strings.TrimPrefix(arg, "@")
	switch {
	case s.helo == "":
		s.sayWrong(errHelloFirst)
		return
	case s.mail.active:
		s.sayWrong(errNested)
		return
	case !s.offersETRN():
		s.sayWrong(refuse(459, 4, 7, 1, "ETRN is not for you"))
		return
	case !rfc5322.ValidDomain(host):
		s.sayWrong(refuse(501, 5, 5, 4, "Syntax: ETRN host or @domain"))
		return
	}
	s.count()
	n, err := s.flushQueue(arg)
	switch {
	case err != nil:
		s.log.Error("etrn", "client", s.clientText, "host", arg, "err", err)
		s.reply(458, smtp.EnhancedCode{4, 3, 0}, "Unable to queue messages for node "+arg+", try again later")
	case n == 0:
		s.reply(251, smtp.EnhancedCode{2, 0, 0}, "OK, no messages waiting for node "+arg)
	default:
		s.reply(253, smtp.EnhancedCode{2, 0, 0}, "OK, "+strconv.Itoa(n)+" pending messages for node "+arg+" started")
	}
}

// flushQueue tells the scheduler to try the host now. It returns the number of
// messages.
func (s *session) flushQueue(name string) (n int, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, etrnTime)
	defer cancel()
	done := false
	err = queuesock.Ask(ctx, s.srv.spool, &queuesock.Request{Op: queuesock.OpFlush, Select: queuesock.Selection{Etrn: name}}, func(a *queuesock.Answer) error {
		if a.Changed != nil {
			n = a.Changed.Messages
		}
		done = a.Done
		return nil
	})
	if err == nil && !done {
		err = errors.New("the scheduler gave no answer")
	}
	return n, err
}
