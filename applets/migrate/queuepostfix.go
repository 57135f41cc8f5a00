package migrate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// Postfix's queue files are records of a letter, a length in groups of 7 bits, the
// lowest first, and that many bytes. The envelope comes first, then M and the lines of
// the message (N a line, L a part of one), then X and what was found in the header, and E
// in a file that is complete. A pointer p leads to records further on that were put in
// later, and back.
//
// Letters of the envelope that say nothing of interest here:
const postfixPassed = "CcIwLBPVWfmdaKre"

// Bounds of a queue file.
const (
	maxRecordSize = 16 << 20
	maxPointers   = 100_000
)

// postfixDirs are the directories in which mail waits, with what is special about it.
var postfixDirs = []struct {
	name string
	queueFile
}{
	{name: "incoming"}, {name: "active"}, {name: "deferred"},
	{"maildrop", queueFile{fresh: true}},
	{"hold", queueFile{hold: "it was on hold in Postfix"}},
	{"corrupt", queueFile{hold: "Postfix had set it aside as damaged"}},
}

// postfixFiles lists the queue files.
func postfixFiles(dir string) ([]queueFile, error) {
	var all []queueFile
	found := false
	for _, sub := range postfixDirs {
		list, err := queueFiles(filepath.Join(dir, sub.name), func(name string) (queueFile, bool) {
			return sub.queueFile, !strings.HasPrefix(name, ".")
		})
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = true
		all = append(all, list...)
	}
	if !found {
		return nil, fmt.Errorf("%s is no queue of Postfix: there is no deferred in it", dir)
	}
	return all, nil
}

