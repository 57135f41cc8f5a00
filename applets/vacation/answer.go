package vacation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// A responder answers messages for an account.
type responder struct {
	account *account
	memory  *memory
	log     *slog.Logger
	force   bool   // -j
	replyTo string // -s
	sender  string // -R
}

// message reads a message and answers it if nothing speaks against it.
func (r *responder) message(ctx context.Context, in io.Reader) error {
	msg, err := readIncoming(in)
	if err != nil {
		return proc.Exit(proc.TempFail, "read the message: %w", err)
	}
	if why := msg.silence(r.account, r.force); why != "" {
		r.log.Info("no answer", "from", msg.sender.String(), "err", why)
		return nil
	}
	to := msg.sender.String()
	if r.replyTo != "" {
		to = r.replyTo
	}
	b, err := r.memory.open()
	if errors.Is(err, errForeign) {
		r.log.Error("no answer", "to", to, "err", err)
		return nil
	}
	if err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	err = r.answer(ctx, b, msg, to)
	if e := b.close(); err == nil && e != nil {
		err = proc.Exit(proc.TempFail, "%w", e)
	}
	return err
}

// answer submits the answer and notes it in the memory.
func (r *responder) answer(ctx context.Context, b *book, msg *incoming, to string) error {
	key := strings.ToLower(to)
	if why := b.silence(key); why != "" {
		r.log.Info("no answer", "to", to, "err", why)
		return nil
	}
	text, err := r.compose(msg, to)
	if err != nil {
		// The user's text cannot be used; only he can change that, and his mail must
		// not go back to its senders.
		r.log.Error("no answer", "to", to, "err", err)
		return nil
	}
	env := &spool.Envelope{HasFrom: true, From: r.sender, To: []spool.Recipient{{Addr: to, Notify: "NEVER"}}}
	env.SMTPUTF8 = hasHighBit([]byte(to + r.sender))
	if hasHighBit(text) {
		env.BodyType = "8BITMIME"
	}
	s, err := r.account.conf.OpenSpool()
	if err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	id, err := s.SubmitMessage(ctx, env, bytes.NewReader(text))
	if err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	r.log.Info("answered", "spoolid", string(id), "to", to)
	if err := b.note(key); err != nil {
		// The answer is on its way: to try again would send another one.
		r.log.Error("not remembered", "spoolid", string(id), "to", to, "err", err)
	}
	return nil
}

// maxSubject bounds what an answer repeats of the subject.
const maxSubject = 250

// compose writes the answer.
func (r *responder) compose(msg *incoming, to string) ([]byte, error) {
	t, err := readTemplate(r.account.texts)
	if err != nil {
		return nil, err
	}
	subject := rfc5322.OneLine(rfc5322.DecodeWords(msg.header.Get("Subject")), maxSubject)
	t.fill(subject, to)
	// These are not for the template to say.
	t.header.Del("To", "Cc", "Bcc", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted", "Precedence", "Return-Path")
	h := rfc5322.Header{}
	add := func(name, folded string) {
		if !t.header.Has(name) {
			h.Append(rfc5322.Field{Raw: []byte(folded)})
		}
	}
	plain := func(name, body string) { add(name, name+": "+body+"\n") }
	plain("Date", rfc5322.FormatDate(time.Now()))
	plain("Message-ID", rfc5322.MessageID(string(spool.NewID())+".vacation", r.account.conf.Hostname))
	self := rfc5322.Address{Local: r.account.login, Domain: r.account.domain}
	plain("From", rfc5322.FormatMailbox(r.account.fullName, self))
	plain("To", to)
	add("Subject", rfc5322.FoldText("Subject", rfc5322.EncodeWord("Auto: "+subject))) // RFC 3834 §3.1.5
	r.thread(msg, add)
	plain("Auto-Submitted", "auto-replied")
	plain("Precedence", "bulk")
	if !t.isMIME() {
		t.header.Del("MIME-Version", "Content-Transfer-Encoding")
		plain("MIME-Version", "1.0")
		plain("Content-Type", "text/plain; charset="+charset(t.body))
		if hasHighBit(t.body) {
			plain("Content-Transfer-Encoding", "8bit")
		}
	} else {
		plain("MIME-Version", "1.0")
	}
	h.Append(t.header...)
	return append(append(h.Bytes(), '\n'), t.body...), nil
}

// maxReferences bounds References; the first and the latest are kept, as RFC 5537
// §3.4.4 has it for news.
const maxReferences = 20

// thread names the message that is answered: RFC 3834 §3.1.6, RFC 5322 §3.6.4.
func (r *responder) thread(msg *incoming, add func(name, folded string)) {
	ids := rfc5322.ParseMessageIDs(msg.header.Get("Message-ID"))
	if len(ids) == 0 {
		return
	}
	id := ids[0]
	add("In-Reply-To", "In-Reply-To: "+id+"\n")
	refs := rfc5322.ParseMessageIDs(msg.header.Get("References"))
	if len(refs) == 0 {
		if refs = rfc5322.ParseMessageIDs(msg.header.Get("In-Reply-To")); len(refs) > 1 {
			refs = nil // RFC 5322: only a single one is a reference
		}
	}
	if n := len(refs); n > maxReferences {
		refs = append(refs[:1:1], refs[n-maxReferences+1:]...)
	}
	add("References", rfc5322.FoldText("References", strings.Join(append(refs, id), " ")))
}
