package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"zmailer/spool/rfc5322"
)

// An Envelope is the head of a message file: what the submitter said about the
// message, apart from the message itself. Addresses are in the form of
// rfc5322.Address.String. FORMAT.md lists the keywords.
type Envelope struct {
	External   bool   // came from outside: none of the rights of a local user
	Submission bool   // from one of our users: the router completes its header
	ErrorMsg   bool   // a report: never answered by another report
	MayRelay   bool   // came from outside, from a client that may send to everybody: one of ours
	HasFrom    bool   // a sender was given; without one the router takes the owner of the file
	From       string // "" is the null sender when HasFrom is set

	To []Recipient // empty: the router takes the recipients from the header

	EnvID string // RFC 3461 ENVID, xtext as given
	Ret   string // RFC 3461 RET: FULL, HDRS or empty

	RcvdFrom string // the text after "from" in Received:
	With     string // protocol in Received:, such as ESMTPSA
	Via      string // "via" in Received:
	For      string // single recipient to name in Received:

	BodyType   string // 7BIT, 8BITMIME or BINARYMIME; empty when not declared
	SMTPUTF8   bool   // RFC 6531
	RequireTLS bool   // RFC 8689

	AuthUser string // authenticated submitter
	Client   string // address of the SMTP client, without brackets
	Helo     string // what it called itself
	TLS      string // version and cipher of the session

	FullName  string // for a From: made by the router
	LoginName string // login of the submitter as he wants to be known
	Priority  string // bulk, junk or high; empty is normal
	Hold      string // why the message is kept until the administrator releases it; empty: it is not
	Comment   string // for people, ignored by programs
	Owner     string // uid of the submitter, in a copy that the router made of his file

	Tag    string   // words that the SMTP server leaves for the policy
	Header []string // header fields, each in one line, that the router puts on top

	NotBefore time.Time // first attempt of delivery, in whole seconds: RFC 4865; zero: now
	DeliverBy DeliverBy // RFC 2852
}

// A Recipient is one recipient of an envelope with its RFC 3461 parameters.
type Recipient struct {
	Addr   string
	Notify string // NOTIFY= as given, upper case; empty when not given
	ORcpt  string // ORCPT= as given
}

// Limits of an envelope. A submitter with more recipients splits the message.
const (
	MaxEnvelopeLine = 64 << 10
	MaxRecipients   = 200_000
	MaxAddedFields  = 100 // header lines
)

// EnvEnd is the line that ends the envelope.
const EnvEnd = "env-end"

// A BadEnvelope is a message file that does not follow the grammar. The message
// is set aside in postman/, since nobody can say what was meant.
type BadEnvelope struct {
	Line int // 1 is the first line of the file
	Err  error
}

func (e *BadEnvelope) Error() string { return fmt.Sprintf("envelope line %d: %v", e.Line, e.Err) }
func (e *BadEnvelope) Unwrap() error { return e.Err }

var errControlChar = errors.New("control character in value")

// Append appends the envelope in its file form, up to and including the env-end
// line. It fails if a value holds a character that could be taken for a line end.
func (e *Envelope) Append(b []byte) ([]byte, error) {
	w := envWriter{b: b}
	w.flag("external", e.External)
	w.flag("submission", e.Submission)
	w.flag("errormsg", e.ErrorMsg)
	w.flag("mayrelay", e.MayRelay)
	w.value("rcvdfrom", e.RcvdFrom)
	w.value("with", e.With)
	w.value("via", e.Via)
	w.value("for", e.For)
	w.value("bodytype", e.BodyType)
	w.flag("smtputf8", e.SMTPUTF8)
	w.flag("requiretls", e.RequireTLS)
	w.value("authuser", e.AuthUser)
	w.value("client", e.Client)
	w.value("helo", e.Helo)
	w.value("tls", e.TLS)
	w.value("fullname", e.FullName)
	w.value("loginname", e.LoginName)
	w.value("priority", e.Priority)
	w.value("hold", e.Hold)
	w.value("tag", e.Tag)
	if !e.NotBefore.IsZero() {
		w.value("notbefore", strconv.FormatInt(e.NotBefore.Unix(), 10))
	}
	w.value("deliverby", e.DeliverBy.String())
	w.value("comment", e.Comment)
	w.value("owner", e.Owner)
	w.value("envid", e.EnvID)
	w.value("notaryret", e.Ret)
	if len(e.Header) > MaxAddedFields {
		w.fail(fmt.Errorf("header: %d fields", len(e.Header)))
	}
	for _, f := range e.Header {
		w.fail(checkAdded(f))
		w.line("header", f)
	}
	if e.HasFrom {
		w.line("from", "<"+e.From+">")
	}
	for _, r := range e.To {
		if r.Notify != "" || r.ORcpt != "" {
			w.line("todsn", dsnParams(r))
		}
		w.line("to", "<"+r.Addr+">")
	}
	w.b = append(w.b, EnvEnd+"\n"...)
	return w.b, w.err
}

