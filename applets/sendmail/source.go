package sendmail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// A source reads a message from standard input and brings its lines to the
// spool's form: they end with LF, the last one too. A message whose first line
// ends with CRLF loses the CR of every line, as in Postfix; in another one a CR
// is text. Unless dots are ignored, a line of a single dot ends the message.
type source struct {
	r    *bufio.Reader
	dots bool // "." ends the input

	started bool
	crlf    bool   // lines end with CRLF
	inLine  bool   // the last piece did not end its line
	piece   []byte // not yet given to Read
	err     error  // after piece
}

const sourceBuffer = 64 << 10

func newSource(ctx context.Context, r io.Reader, ignoreDots bool) *source {
	return &source{r: bufio.NewReaderSize(newPatient(ctx, r), sourceBuffer), dots: !ignoreDots}
}

// Read implements io.Reader. It returns io.EOF at the end of the message.
func (s *source) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.piece) == 0 {
			if s.err != nil {
				break
			}
			// What is there goes on before more is waited for.
			if n > 0 && s.r.Buffered() == 0 {
				return n, nil
			}
			s.piece, s.err = s.next()
		}
		c := copy(p[n:], s.piece)
		s.piece = s.piece[c:]
		n += c
	}
	if n == 0 {
		return 0, s.err
	}
	return n, nil
}

// next returns a line, or a part of a line that is too long for the buffer.
func (s *source) next() ([]byte, error) {
	piece, err := s.r.ReadSlice('\n')
	whole := err == nil
	if errors.Is(err, bufio.ErrBufferFull) {
		err = nil
		if piece[len(piece)-1] == '\r' && s.r.UnreadByte() == nil {
			piece = piece[:len(piece)-1] // it may belong to a CRLF
		}
	}
	if !s.started {
		s.started = true
		s.crlf = bytes.HasSuffix(piece, []byte("\r\n"))
	}
	if s.crlf && bytes.HasSuffix(piece, []byte("\r\n")) {
		piece = append(piece[:len(piece)-2], '\n') // in the buffer, where it has been read
	}
	if s.dots && !s.inLine && (string(piece) == ".\n" || string(piece) == "." && err == io.EOF) {
		return nil, io.EOF
	}
	if err == io.EOF && (len(piece) > 0 || s.inLine) {
		if s.crlf {
			piece = bytes.TrimSuffix(piece, []byte("\r"))
		}
		return append(piece, '\n'), io.EOF
	}
	s.inLine = !whole
	return piece, err
}
