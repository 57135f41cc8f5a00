package rfc5322

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ReadHeader reads the header of a message, up to max octets, and leaves r at
// the first octet of the body. The empty line is read but not returned; where
// a line that is no field ends the header (see [ParseHeader]), separated is
// false and that line is yet to be read. CRLF becomes LF, and the last line
// gets an end if it has none.
//
// The error is nil at the end of input. With [ErrTooLarge] the octets are
// whole lines and the rest of the header is unread.
func ReadHeader(r *bufio.Reader, max int) (header []byte, separated bool, err error) {
	for {
		kind, err := nextLine(r, len(header) > 0)
		if err != nil {
			return header, false, err
		}
		switch kind {
		case lineEmpty:
			_, err := r.ReadSlice('\n')
			return header, true, err
		case lineBody:
			return header, false, nil
		}
		header, err = appendLine(header, r, max)
		if err != nil {
			return header, false, err
		}
	}
}

type lineKind int

const (
	lineBody lineKind = iota
	lineEmpty
	lineField
)

// nextLine looks at the line that r is at, as far as it must.
func nextLine(r *bufio.Reader, fields bool) (lineKind, error) {
	for n := 1; ; n = min(r.Buffered()+1, r.Size()) {
		b, err := r.Peek(n)
		whole := err != nil || n == r.Size() // no more to see
		if err != nil && !errors.Is(err, io.EOF) {
			return lineBody, fmt.Errorf("read header: %w", err)
		}
		if !whole {
			b, _ = r.Peek(r.Buffered()) // never fails: it is there
		}
		if len(b) == 0 {
			return lineBody, nil
		}
		switch {
		case emptyLine(b) > 0:
			return lineEmpty, nil
		case (b[0] == ' ' || b[0] == '\t') && fields:
			return lineField, nil
		}
		needMore := len(b) == 1 && b[0] == '\r'
		if !needMore {
			switch end := nameEnd(b); {
			case end > 0:
				return lineField, nil
			case end == 0:
				return lineBody, nil
			}
		}
		if whole {
			return lineBody, nil
		}
	}
}

// appendLine moves one line from r to b. A line that does not fit is not
// added, and what was read of it is lost: the caller gives up.
func appendLine(b []byte, r *bufio.Reader, max int) ([]byte, error) {
	start := len(b)
	for {
		part, err := r.ReadSlice('\n')
		if len(b)+len(part) > max {
			return b[:start], fmt.Errorf("header: over %d octets: %w", max, ErrTooLarge)
		}
		b = append(b, part...)
		switch {
		case errors.Is(err, io.EOF):
			return lfEnd(append(b, '\n')), nil
		case err == nil:
			return lfEnd(b), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return b[:start], fmt.Errorf("read header: %w", err)
		}
	}
}

// lfEnd turns the CRLF that b ends with into LF.
func lfEnd(b []byte) []byte {
	if bytes.HasSuffix(b, []byte("\r\n")) {
		b = append(b[:len(b)-2], '\n')
	}
	return b
}
