package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"time"

	"zmailer/spool/dsn"
)

// An Event is one appended line of a control file.
type Event struct {
	Rcpts  []int
	At     time.Time
	Result dsn.Result
	Next   time.Time // Deferred and RetryAt: not before this time
}

// Append appends the event's line.
func (e *Event) Append(b []byte) []byte {
	letter, next := "=", e.Next.Unix()
	switch e.Result.Action {
	case dsn.OK:
		letter, next = "+", 0
	case dsn.Failed:
		letter, next = "-", 0
	case dsn.Expanded:
		letter, next = "x", 0
	}
	who := "l"
	if e.Result.Remote {
		who = "r"
	}
	return AppendLine(b, letter, JoinNumbers(e.Rcpts), strconv.FormatInt(e.At.Unix(), 10),
		strconv.FormatInt(next, 10), e.Result.FullStatus(), e.Result.Relay, who, e.Result.Text)
}

// AppendReport appends the line that says that the report id about rcpts was submitted.
func AppendReport(b []byte, rcpts []int, at time.Time, kind ReportKind, id ID) []byte {
	return AppendLine(b, "d", JoinNumbers(rcpts), strconv.FormatInt(at.Unix(), 10), string(rune(kind)), string(id))
}

// AppendHold appends the line that holds or releases the message.
func AppendHold(b []byte, held bool, at time.Time) []byte {
	letter := "u"
	if held {
		letter = "h"
	}
	return AppendLine(b, letter, strconv.FormatInt(at.Unix(), 10))
}

// JoinNumbers writes the numbers of recipients as a field: "0,1,7".
func JoinNumbers(ns []int) string {
	var b []byte
	for i, n := range ns {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return string(b)
}

// stamp appends events to b, each with a CRC and the id of its message as the last
// fields of the line.
func stamp(b, events []byte, id ID) []byte {
	for len(events) > 0 {
		line, rest, _ := bytes.Cut(events, []byte("\n"))
		b = append(append(append(b, line...), '\t'), eventSum(line, id)...)
		b = append(append(append(b, '\t'), id...), '\n')
		events = rest
	}
	return b
}

// eventSum is the CRC-32C, in hex, of an event's line and the id of its message.
func eventSum[B ~string | ~[]byte](line B, id ID) string {
	sum := crc32.Update(crc32.Checksum([]byte(line), castagnoli()), castagnoli(), []byte(id))
	return fmt.Sprintf("%08x", sum)
}

// Stamp returns events as AppendEvents writes them for message id.
func Stamp(events []byte, id ID) []byte {
	return stamp(make([]byte, 0, len(events)+8*IDLen), events, id)
}

// AppendEvents appends events to the control file of id in a single write. A
// process that dies in it leaves a torn line, which readers ignore and which the
// next event starts behind: every write begins on a fresh line.
func (s *Spool) AppendEvents(id ID, events []byte) error {
	path := s.ControlPath(id)
	end, torn, err := lastLine(path)
	if err != nil {
		return fmt.Errorf("append to control file of %s: %w", id, err)
	}
	f, err := s.disk().Append(path)
	if err != nil {
		return err
	}
	if torn {
		// Cut the torn line off: with a newline put behind it, it would be a
		// malformed record in the middle of the file.
		err = f.Truncate(end)
	}
	if err == nil {
		if _, err = f.Write(Stamp(events, id)); err != nil {
			err = errors.Join(err, f.Truncate(end))
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("append to control file of %s: %w", id, err)
	}
	return nil
}

// lastLine returns the offset behind the last newline of the file, and whether a
// torn line follows it.
func lastLine(path string) (end int64, torn bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	buf := make([]byte, 1) // nearly always the last byte is the newline
	for size := st.Size(); size > 0; {
		n := min(size, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], size-n); err != nil {
			return 0, false, err
		}
		for i := n - 1; i >= 0; i-- {
			if buf[i] == '\n' {
				end = size - n + i + 1
				return end, end < st.Size(), nil
			}
		}
		size -= n
		buf = make([]byte, 64<<10)
	}
	return 0, st.Size() > 0, nil
}
