package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A worker routes one message at a time and keeps its buffers.
type worker struct {
	r       *Router
	log     *slog.Logger
	pace    *pace // of the message in work
	header  []byte
	scratch []byte
}

func newWorker(r *Router) *worker {
	return &worker{r: r, log: r.log, header: make([]byte, 16<<10), scratch: make([]byte, 0, 16<<10)}
}

// reset forgets buffers that a panic may have left in disorder.
func (w *worker) reset() {
	w.header, w.scratch = make([]byte, 16<<10), make([]byte, 0, 16<<10)
}

// A message is a message in work.
type message struct {
	*spool.Message
	job       job
	owner     int  // uid of the submitter
	trusted   bool // that he may say whom he likes to be
	login     string
	sender    string
	msgid     string
	fields    rfc5322.Header // as received; slices of the worker's buffer
	body      int64          // offset in the file
	oversized bool           // the header is larger than maxHeader
	rcpts     []spool.Recipient
	config    string
	released  bool // from the freezer
}

// route moves one message on. See doc.go for the ends; errDeferred and errors say
// that there is more to do.
func (w *worker) route(ctx context.Context, j job) error {
	m, err := w.open(j)
	if m == nil || err != nil {
		return err
	}
	defer func() { m.Close() }() // read only
	if !w.r.trusts(m.Owner) {
		copied, err := w.adopt(m.Message, j.dir)
		if err != nil {
			return err
		}
		m.Close()
		m.Message = copied
	}
	if err := w.identify(m); err != nil {
		var bad *badMessage
		if errors.As(err, &bad) {
			return w.postman(j, bad.why)
		}
		return err
	}
	p, release := w.r.policy.Acquire()
	defer release()
	ctx, cancel := context.WithTimeout(ctx, w.r.limits.time)
	defer cancel()
	return w.decide(ctx, p, m)
}

// open opens the message file and reads its header. A message that is nobody's
// business any more gives neither a message nor an error.
func (w *worker) open(j job) (*message, error) {
	sm, err := spool.OpenMessage(w.r.spool.Path(j.dir, j.id), j.id)
	var bad *spool.BadEnvelope
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // taken by somebody else: an administrator, recovery
	case errors.Is(err, spool.ErrNotRegular):
		return nil, w.postman(j, err.Error())
	case errors.As(err, &bad):
		return nil, errors.Join(sm.Close(), w.postman(j, err.Error()))
	case err != nil:
		return nil, err
	}
	return &message{Message: sm, job: j}, nil
}

func (w *worker) postman(j job, why string) error {
	if err := w.r.spool.SetAside(j.dir, spool.PostmanDir, j.id, why); err != nil {
		return err
	}
	w.r.counts.message(setAsidePostman, 0)
	w.log.Error("set aside", "spoolid", string(j.id), "action", "postman", "err", rfc5322.OneLine(why, 500))
	return nil
}

// badMessage is a message that nobody can say what to do with.
type badMessage struct{ why string }

func (e *badMessage) Error() string { return e.why }

// identify finds out who sent the message to whom.
func (w *worker) identify(m *message) error {
	m.owner, m.trusted = m.Owner, true
	if m.Env.Owner != "" {
		uid, err := strconv.ParseUint(m.Env.Owner, 10, 31)
		if err != nil {
			return &badMessage{"owner line: not a uid"}
		}
		m.owner, m.trusted = int(uid), w.r.trusts(int(uid))
	}
	if err := w.readHeader(m); err != nil {
		return err
	}
	if err := w.findSender(m); err != nil {
		return err
	}
	m.msgid = m.fields.Get("Message-ID")
	m.rcpts = m.Env.To
	if len(m.rcpts) == 0 {
		m.rcpts = headerRecipients(m.fields)
	}
	return nil
}

