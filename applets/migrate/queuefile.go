package migrate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// What the files of all queues have in common.

// A queueFile is one in which a message is.
type queueFile struct {
	path string
	hold string // why the message waits for the administrator; "": it does not
	// fresh: nobody has completed the header yet, or the addresses.
	fresh bool
}

// A queued message is one that another mailer has not delivered to all recipients.
type queued struct {
	name    string // in its queue
	arrival time.Time
	reason  string // of its quarantine
	env     spool.Envelope
	header  []byte
	body    io.Reader // what follows the header, or all of the message
}

// add adds a recipient, unless the other mailer has done with it.
func (q *queued) add(rcpt spool.Recipient) error {
	if rcpt.Addr == "" {
		return nil
	}
	if q.env.To = append(q.env.To, rcpt); len(q.env.To) > spool.MaxRecipients {
		return fmt.Errorf("more than %d recipients", spool.MaxRecipients)
	}
	return nil
}

// setArrival reads a time in seconds, and perhaps microseconds.
func (q *queued) setArrival(text string) error {
	sec, micro, _ := strings.Cut(strings.TrimSpace(text), " ")
	s, err := strconv.ParseInt(sec, 10, 64)
	us, _ := strconv.ParseInt(strings.TrimSpace(micro), 10, 64)
	if err != nil || s < 0 || s > 1<<40 || us < 0 || us >= 1_000_000 {
		return fmt.Errorf("time %.40q", text)
	}
	q.arrival = time.UnixMicro(s*1_000_000 + us)
	return nil
}

// openQueueFile opens a file of a queue that no process works on.
func openQueueFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case !st.Mode().IsRegular():
		err = errors.New("it is no regular file")
	case inUse(f):
		err = errors.New("a process of the other mailer holds it")
	default:
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

// inUse tells whether another process holds a lock on a file of a queue.
func inUse(f *os.File) bool {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return true
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock)
	return err == nil && lock.Type != unix.F_UNLCK
}

// maxQueue bounds how many files of a queue are read.
const maxQueue = 5_000_000

// queueFiles lists the regular files below dir that fn wants.
func queueFiles(dir string, fn func(name string) (queueFile, bool)) ([]queueFile, error) {
	var list []queueFile
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != dir:
			return nil
		case err != nil:
			return err
		case len(list) > maxQueue:
			return fmt.Errorf("%s: more than %d files", dir, maxQueue)
		case !d.Type().IsRegular():
			return nil
		}
		if f, ok := fn(d.Name()); ok {
			f.path = path
			list = append(list, f)
		}
		return nil
	})
	return list, err
}

// address brings a recipient or sender of another mailer into our form.
func address(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	a, err := rfc5322.ParseAddress(s)
	if err != nil {
		return "", fmt.Errorf("address %.200q: %w", s, err)
	}
	return a.String(), nil
}

// originalRecipient is ORCPT, if it may be one.
func originalRecipient(kind, addr string) string {
	for i := range len(addr) {
		if addr[i] <= ' ' || addr[i] >= 0x7f || addr[i] == '=' {
			return ""
		}
	}
	if kind = strings.TrimSpace(kind); kind == "" || strings.ContainsAny(kind, " =\t") {
		return ""
	}
	return kind + ";" + addr
}

// notify is NOTIFY of RFC 3461 §4.1 for what was asked for.
func notify(never, success, failure, delay bool) string {
	if never {
		return "NEVER"
	}
	var list []string
	for _, x := range []struct {
		asked bool
		word  string
	}{{success, "SUCCESS"}, {failure, "FAILURE"}, {delay, "DELAY"}} {
		if x.asked {
			list = append(list, x.word)
		}
	}
	return strings.Join(list, ",")
}
