package letter

import (
	"bufio"
	"bytes"
	"io"
)

var (
	fromStart = []byte("From ")
	fromLine  = []byte("\nFrom ")
)

// WriteMbox writes the letter as a message of an mbox file: separator line,
// header, body with "From " at the start of a line quoted by ">", empty line.
func (l *Letter) WriteMbox(w io.Writer) error {
	bw := bufio.NewWriterSize(w, int(min(l.Size()+256, 256<<10)))
	bw.WriteString(l.From)
	if err := l.quote(bw); err != nil {
		return err
	}
	bw.WriteByte('\n')
	return bw.Flush() // which returns the first error of all writes
}

// WriteQuoted writes header and body quoted as in an mbox file, with the last
// line complete, without the lines that separate messages.
func (l *Letter) WriteQuoted(w io.Writer) error {
	bw := bufio.NewWriterSize(w, int(min(l.Size()+256, 256<<10)))
	if err := l.quote(bw); err != nil {
		return err
	}
	return bw.Flush()
}

func (l *Letter) quote(bw *bufio.Writer) error {
	q := quoter{w: bw, start: true}
	q.Write(l.Head)
	body, small, err := l.Body.bytes()
	if err != nil {
		return err
	}
	if small {
		q.Write(body)
	} else if n, err := io.Copy(&q, io.NewSectionReader(l.Body.File, l.Body.Offset, l.Body.Size)); err != nil {
		return err
	} else if n != l.Body.Size {
		return io.ErrUnexpectedEOF
	}
	q.end()
	return nil
}

// quoter puts ">" before "From " at the start of a line. The error of its writer
// shows when that is flushed.
type quoter struct {
	w     *bufio.Writer
	start bool   // what comes next begins a line
	hold  []byte // beginning of a line that may yet become "From "
}

func (q *quoter) Write(p []byte) (int, error) {
	n := len(p)
	if len(q.hold) > 0 {
		p = append(q.hold, p...)
		q.hold = nil
	}
	if q.start && len(p) > 0 {
		if p = q.line(p); p == nil {
			return n, nil
		}
	}
	for {
		i := bytes.Index(p, fromLine)
		if i < 0 {
			break
		}
		q.w.Write(p[:i+1])
		q.w.WriteByte('>')
		p = p[i+1:]
		q.w.Write(p[:len(fromStart)])
		p = p[len(fromStart):]
	}
	q.rest(p)
	return n, nil
}

// line handles p at the start of a line. It returns nil if all of p is held back.
func (q *quoter) line(p []byte) []byte {
	switch {
	case bytes.HasPrefix(p, fromStart):
		q.w.WriteByte('>')
	case bytes.HasPrefix(fromStart, p):
		q.hold = bytes.Clone(p)
		return nil
	}
	q.start = false
	return p
}

// rest writes the end of a piece, less what may be the beginning of "From ".
func (q *quoter) rest(p []byte) {
	i := bytes.LastIndexByte(p, '\n')
	if tail := p[i+1:]; i >= 0 && bytes.HasPrefix(fromStart, tail) {
		q.hold = bytes.Clone(tail)
		q.w.Write(p[:i+1])
		q.start = true
		return
	}
	q.w.Write(p)
	if len(p) > 0 {
		q.start = false
	}
}

// end writes what is held back and completes the last line.
func (q *quoter) end() {
	q.w.Write(q.hold)
	if !q.start || len(q.hold) > 0 {
		q.w.WriteByte('\n')
	}
}
