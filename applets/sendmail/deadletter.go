package sendmail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/proc"
)

// keep saves a message that the spool does not take to ~/dead.letter, if the
// caller wants errors by mail or at his terminal: he will not look at ours. It
// returns why the spool did not take it, with the status that it had.
func (o *options) keep(m *message, cause error) error {
	if o.errors != 'm' && o.errors != 'w' || proc.Code(cause) == proc.DataErr {
		return cause
	}
	if m.begun {
		return proc.Exit(proc.Code(cause), "%w\nnot saved in dead.letter: the beginning of this large message is gone", cause)
	}
	path, err := saveDeadLetter(m)
	if err != nil {
		return proc.Exit(proc.Code(cause), "%w\nnot saved in dead.letter: %w", cause, err)
	}
	return proc.Exit(proc.Code(cause), "%w\nthe message is saved in %s", cause, path)
}

// home is the caller's name and home directory: the one he works with, else that
// of his account.
func home() (name, dir string) {
	name = strconv.Itoa(os.Getuid()) // a uid may have no account, as in containers
	u, err := user.LookupId(name)
	if err == nil {
		name, dir = u.Username, u.HomeDir
	}
	if env := os.Getenv("HOME"); filepath.IsAbs(env) {
		dir = env
	}
	return name, dir
}

func saveDeadLetter(m *message) (path string, err error) {
	name, dir := home()
	if !filepath.IsAbs(dir) {
		return "", errors.New("no home directory")
	}
	path = filepath.Join(dir, "dead.letter")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 || int(st.Uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is not a file of your own", path)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", path, err)
	}
	if _, err := fmt.Fprintf(f, "From %s %s\n", name, time.Now().Format(time.ANSIC)); err != nil {
		return "", err
	}
	if err := m.writeQuoted(f); err != nil {
		return "", err
	}
	return path, f.Sync()
}

// writeQuoted writes the message as it stands in a mailbox file.
func (m *message) writeQuoted(w io.Writer) error {
	bw := bufio.NewWriterSize(w, sourceBuffer)
	q := &fromQuoter{w: bw, start: true}
	if err := m.writeTo(q); err != nil {
		return err
	}
	bw.WriteString("\n")
	return bw.Flush() // errors of a bufio.Writer are kept for it
}

// fromQuoter puts ">" before lines that begin with "From ".
type fromQuoter struct {
	w     *bufio.Writer
	start bool   // at the start of a line
	held  []byte // the beginning of a line that may become "From "
}

func (q *fromQuoter) Write(p []byte) (int, error) {
	n := len(p)
	p = append(q.held, p...)
	q.held = nil
	for len(p) > 0 {
		if q.start && len(p) < 5 && bytes.IndexByte(p, '\n') < 0 && bytes.HasPrefix([]byte("From "), p) {
			q.held = p
			break
		}
		if q.start && bytes.HasPrefix(p, []byte("From ")) {
			q.w.WriteByte('>')
		}
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i+1]
		}
		q.start = line[len(line)-1] == '\n'
		if _, err := q.w.Write(line); err != nil {
			return 0, err
		}
		p = p[len(line):]
	}
	return n, nil
}
