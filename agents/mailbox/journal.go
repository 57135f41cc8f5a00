package mailbox

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A process that is killed in the middle of an append leaves half a message in
// the mbox, and the message is delivered once more. To take the half away again,
// the lock file holds a journal while messages are appended:
//
//	zmailer 1 SIZE      size of the mbox before
//	From ...            separator line of each message to come
//
// Who takes over the lock of a dead holder cuts the mbox back to SIZE, but only
// if everything behind it is what the journal announced: what another program
// appended meanwhile is kept. Nothing was reported of those messages, since the
// lock file is removed before the first report.

const (
	journalMark = "zmailer 1 "
	maxJournal  = 64 << 10
	maxBatch    = 32 // messages in one journal; their separator lines fit in maxJournal
)

func isJournal(b []byte) bool { return bytes.HasPrefix(b, []byte(journalMark)) }

func newJournal(size int64, fromLines []string) []byte {
	return []byte(journalMark + strconv.FormatInt(size, 10) + "\n" + strings.Join(fromLines, ""))
}

type journal struct {
	size  int64
	lines []string
}

func parseJournal(b []byte) (*journal, bool) {
	first, rest, ok := strings.Cut(strings.TrimPrefix(string(b), journalMark), "\n")
	if !isJournal(b) || !ok {
		return nil, false
	}
	size, err := strconv.ParseInt(first, 10, 64)
	if err != nil || size < 0 {
		return nil, false
	}
	j := &journal{size: size}
	for line := range strings.Lines(rest) {
		if !strings.HasSuffix(line, "\n") {
			return nil, false
		}
		j.lines = append(j.lines, line)
	}
	return j, true
}

// undo cuts half an append off the open and locked mbox. It tells the number of
// bytes.
func undo(fd int, left []byte) (int64, error) {
	j, ok := parseJournal(left)
	if !ok {
		return 0, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	if st.Size <= j.size {
		return 0, nil
	}
	ours, err := j.announced(io.NewSectionReader(fdReader(fd), j.size, st.Size-j.size))
	if err != nil || !ours {
		return 0, err
	}
	if err := unix.Ftruncate(fd, j.size); err != nil {
		return 0, fmt.Errorf("cut mailbox back: %w", err)
	}
	return st.Size - j.size, nil
}

// announced says that r holds nothing but (parts of) the journal's messages.
func (j *journal) announced(r io.Reader) (bool, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	start, blank := true, true
	for {
		line, err := br.ReadSlice('\n')
		if start && len(line) > 0 {
			switch {
			case bytes.HasPrefix(line, []byte("From ")):
				if !j.has(string(line), err == io.EOF) {
					return false, nil
				}
				blank = false
			case blank && string(line) != "\n" && !(err == io.EOF && strings.HasPrefix("From ", string(line))):
				return false, nil // not even the beginning is ours
			}
		}
		if err == io.EOF {
			return true, nil
		}
		if err != nil && err != bufio.ErrBufferFull {
			return false, err
		}
		start = err == nil
	}
}

func (j *journal) has(line string, cut bool) bool {
	for _, l := range j.lines {
		if l == line || cut && strings.HasPrefix(l, line) {
			return true
		}
	}
	return false
}

// fdReader reads a descriptor at offsets.
type fdReader int

func (fd fdReader) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(int(fd), p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, os.NewSyscallError("read", err)
		case m == 0:
			return n, io.EOF
		default:
			n += m
		}
	}
	return n, nil
}
