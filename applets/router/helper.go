package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"zmailer/applets/check"
	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
	"zmailer/spool/zlog"
)

// Bounds of the helper.
const (
	maxQuestion    = 64 << 10
	questionTime   = 50 * time.Second
	maxShown       = 100 // members that expn tells
	questionFields = 8
)

// serveHelper answers the SMTP server's questions until its input ends:
//
//	N rcpt ADDRESS SENDER CLIENTIP relay|norelay AUTHUSER
//	N mail|vrfy|expn ADDRESS CLIENTIP relay|norelay AUTHUSER
//
//	N ok|reject|defer|freeze SMTPCODE ENHANCED TEXT
//
// Fields and lines are those of spool.AppendLine. Questions are answered by
// several workers, so answers come in any order. norelay means that the client
// may send to recipients of ours alone.
func serveHelper(ctx context.Context, conf *shellcfg.Conf, in io.Reader, out io.Writer) error {
	if err := dropGroups(); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	// What is said here ends up in the log of the SMTP server.
	log := zlog.New(os.Stderr, "router")
	h, err := policy.NewHolder(ctx, policy.Config{Conf: conf, Log: log, Accept: check.Verify})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go h.Watch(ctx)
	return newHelper(h, log, out).serve(ctx, in)
}

// A helper answers questions about addresses.
type helper struct {
	policy *policy.Holder
	log    *slog.Logger

	mu  sync.Mutex
	out io.Writer
	err error // of writing
}

func newHelper(h *policy.Holder, log *slog.Logger, out io.Writer) *helper {
	return &helper{policy: h, log: log, out: out}
}

func (h *helper) serve(ctx context.Context, in io.Reader) error {
	lines := make(chan string)
	var wg sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) { // some wait for tables and name servers
		wg.Go(func() {
			for line := range lines {
				h.answer(ctx, line)
			}
		})
	}
	err := readLines(ctx, in, lines)
	close(lines)
	wg.Wait()
	return errors.Join(err, h.err)
}

func readLines(ctx context.Context, in io.Reader, lines chan<- string) error {
	r := bufio.NewReaderSize(in, maxQuestion)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return proc.Exit(proc.Protocol, "question: %w", err)
		}
		select {
		case lines <- string(line[:len(line)-1]):
		case <-ctx.Done():
			return nil
		}
	}
}

// A question is one line of the SMTP server.
type question struct {
	verb, addr string
	msg        policy.Message
	relay      bool
}

// A reply is what becomes of an address.
type reply struct{ word, code, status, text string }

func (h *helper) answer(ctx context.Context, line string) {
	number, rest, _ := strings.Cut(line, "\t")
	r := reply{"defer", "451", "4.3.0", "address could not be checked, try again later"}
	q, err := parseQuestion(rest)
	if err != nil {
		h.log.Error("question", "err", err)
	} else {
		r = h.ask(ctx, q)
	}
	b := spool.AppendLine(make([]byte, 0, 128), number, r.word, r.code, r.status, r.text)
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.out.Write(b); err != nil && h.err == nil {
		h.err = proc.Exit(proc.IOErr, "answer: %w", err)
	}
}

func parseQuestion(line string) (*question, error) {
	f, err := spool.SplitLine(line, questionFields)
	if err != nil {
		return nil, err
	}
	q := &question{verb: f[0]}
	switch {
	case q.verb == "rcpt" && len(f) == 6:
		q.msg.Sender = f[2]
		f = append(f[:2:2], f[3:]...)
	case (q.verb == "mail" || q.verb == "vrfy" || q.verb == "expn") && len(f) == 5:
	default:
		return nil, fmt.Errorf("%.20q with %d fields", f[0], len(f))
	}
	switch f[3] {
	case "relay":
		q.relay = true
	case "norelay":
	default:
		return nil, fmt.Errorf("%.20q: want relay or norelay", f[3])
	}
	q.addr, q.msg.Client, q.msg.AuthUser = f[1], f[2], f[4]
	q.msg.External = true
	return q, nil
}

