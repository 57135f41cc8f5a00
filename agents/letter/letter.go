// Package letter writes one recipient's copy of a message as it leaves for a
// mailbox, a file or a program of this host: with the envelope's facts in front
// of the header (RFC 5321 §4.4) and, in mbox, with the lines quoted that would
// begin another message.
package letter

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/rfc5322"
)

// A Letter is one copy. Its fields may be used by one goroutine at a time; the
// Body is shared.
type Letter struct {
	From string // mbox separator line, see FromLine
	Head []byte // header with the empty line that ends it
	Body *Body
}

// Size is the number of bytes of header and body as they are.
func (l *Letter) Size() int64 { return int64(len(l.Head)) + l.Body.Size }

// FromLine is the line that begins a message in an mbox file.
func FromLine(sender string, at time.Time) string {
	if sender == "" {
		sender = "MAILER-DAEMON"
	}
	// A blank would end the address for those who read the line.
	sender = strings.ReplaceAll(rfc5322.OneLine(sender, rfc5322.MaxPath*2), " ", "-")
	return "From " + sender + " " + at.UTC().Format(time.ANSIC) + "\n"
}

// Trace is what a copy says about its way.
type Trace struct {
	ReturnPath  string // sender
	NoPath      bool   // no Return-Path field
	DeliveredTo string // empty: say nothing
	OriginalTo  string // empty: say nothing
}

// Head returns header with the trace in front. Fields of a Return-Path that the
// message brought along are left out; there is one truth about it.
func Head(header []byte, t Trace) []byte {
	h, end, err := rfc5322.ParseHeader(header)
	b := make([]byte, 0, len(header)+256)
	if !t.NoPath {
		b = append(b, "Return-Path: <"+rfc5322.OneLine(t.ReturnPath, 0)+">\n"...)
	}
	if t.OriginalTo != "" {
		b = append(b, "X-Original-To: "+rfc5322.OneLine(t.OriginalTo, 0)+"\n"...)
	}
	if t.DeliveredTo != "" {
		b = append(b, "Delivered-To: "+rfc5322.OneLine(t.DeliveredTo, 0)+"\n"...)
	}
	if err != nil {
		return append(b, header...)
	}
	rest := header[end:]
	for _, f := range h {
		if !f.Is("Return-Path") {
			b = append(b, f.Raw...)
		}
	}
	if len(rest) > 0 { // no fields: a router writes none, a hostile file may
		b = append(b, '\n')
	}
	b = append(b, rest...)
	if !bytes.HasSuffix(b, []byte("\n\n")) && string(b) != "\n" {
		if len(b) > 0 && b[len(b)-1] != '\n' {
			b = append(b, '\n')
		}
		b = append(b, '\n')
	}
	return b
}

// Looped says whether the message was delivered to this address before: the mark
// that Delivered-To left came back.
func Looped(header []byte, deliveredTo string) bool {
	if !bytes.Contains(header, []byte("elivered-")) && !bytes.Contains(header, []byte("ELIVERED-")) {
		return false
	}
	h, _, err := rfc5322.ParseHeader(header)
	if err != nil {
		return false
	}
	for _, v := range h.All("Delivered-To") {
		if strings.EqualFold(strings.TrimSpace(v), deliveredTo) {
			return true
		}
	}
	return false
}

// smallBody is the size up to which a body is read once and kept for all copies.
const smallBody = 1 << 20

// A Body is the body of a message in its spool file, shared by all copies. Safe
// for concurrent use.
type Body struct {
	File   *os.File
	Offset int64
	Size   int64

	once sync.Once
	mem  []byte
	err  error
}

// bytes returns the whole body if it is small.
func (b *Body) bytes() ([]byte, bool, error) {
	if b.Size > smallBody {
		return nil, false, nil
	}
	b.once.Do(func() {
		mem := make([]byte, b.Size)
		if n, err := b.File.ReadAt(mem, b.Offset); err != nil && (err != io.EOF || int64(n) < b.Size) {
			b.err = err
		}
		b.mem = mem
	})
	return b.mem, true, b.err
}

// WriteTo writes header and body as they are.
func (l *Letter) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(l.Head)
	if err != nil {
		return int64(n), err
	}
	body, small, err := l.Body.bytes()
	if err != nil {
		return int64(n), err
	}
	if small {
		m, err := w.Write(body)
		return int64(n + m), err
	}
	m, err := io.Copy(w, io.NewSectionReader(l.Body.File, l.Body.Offset, l.Body.Size))
	if err == nil && m != l.Body.Size {
		err = io.ErrUnexpectedEOF
	}
	return int64(n) + m, err
}

// WriteFile writes header and body as they are to a new file: a small letter with
// one system call, a large one without its bytes passing through this process.
func (l *Letter) WriteFile(fd int) error {
	body, small, err := l.Body.bytes()
	if err != nil {
		return err
	}
	if small {
		return writev(fd, l.Head, body)
	}
	if err := writev(fd, l.Head); err != nil {
		return err
	}
	off, left := l.Body.Offset, l.Body.Size
	for left > 0 {
		n, err := unix.CopyFileRange(int(l.Body.File.Fd()), &off, fd, nil, int(min(left, 1<<30)), 0)
		switch {
		case err == unix.EINTR:
		case err == unix.EXDEV || err == unix.ENOSYS || err == unix.EINVAL || err == unix.EOPNOTSUPP:
			return l.copyRest(fd, off, left)
		case err != nil:
			return os.NewSyscallError("copy_file_range", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			left -= int64(n)
		}
	}
	return nil
}

func (l *Letter) copyRest(fd int, off, left int64) error {
	buf := make([]byte, 256<<10)
	for left > 0 {
		n, err := l.Body.File.ReadAt(buf[:min(left, int64(len(buf)))], off)
		if n == 0 && err != nil {
			return err
		}
		if err := writev(fd, buf[:n]); err != nil {
			return err
		}
		off, left = off+int64(n), left-int64(n)
	}
	return nil
}

// writev writes all of several pieces.
func writev(fd int, pieces ...[]byte) error {
	for len(pieces) > 0 {
		if len(pieces[0]) == 0 {
			pieces = pieces[1:]
			continue
		}
		n, err := unix.Writev(fd, pieces)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return os.NewSyscallError("write", err)
		}
		for len(pieces) > 0 && n >= len(pieces[0]) {
			n -= len(pieces[0])
			pieces = pieces[1:]
		}
		if len(pieces) > 0 {
			pieces = append([][]byte{pieces[0][n:]}, pieces[1:]...)
		}
	}
	return nil
}