func dsnParams(r Recipient) string {
	var parts []string
	if r.Notify != "" {
		parts = append(parts, "NOTIFY="+r.Notify)
	}
	if r.ORcpt != "" {
		parts = append(parts, "ORCPT="+r.ORcpt)
	}
	return strings.Join(parts, " ")
}

type envWriter struct {
	b   []byte
	err error
}

// fail keeps the first error.
func (w *envWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *envWriter) flag(keyword string, on bool) {
	if on {
		w.b = append(append(w.b, keyword...), '\n')
	}
}

func (w *envWriter) value(keyword, v string) {
	if v != "" {
		w.line(keyword, v)
	}
}

func (w *envWriter) line(keyword, v string) {
	if hasControl(v) {
		w.fail(fmt.Errorf("%s %.60q: %w", keyword, v, errControlChar))
	}
	if len(v) > MaxEnvelopeLine-64 {
		w.fail(fmt.Errorf("%s: value of %d bytes", keyword, len(v)))
	}
	w.b = append(w.b, keyword...)
	w.b = append(w.b, ' ')
	w.b = append(w.b, v...)
	w.b = append(w.b, '\n')
}

// hasControl says whether a value holds what no line of an envelope may: a control
// character that is no TAB.
func hasControl(v string) bool {
	for i := range len(v) {
		if v[i] < ' ' && v[i] != '\t' || v[i] == 0x7f {
			return true
		}
	}
	return false
}

// ReadEnvelope reads an envelope up to its env-end line and returns the number
// of bytes it took: the offset of the message's header. Errors are *BadEnvelope
// or those of r.
func ReadEnvelope(r *bufio.Reader) (*Envelope, int64, error) {
	p := envParser{env: new(Envelope)}
	var offset int64
	for n := 1; ; n++ {
		line, err := readLine(r, MaxEnvelopeLine)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("file ends before the env-end line")
			} else if !errors.Is(err, errLongLine) {
				return nil, 0, err
			}
			return nil, 0, &BadEnvelope{Line: n, Err: err}
		}
		offset += int64(len(line)) + 1
		if string(line) == EnvEnd {
			break
		}
		if err := p.line(string(line)); err != nil {
			return nil, 0, &BadEnvelope{Line: n, Err: err}
		}
	}
	if p.pending != (Recipient{}) {
		return nil, 0, &BadEnvelope{Err: errors.New("todsn without a to line after it")}
	}
	return p.env, offset, nil
}

// ParseEnvelope is ReadEnvelope over bytes in memory.
func ParseEnvelope(b []byte) (*Envelope, int64, error) {
	return ReadEnvelope(bufio.NewReaderSize(bytes.NewReader(b), min(len(b)+16, 4096)))
}

var errLongLine = fmt.Errorf("line longer than %d bytes", MaxEnvelopeLine)

// readLine returns the next line without its newline; io.EOF if none ends.
func readLine(r *bufio.Reader, max int) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == nil {
		return line[:len(line)-1], nil
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) && len(long) <= max {
		line, err = r.ReadSlice('\n')
		long = append(long, line...)
	}
	if len(long) > max {
		return nil, errLongLine
	}
	if err != nil {
		return nil, err
	}
	return long[:len(long)-1], nil
}

type envParser struct {
	env     *Envelope
	pending Recipient // parameters of a todsn line for the next to line
}