// findSender takes the sender of the envelope, or else the login of the owner.
// Everybody may name another sender than himself, as with any sendmail -f; when
// the owner is not trusted the header says who he is.
func (w *worker) findSender(m *message) error {
	believed := m.trusted || m.Env.External
	if !believed || !m.Env.HasFrom {
		if err := w.findLogin(m); err != nil {
			return err
		}
		m.sender = w.qualified(rfc5322.Address{Local: m.login}).String()
	}
	if !m.Env.HasFrom {
		return nil
	}
	if m.Env.From == "" { // the null sender, which reports have
		m.sender = ""
		return nil
	}
	a, err := rfc5322.ParseAddress(m.Env.From)
	switch {
	case err == nil:
		m.sender = w.qualified(a).String()
	case believed:
		return &badMessage{fmt.Sprintf("sender %q: %v", rfc5322.OneLine(m.Env.From, 200), err)}
	}
	return nil
}

func (w *worker) findLogin(m *message) error {
	u, found, err := w.r.policy.Users().LookupUID(m.owner)
	if err != nil {
		return fmt.Errorf("login of uid %d: %w", m.owner, err)
	}
	m.login = u.Name
	if !found {
		m.login = "uid" + strconv.Itoa(m.owner) // better than losing the mail
	}
	return nil
}

// qualified completes an address without a domain.
func (w *worker) qualified(a rfc5322.Address) rfc5322.Address {
	if a.Domain == "" && !a.IsNull() {
		a.Domain = w.r.policy.Conf().MyDomain
	}
	return a
}

// maxHeader bounds the header of a message.
const maxHeader = 1 << 20

// readHeader reads the header into the worker's buffer, with one read for most.
func (w *worker) readHeader(m *message) error {
	want := m.Size - m.Header
	for {
		n := min(want, int64(len(w.header)))
		if _, err := m.File.ReadAt(w.header[:n], m.Header); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		b := w.header[:n]
		whole := n == want || bytes.Contains(b, []byte("\n\n")) || bytes.HasPrefix(b, []byte("\n"))
		if !whole && len(w.header) < maxHeader {
			w.header = make([]byte, min(2*len(w.header), maxHeader))
			continue
		}
		fields, off, err := rfc5322.ParseHeader(b)
		m.fields, m.body = fields, m.Header+int64(off)
		// Without an empty line in sight the header may go on behind the buffer.
		m.oversized = errors.Is(err, rfc5322.ErrTooLarge) || !whole && off == len(b)
		return nil
	}
}

// headerRecipients are the recipients of a message whose envelope names none.
func headerRecipients(h rfc5322.Header) []spool.Recipient {
	names := []string{"To", "Cc", "Bcc"}
	if h.Has("Resent-To") || h.Has("Resent-Cc") || h.Has("Resent-Bcc") {
		names = []string{"Resent-To", "Resent-Cc", "Resent-Bcc"}
	}
	var rcpts []spool.Recipient
	for _, f := range h {
		for _, name := range names {
			if !f.Is(name) {
				continue
			}
			text := f.Unfolded()
			list, err := rfc5322.ParseList(text)
			for _, mb := range list {
				if !mb.IsNull() {
					rcpts = append(rcpts, spool.Recipient{Addr: mb.Address.String()})
				}
			}
			var bad *rfc5322.ListError
			if !errors.As(err, &bad) {
				continue
			}
			// What cannot be read is the name of a user nobody has, and so told to the sender.
			for _, b := range bad.Bad {
				name := rfc5322.OneLine(strings.TrimSpace(text[b.Start:b.End]), rfc5322.MaxLocal)
				rcpts = append(rcpts, spool.Recipient{Addr: rfc5322.Address{Local: name}.String()})
			}
		}
	}
	return rcpts
}

// facts are what the policy may know.
func (m *message) facts() *policy.Message {
	return &policy.Message{
		ID: string(m.ID), Sender: m.sender, Client: m.Env.Client, Helo: m.Env.Helo, AuthUser: m.Env.AuthUser,
		Owner: m.owner, Size: m.Size, MessageID: m.msgid, Priority: m.Env.Priority, Tag: m.Env.Tag,
		EnvID: m.Env.EnvID, Ret: m.Env.Ret, BodyType: m.Env.BodyType, TLS: m.Env.TLS, Via: m.Env.Via,
		SMTPUTF8: m.Env.SMTPUTF8, RequireTLS: m.Env.RequireTLS,
		External: m.Env.External, ErrorMsg: m.Env.ErrorMsg, Released: m.released, Header: m.fields,
	}
}
