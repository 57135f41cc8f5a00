package vacation

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"zmailer/spool/rfc5322"
)

// maxHeader bounds the header of a message; one that is larger is judged by its
// beginning.
const maxHeader = 1 << 20

// readIncoming reads a message as the mailbox agent gives it to a program. The
// body is read too, lest the agent takes a broken pipe for an error.
func readIncoming(in io.Reader) (*incoming, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	msg := new(incoming)
	// What the mailer says exactly comes before the line in which it must do without
	// blanks, and both before what the message says of itself.
	if v, ok := os.LookupEnv("SENDER"); ok {
		msg.setSender(v)
	}
	if err := msg.fromLine(r); err != nil {
		return nil, err
	}
	raw, _, err := rfc5322.ReadHeader(r, maxHeader)
	if err != nil && !errors.Is(err, rfc5322.ErrTooLarge) {
		return nil, err
	}
	if msg.header, _, err = rfc5322.ParseHeader(raw); err != nil && !errors.Is(err, rfc5322.ErrTooLarge) {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, err
	}
	if paths := msg.header.All("Return-Path"); !msg.known && len(paths) > 0 {
		msg.setSender(paths[0])
	}
	return msg, nil
}

// fromLine reads the "From SENDER DATE" line of a mailbox, if there is one.
func (msg *incoming) fromLine(r *bufio.Reader) error {
	start, err := r.Peek(5)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if string(start) != "From " {
		return nil
	}
	line, err := r.ReadSlice('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, bufio.ErrBufferFull) {
		return err
	}
	if fields := strings.Fields(string(line)); len(fields) > 1 && !msg.known {
		msg.setSender(fields[1])
	}
	return nil
}

// setSender takes the envelope sender. One that cannot be read stays unknown.
func (msg *incoming) setSender(v string) {
	v = strings.TrimSpace(v)
	if strings.EqualFold(v, "MAILER-DAEMON") {
		v = "<>"
	}
	if a, err := rfc5322.ParseAddress(v); err == nil || v == "" {
		msg.sender, msg.known = a, true
	}
}