func (p *envParser) line(line string) error {
	keyword, v, _ := strings.Cut(line, " ")
	if hasControl(v) { // of a submitter who writes files himself
		return fmt.Errorf("%.40q: %w", keyword, errControlChar)
	}
	e := p.env
	if dst := e.text(keyword); dst != nil {
		if v == "" {
			return fmt.Errorf("%s without a value", keyword)
		}
		*dst = v
		return nil
	}
	switch keyword {
	case "external":
		e.External = true
	case "submission":
		e.Submission = true
	case "header":
		return p.header(v)
	case "errormsg":
		e.ErrorMsg = true
	case "mayrelay":
		e.MayRelay = true
	case "smtputf8":
		e.SMTPUTF8 = true
	case "requiretls":
		e.RequireTLS = true
	case "notbefore":
		return p.notBefore(v)
	case "deliverby":
		return p.deliverBy(v)
	case "from":
		e.HasFrom, e.From = true, unbracket(v)
	case "todsn":
		return p.todsn(v)
	case "to":
		return p.to(unbracket(v))
	default:
		return fmt.Errorf("unknown keyword %.40q", keyword)
	}
	return nil
}

// text returns the field that a keyword with a plain text value fills.
func (e *Envelope) text(keyword string) *string {
	switch keyword {
	case "rcvdfrom":
		return &e.RcvdFrom
	case "with":
		return &e.With
	case "via":
		return &e.Via
	case "for":
		return &e.For
	case "bodytype":
		return &e.BodyType
	case "authuser":
		return &e.AuthUser
	case "client":
		return &e.Client
	case "helo":
		return &e.Helo
	case "tls":
		return &e.TLS
	case "fullname":
		return &e.FullName
	case "loginname":
		return &e.LoginName
	case "priority":
		return &e.Priority
	case "hold":
		return &e.Hold
	case "tag":
		return &e.Tag
	case "comment":
		return &e.Comment
	case "owner":
		return &e.Owner
	case "envid":
		return &e.EnvID
	case "notaryret":
		return &e.Ret
	}
	return nil
}

func (p *envParser) notBefore(v string) error {
	at, err := strconv.ParseInt(v, 10, 64)
	if err != nil || at <= 0 || at > 1<<40 {
		return fmt.Errorf("notbefore %.40q is no time", v)
	}
	p.env.NotBefore = time.Unix(at, 0)
	return nil
}

func (p *envParser) deliverBy(v string) (err error) {
	p.env.DeliverBy, err = ParseDeliverBy(v)
	return err
}

func (p *envParser) todsn(v string) error {
	if p.pending != (Recipient{}) {
		return errors.New("two todsn lines for one to line")
	}
	for _, param := range strings.Fields(v) {
		key, val, _ := strings.Cut(param, "=")
		switch strings.ToUpper(key) {
		case "NOTIFY":
			p.pending.Notify = strings.ToUpper(val)
		case "ORCPT":
			p.pending.ORcpt = val
		default:
			return fmt.Errorf("unknown recipient parameter %.40q", key)
		}
	}
	return nil
}

func (p *envParser) header(v string) error {
	if len(p.env.Header) >= MaxAddedFields {
		return fmt.Errorf("more than %d header lines", MaxAddedFields)
	}
	if err := checkAdded(v); err != nil {
		return err
	}
	p.env.Header = append(p.env.Header, v)
	return nil
}

// checkAdded tells what keeps a line from being a header field, "Name: text".
func checkAdded(v string) error {
	name, _, ok := strings.Cut(v, ":")
	if !ok || !rfc5322.ValidFieldName(name) {
		return fmt.Errorf("header %.40q: not a field", v)
	}
	return nil
}

func (p *envParser) to(addr string) error {
	if addr == "" {
		return errors.New("to without an address")
	}
	if len(p.env.To) >= MaxRecipients {
		return fmt.Errorf("more than %d recipients", MaxRecipients)
	}
	p.pending.Addr = addr
	p.env.To = append(p.env.To, p.pending)
	p.pending = Recipient{}
	return nil
}

func unbracket(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '<' && s[len(s)-1] == '>' {
		return s[1 : len(s)-1]
	}
	return s
}