// ask puts a question to the policy. A policy that crashes is no answer.
func (h *helper) ask(ctx context.Context, q *question) (r reply) {
	defer func() {
		if v := recover(); v != nil {
			h.log.Error("panic", "to", rfc5322.OneLine(q.addr, 320), "err", fmt.Sprint(v))
			r = reply{"defer", "451", "4.3.5", "address could not be checked, try again later"}
		}
	}()
	p, release := h.policy.Acquire()
	defer release()
	ctx, cancel := context.WithTimeout(ctx, questionTime)
	defer cancel()
	if q.verb == "mail" {
		q.msg.Sender = q.addr
	}
	s := p.Session(ctx, &q.msg)
	defer s.Close()
	if q.verb == "mail" {
		return answerMail(s, q)
	}
	return answerRoute(s, q, h.policy.Conf().MyDomain)
}

// answerMail judges a sender: function mailfrom, if the policy has one.
func answerMail(s *policy.Session, q *question) reply {
	if _, err := rfc5322.ParseAddress(q.addr); q.addr != "" && err != nil {
		return reply{"reject", "553", "5.1.7", "bad sender address syntax"}
	}
	d := s.Mailfrom(q.addr)
	if d == nil || d.Action == policy.Deliver || d.Action == policy.Discard {
		return reply{"ok", "250", "2.1.0", "Ok"}
	}
	return replyFor(d)
}

// answerRoute judges a recipient by routing him, up to the first delivery. An
// address of which no part can be delivered is refused now; one of which some
// part must wait is not known to be good.
func answerRoute(s *policy.Session, q *question, domain string) reply {
	var first, wait, good *policy.Decision
	var shown []string
	s.Route(policy.Recipient{Addr: q.addr}, func(d *policy.Decision) bool {
		d = clone(d)
		switch d.Action {
		case policy.Deliver, policy.Discard, policy.Freeze:
			if good == nil {
				good = d
			}
		case policy.Defer:
			if wait == nil {
				wait = d
			}
		case policy.Reject:
			if first == nil {
				first = d
			}
		}
		if q.verb == "expn" && d.Action == policy.Deliver {
			shown = append(shown, d.Address)
			return len(shown) < maxShown
		}
		return good == nil
	})
	switch {
	case good != nil && !q.relay && !s.Claimed() && !good.Local():
		return reply{"reject", "550", "5.7.1", "relaying denied"}
	case good != nil && good.Action == policy.Freeze:
		return reply{"freeze", "250", "2.1.5", "Ok"}
	case good != nil && q.verb == "expn":
		return reply{"ok", "250", "2.1.5", strings.Join(shown, "\n")}
	case good != nil && q.verb == "vrfy":
		return reply{"ok", "250", "2.1.5", whole(q.addr, domain)}
	case good != nil:
		return reply{"ok", "250", "2.1.5", "Ok"}
	case wait != nil:
		return replyFor(wait)
	case first != nil:
		return replyFor(first)
	}
	return reply{"reject", "550", "5.1.1", "address leads to nobody"}
}

// whole is an address in angle brackets, with our domain if it has none.
func whole(addr, domain string) string {
	a, err := rfc5322.ParseAddress(addr)
	if err != nil {
		return "<" + addr + ">"
	}
	if a.Domain == "" {
		a.Domain = domain
	}
	return a.Path()
}

func clone(d *policy.Decision) *policy.Decision {
	c := *d
	return &c
}

// replyFor is the reply that a decision without delivery means. What is wrong
// with tables and policy is the administrator's business.
func replyFor(d *policy.Decision) reply {
	switch d.Action {
	case policy.Reject:
		code := "550"
		switch d.Status {
		case "5.1.3", "5.1.7":
			code = "553"
		case "5.2.2", "5.3.4":
			code = "552"
		}
		return reply{"reject", code, d.Status, d.Text}
	case policy.Freeze:
		return reply{"freeze", "250", "2.1.5", "Ok"}
	}
	text := "address could not be looked up, try again later"
	if !d.Internal {
		text = d.Text
	}
	return reply{"defer", "451", d.Status, text}
}
