package sendmail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// A batch is the input of -bS: what an SMTP client would say, without an ear for
// replies. Each transaction is one message. What is wrong with a recipient goes to
// its sender by mail, since nobody watches; commands that cannot be obeyed are
// told with their line numbers, and the status is 65 at the end. When the spool
// fails the batch stops: the messages up to the line that is told are safe.
type batch struct {
	*options
	in    *bufio.Reader // lines with LF
	line  int
	errs  int
	out   io.Writer
	env   *spool.Envelope // of the transaction, nil outside
	rcpts *addressees
}

// maxCommand bounds a command line; RFC 5321 §4.5.3.1.4 asks for less.
const maxCommand = 16 << 10

func (o *options) readBatch(ctx context.Context, in io.Reader, out io.Writer) error {
	b := &batch{options: o, in: bufio.NewReaderSize(newSource(ctx, in, true), sourceBuffer), out: out}
	for {
		line, err := b.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return readError(err)
		}
		quit, err := b.command(ctx, line)
		if err != nil {
			return err
		}
		if quit {
			break
		}
	}
	if b.env != nil {
		b.wrong("the input ends within a transaction, which is dropped")
	}
	if b.errs > 0 {
		return proc.Exit(proc.DataErr, "%d errors in the batch", b.errs)
	}
	return nil
}

func (b *batch) wrong(format string, args ...any) {
	b.errs++
	_, _ = fmt.Fprintf(b.out, "line %d: %s\n", b.line, fmt.Sprintf(format, args...)) // the status tells it too
}

// next reads a command line.
func (b *batch) next() (string, error) {
	b.line++
	piece, err := b.in.ReadSlice('\n')
	line := string(piece)
	for errors.Is(err, bufio.ErrBufferFull) {
		piece, err = b.in.ReadSlice('\n')
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

func (b *batch) command(ctx context.Context, line string) (quit bool, err error) {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "HELO", "EHLO", "LHLO", "NOOP", "VERB", "ONEX", "TICK", "XUSR", "": // "" is an empty line
	case "MAIL":
		b.mail(arg)
	case "RCPT":
		return false, b.rcpt(arg)
	case "DATA":
		return false, b.data(ctx)
	case "RSET":
		b.env, b.rcpts = nil, nil
	case "QUIT":
		return true, nil
	default:
		b.wrong("unknown command %.40q", line)
	}
	return false, nil
}

// path reads "FROM:<a@b> PARAM=VALUE ...".
func path(arg, keyword string) (a rfc5322.Address, params []string, err error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return a, nil, fmt.Errorf("want %s<address>", keyword)
	}
	text := strings.TrimLeft(arg[len(keyword):], " \t")
	if len(text) > maxCommand {
		return a, nil, errors.New("line is too long")
	}
	a, rest, err := rfc5322.ParsePath(text)
	if errors.Is(err, rfc5322.ErrNotStrict) {
		err = nil
	}
	return a, strings.Fields(rest), err
}

func (b *batch) mail(arg string) {
	if b.env != nil {
		b.wrong("MAIL within a transaction, which is dropped")
		b.env, b.rcpts = nil, nil
	}
	a, params, err := path(arg, "FROM:")
	if err != nil {
		b.wrong("MAIL: %v", err)
		return
	}
	env := b.envelope(nil)
	env.HasFrom, env.From, env.With = true, a.String(), "BSMTP"
	for _, p := range params {
		if err := mailParam(env, p); err != nil {
			b.wrong("MAIL: %v", err)
		}
	}
	b.env, b.rcpts = env, &addressees{report: true}
}

func mailParam(env *spool.Envelope, p string) error {
	name, v, _ := strings.Cut(p, "=")
	upper := strings.ToUpper(v)
	switch strings.ToUpper(name) {
	case "SIZE":
	case "SMTPUTF8":
		env.SMTPUTF8 = true
	case "REQUIRETLS":
		env.RequireTLS = true
	case "BODY":
		if upper != "7BIT" && upper != "8BITMIME" && upper != "BINARYMIME" {
			return fmt.Errorf("bad parameter %.60q", p)
		}
		env.BodyType = upper
	case "RET":
		if upper != "FULL" && upper != "HDRS" {
			return fmt.Errorf("bad parameter %.60q", p)
		}
		env.Ret = upper
	case "ENVID":
		if _, err := rfc5322.DecodeXtext(v); err != nil || len(v) > 100 {
			return fmt.Errorf("bad parameter %.60q", p)
		}
		env.EnvID = v
	default:
		return fmt.Errorf("unknown parameter %.60q", p)
	}
	return nil
}

func (b *batch) rcpt(arg string) error {
	if b.env == nil {
		b.wrong("RCPT without MAIL")
		return nil
	}
	a, params, err := path(arg, "TO:")
	if err != nil {
		name := rfc5322.OneLine(strings.TrimSpace(arg), rfc5322.MaxLocal)
		b.wrong("RCPT: %v", err)
		return b.rcpts.add(rfc5322.Address{Local: name}) // the report goes to the sender
	}
	n := len(b.rcpts.list)
	if err := b.rcpts.add(a); err != nil || len(b.rcpts.list) == n {
		return err
	}
	for _, p := range params {
		if err := rcptParam(&b.rcpts.list[n], p); err != nil {
			b.wrong("RCPT: %v", err)
		}
	}
	return nil
}

func rcptParam(r *spool.Recipient, p string) (err error) {
	name, v, _ := strings.Cut(p, "=")
	switch strings.ToUpper(name) {
	case "NOTIFY":
		r.Notify, err = notifyList(v)
	case "ORCPT":
		if _, err = rfc5322.ParseORCPT(v); err == nil {
			r.ORcpt = v
		}
	default:
		err = fmt.Errorf("unknown parameter %.60q", p)
	}
	return err
}

// data reads and stores a message.
func (b *batch) data(ctx context.Context) error {
	src := &dotReader{b: b, start: true}
	env, to := b.env, b.rcpts
	b.env, b.rcpts = nil, nil
	if env == nil || len(to.list) == 0 {
		b.wrong("DATA without MAIL and RCPT: the message is dropped")
		_, err := io.Copy(io.Discard, src)
		return readError(err)
	}
	m, err := readMessage(src)
	if err != nil {
		return b.stop(err)
	}
	m.hideBcc()
	env.To = to.list
	env.BodyType = bodyType(env.BodyType, m.eightBit())
	_, err = b.store(ctx, env, m)
	return b.stop(err)
}

// stop gives an error that ends the batch the line it happened at.
func (b *batch) stop(err error) error {
	if err == nil {
		return nil
	}
	err = readError(err)
	return proc.Exit(proc.Code(err), "line %d: %w", b.line, err)
}

var errUnfinished = proc.Exit(proc.DataErr, "the input ends within a message, which is dropped")

// A dotReader reads the message of a DATA command up to its dot.
type dotReader struct {
	b     *batch
	piece []byte
	start bool // at the start of a line
	done  bool
}

func (d *dotReader) Read(p []byte) (int, error) {
	for len(d.piece) == 0 {
		if d.done {
			return 0, io.EOF
		}
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.piece)
	d.piece = d.piece[n:]
	return n, nil
}

func (d *dotReader) next() error {
	piece, err := d.b.in.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		if errors.Is(err, io.EOF) {
			return errUnfinished
		}
		return err
	}
	if d.start {
		d.b.line++
		if string(piece) == ".\n" {
			d.done = true
			return nil
		}
		if piece[0] == '.' {
			piece = piece[1:]
		}
	}
	d.start = err == nil
	d.piece = piece
	return nil
}
