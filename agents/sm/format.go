package sm

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"zmailer/agents/letter"
	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A run is one call of a mailer: the recipients, and the message for them.
type run struct {
	m        *Mailer
	hostname string
	sender   string
	attr     *spool.Attributes
	header   []byte
	rcpts    []*spool.Rcpt
	body     *letter.Body
}

// write writes what the program reads.
func (r *run) write(w io.Writer) error {
	out := &lineWriter{w: bufio.NewWriterSize(w, 64<<10), crlf: r.m.flags.has('R'), start: true}
	l := &letter.Letter{Head: r.head(), Body: r.body}
	if r.m.flags.smtp() {
		r.envelope(out, l.Size())
	} else if !r.m.flags.has('n') {
		io.WriteString(out, r.fromLine()) // the errors of out show when it is flushed
	}
	out.dots = r.m.flags.has('X') || r.m.flags.smtp()
	var err error
	if r.m.flags.has('E') {
		err = l.WriteQuoted(out)
	} else {
		_, err = l.WriteTo(out)
	}
	if err != nil {
		return err
	}
	out.dots = false
	if r.m.flags.smtp() {
		if !out.start {
			io.WriteString(out, "\n")
		}
		io.WriteString(out, ".\nQUIT\n")
	}
	return out.w.Flush()
}

func (r *run) fromLine() string {
	line := letter.FromLine(r.sender, time.Now())
	if r.m.flags.has('U') {
		line = strings.TrimSuffix(line, "\n") + " remote from " + r.hostname + "\n"
	}
	return line
}

// head is the header with what the flags add.
func (r *run) head() []byte {
	t := letter.Trace{ReturnPath: r.sender, NoPath: !r.m.flags.has('P'), DeliveredTo: r.deliveredTo()}
	var add strings.Builder
	field := func(name, text string) { fmt.Fprintf(&add, "%s: %s\n", name, rfc5322.OneLine(text, 900)) }
	if r.m.flags.has('e') {
		field("X-Envelope-From", "<"+r.sender+">")
	}
	for _, rcpt := range r.rcpts {
		if r.m.flags.has('e') {
			field("X-Envelope-To", "<"+rcpt.User+">")
		}
		if r.m.flags.has('O') && rcpt.ORcpt != "" {
			field("X-Orcpt", rcpt.ORcpt)
		}
	}
	h, _, err := rfc5322.ParseHeader(r.header)
	if r.m.flags.has('D') && err == nil && !h.Has("Date") {
		field("Date", rfc5322.FormatDate(time.Now()))
	}
	if r.m.flags.has('F') && err == nil && !h.Has("From") {
		from := r.sender
		if from == "" {
			from = "MAILER-DAEMON@" + r.hostname
		}
		field("From", "<"+from+">")
	}
	head := letter.Head(r.header, t)
	if add.Len() == 0 {
		return head
	}
	return append([]byte(add.String()), head...)
}

// deliveredTo is the address of the one recipient of a local mailer.
func (r *run) deliveredTo() string {
	if !r.m.flags.has('l') || len(r.rcpts) != 1 {
		return ""
	}
	a := parse(r.rcpts[0].User)
	if a.Domain == "" {
		a.Domain = r.hostname
	}
	return a.String()
}

// envelope writes the SMTP commands before the message.
func (r *run) envelope(w io.Writer, size int64) {
	extended, withDSN := r.m.flags.has('B'), r.m.flags.has('2')
	if r.m.flags.has('H') {
		verb := "HELO"
		if extended {
			verb = "EHLO"
		}
		fmt.Fprintf(w, "%s %s\n", verb, r.hostname)
	}
	param := func(on bool, name, v string) string {
		if !on || v == "" {
			return ""
		}
		return " " + name + "=" + rfc5322.OneLine(v, 0)
	}
	fmt.Fprintf(w, "MAIL FROM:<%s>%s%s%s%s\n", rfc5322.OneLine(r.sender, 0),
		param(extended, "SIZE", fmt.Sprint(size)), param(extended, "BODY", r.attr.BodyType),
		param(withDSN, "RET", r.attr.Ret), param(withDSN, "ENVID", r.attr.EnvID))
	for _, rcpt := range r.rcpts {
		fmt.Fprintf(w, "RCPT TO:<%s>%s%s\n", rfc5322.OneLine(rcpt.User, 0),
			param(withDSN, "NOTIFY", rcpt.Notify), param(withDSN, "ORCPT", rcpt.ORcpt))
	}
	io.WriteString(w, "DATA\n")
}

// lineWriter writes lines with the wanted end, and doubles a dot that begins one.
// The error of its buffer shows when that is flushed.
type lineWriter struct {
	w          *bufio.Writer
	crlf, dots bool
	start      bool // what comes next begins a line
}

func (l *lineWriter) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.start && l.dots && p[0] == '.' {
			l.w.WriteByte('.')
		}
		line, rest, ended := bytes.Cut(p, []byte("\n"))
		l.w.Write(line)
		if ended {
			if l.crlf {
				l.w.WriteByte('\r')
			}
			l.w.WriteByte('\n')
		}
		l.start, p = ended, rest
	}
	return n, nil
}
