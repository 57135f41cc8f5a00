package smtpserver

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Sizes of the input buffer: what a session keeps while it waits for a command,
// and what it borrows for the time of a message.
const (
	commandBuffer = 4 << 10
	messageBuffer = 32 << 10
)

// maxLine bounds a command line with its end; RFC 5321 §4.5.3.1.4 wants 512 and
// the extensions add to it.
const maxLine = 2 << 10

// maxSkip bounds what is skipped to find the end of a line that is too long.
const maxSkip = 64 << 10

// What can be wrong with a line. The session goes on after these; all other
// errors of line end it.
var (
	errBareLF   = errors.New("bare LF")
	errBareCR   = errors.New("bare CR")
	errNUL      = errors.New("NUL")
	errLongLine = errors.New("line too long")
)

// What ends the session.
var (
	errFlood       = errors.New("endless line")
	errClientHello = errors.New("TLS on a port for plain text")
)

// clientHello is the first octet of a TLS connection. It begins no command.
const clientHello = 0x16

var messageBuffers = sync.Pool{New: func() any { return new([messageBuffer]byte) }}

// input reads what the client sends: lines, messages and chunks.
type input struct {
	src  io.Reader
	wait func() error // called before each read that may block

	buf  []byte // buf[r:w] has been read and not yet used
	r, w int

	small [commandBuffer]byte
	big   *[messageBuffer]byte // borrowed, or nil
}

func (in *input) init(src io.Reader, wait func() error) {
	in.src, in.wait = src, wait
	in.buf = in.small[:]
}

// buffered is the number of octets that have arrived and are not used yet.
func (in *input) buffered() int { return in.w - in.r }

// fill reads more. The caller has left room in the buffer or nothing in it.
func (in *input) fill() error {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if err := in.wait(); err != nil {
		return err
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.w += n
	if n > 0 {
		return nil // an error will come again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// grow borrows the large buffer.
func (in *input) grow() {
	if in.big != nil {
		return
	}
	in.big = messageBuffers.Get().(*[messageBuffer]byte)
	in.w = copy(in.big[:], in.buf[in.r:in.w])
	in.r = 0
	in.buf = in.big[:]
}

// shrink gives the large buffer back once what is left fits the small one.
func (in *input) shrink() {
	if in.big == nil || in.buffered() > commandBuffer {
		return
	}
	in.w = copy(in.small[:], in.buf[in.r:in.w])
	in.r = 0
	in.buf = in.small[:]
	messageBuffers.Put(in.big)
	in.big = nil
}

// release gives the large buffer back for good.
func (in *input) release() {
	if in.big != nil {
		messageBuffers.Put(in.big)
		in.big, in.buf, in.r, in.w = nil, nil, 0, 0
	}
}

// line returns the next line without its CR LF. It stays valid until the next
// call. After errBareLF, errBareCR, errNUL and errLongLine the line has been
// skipped.
func (in *input) line(limit int) ([]byte, error) {
	for seen := 0; ; {
		if in.r < in.w && in.buf[in.r] == clientHello {
			return nil, errClientHello
		}
		if i := bytes.IndexByte(in.buf[in.r+seen:in.w], '\n'); i >= 0 {
			line := in.buf[in.r : in.r+seen+i+1]
			in.r += len(line)
			if len(line) > limit {
				return nil, errLongLine
			}
			return checkLine(line)
		}
		seen = in.buffered()
		if seen >= limit {
			return nil, in.skipLine()
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// checkLine takes the end off a line that ends with LF.
func checkLine(line []byte) ([]byte, error) {
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return nil, errBareLF
	}
	line = line[:n]
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, errBareCR
	}
	if bytes.IndexByte(line, 0) >= 0 {
		return nil, errNUL
	}
	return line, nil
}

func (in *input) skipLine() error {
	for skipped := 0; skipped < maxSkip; {
		if i := bytes.IndexByte(in.buf[in.r:in.w], '\n'); i >= 0 {
			in.r += i + 1
			return errLongLine
		}
		skipped += in.buffered()
		in.r, in.w = 0, 0
		if err := in.fill(); err != nil {
			return err
		}
	}
	return errFlood
}