// postfixRuns tells whether the master daemon of a queue is alive.
func postfixRuns(dir string) bool {
	b, err := os.ReadFile(filepath.Join(dir, "pid/master.pid"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 2 || syscall.Kill(pid, 0) == syscall.ESRCH {
		return false
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err != nil || strings.TrimSpace(string(name)) == "master"
}

func openPostfix(file queueFile) (*queued, io.Closer, error) {
	f, err := openQueueFile(file.path)
	if err != nil {
		return nil, nil, err
	}
	q, err := readPostfix(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	q.name = filepath.Base(file.path)
	return q, f, nil
}

func readPostfix(f *os.File) (*queued, error) {
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.Mode()&0o100 == 0:
		return nil, errors.New("it is still being written, or was given up: its mode has no x")
	}
	p := &postfixReader{f: f, r: bufio.NewReader(f), size: st.Size()}
	q, err := p.envelope()
	if err != nil {
		return nil, err
	}
	content := &postfixContent{p: p}
	// What was found in the header comes behind the message: it is read twice.
	start := p.at
	if _, err := io.Copy(io.Discard, content); err != nil {
		return nil, err
	}
	if err := p.extracted(q); err != nil {
		return nil, err
	}
	if p.redirect != "" {
		q.env.To = []spool.Recipient{{Addr: p.redirect}}
	}
	if err := p.seek(start); err != nil {
		return nil, err
	}
	q.body = &postfixContent{p: p}
	return q, nil
}

// A postfixReader reads records.
type postfixReader struct {
	f        *os.File
	r        *bufio.Reader
	at, size int64
	pointers int
	rcpt     spool.Recipient // attributes of the next recipient
	original string
	redirect string // where all of the message goes, instead of to its recipients
}

func (p *postfixReader) seek(at int64) error {
	if at < 0 || at > p.size {
		return fmt.Errorf("a pointer to %d in a file of %d bytes", at, p.size)
	}
	p.at = at
	_, err := p.f.Seek(at, io.SeekStart)
	p.r.Reset(p.f)
	return err
}

// next reads a record, over pointers.
func (p *postfixReader) next() (letter byte, data []byte, err error) {
	for {
		where := p.at
		if letter, data, err = p.record(); err != nil {
			return 0, nil, fmt.Errorf("record at %d: %w", where, err)
		}
		if letter != 'p' {
			return letter, data, nil
		}
		to, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err != nil {
			return 0, nil, fmt.Errorf("record at %d: pointer %.20q", where, data)
		}
		if p.pointers++; p.pointers > maxPointers {
			return 0, nil, errors.New("too many pointers")
		}
		if to > 0 {
			if err := p.seek(to); err != nil {
				return 0, nil, err
			}
		}
	}
}

func (p *postfixReader) record() (letter byte, data []byte, err error) {
	if letter, err = p.r.ReadByte(); err != nil {
		return 0, nil, short(err)
	}
	length, n := 0, int64(1)
	for shift := 0; ; shift += 7 {
		c, err := p.r.ReadByte()
		if err != nil {
			return 0, nil, short(err)
		}
		n++
		if shift > 21 {
			return 0, nil, errors.New("a length of more than 4 bytes")
		}
		length |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			break
		}
	}
	if length > maxRecordSize || int64(length) > p.size-p.at {
		return 0, nil, fmt.Errorf("a length of %d", length)
	}
	data = make([]byte, length)
	if _, err := io.ReadFull(p.r, data); err != nil {
		return 0, nil, short(err)
	}
	p.at += n + int64(length)
	return letter, data, nil
}

// short is the error of a file that ends within a record, or before E.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// envelope reads up to the message.
func (p *postfixReader) envelope() (*queued, error) {
	q := new(queued)
	sender := false
	for {
		letter, data, err := p.next()
		if err != nil {
			return nil, err
		}
		switch letter {
		case 'M':
			if !sender || q.arrival.IsZero() {
				return nil, errors.New("the envelope has no sender, or no time")
			}
			return q, nil
		case 'T':
			if err := q.setArrival(string(data)); err != nil {
				return nil, err
			}
		case 'S':
			if q.env.From, err = address(string(data)); err != nil {
				return nil, err
			}
			sender = true
		default:
			if err := p.other(q, letter, data); err != nil {
				return nil, err
			}
		}
	}
}

// extracted reads what comes behind the message.
func (p *postfixReader) extracted(q *queued) error {
	for {
		letter, data, err := p.next()
		if err != nil || letter == 'E' {
			return err
		}
		if err := p.other(q, letter, data); err != nil {
			return err
		}
	}
}

// other reads records of recipients and attributes.
func (p *postfixReader) other(q *queued, letter byte, data []byte) error {
	switch letter {
	case 'A':
		return p.attribute(q, string(data))
	case 'F':
		q.env.FullName = rfc5322.OneLine(string(data), 200)
	case 'O':
		p.original = string(data)
	case 'R':
		addr, err := address(string(data))
		if err != nil {
			return err
		}
		if p.rcpt.Addr = addr; p.rcpt.ORcpt == "" && p.original != "" && p.original != string(data) {
			p.rcpt.ORcpt = originalRecipient("rfc822", p.original)
		}
		err = q.add(p.rcpt)
		p.rcpt, p.original = spool.Recipient{}, ""
		return err
	case 'D', '/': // delivered; taken back
		p.rcpt, p.original = spool.Recipient{}, ""
	case 'i':
		return p.attribute(q, "envelope_id="+string(data))
	case 'n':
		return p.attribute(q, "notify_flags="+string(data))
	case 'o':
		return p.attribute(q, "dsn_orig_rcpt="+string(data))
	case '<':
		return p.attribute(q, "ret_flags="+string(data))
	case '>':
		addr, err := address(string(data))
		p.redirect = addr
		return err
	default:
		if !strings.ContainsRune(postfixPassed, rune(letter)) {
			return fmt.Errorf("an unknown record %q", letter)
		}
	}
	return nil
}

func (p *postfixReader) attribute(q *queued, text string) error {
	name, value, _ := strings.Cut(text, "=")
	switch name {
	case "envelope_id":
		q.env.EnvID = value
	case "ret_flags":
		q.env.Ret = map[string]string{"1": "FULL", "2": "HDRS"}[value]
	case "notify_flags":
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("attribute %.60q", text)
		}
		p.rcpt.Notify = notify(n&1 != 0, n&2 != 0, n&4 != 0, n&8 != 0)
	case "dsn_orig_rcpt":
		kind, addr, _ := strings.Cut(value, ";")
		p.rcpt.ORcpt = originalRecipient(kind, addr)
	case "encoding":
		q.env.BodyType = map[string]string{"8bit": "8BITMIME", "7bit": "7BIT"}[value]
	case "smtputf8":
		q.env.SMTPUTF8 = value != "0"
	case "sasl_username":
		q.env.AuthUser = value
	}
	return nil
}

// postfixContent is the message: its lines with LF.
type postfixContent struct {
	p    *postfixReader
	rest []byte
	done bool
}

func (c *postfixContent) Read(b []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.done {
			return 0, io.EOF
		}
		letter, data, err := c.p.next()
		switch {
		case err != nil:
			return 0, err
		case letter == 'N':
			c.rest = append(data, '\n')
		case letter == 'L':
			c.rest = data
		case letter == 'X':
			c.done = true
		case letter != 'w':
			return 0, fmt.Errorf("a record %q within the message", letter)
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
