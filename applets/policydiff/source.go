package policydiff

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// maxAddresses bounds the memory for what is compared.
const maxAddresses = 5_000_000

// A list is distinct addresses in the order in which they came.
type list struct {
	addrs []string
	seen  map[string]struct{}
}

func (l *list) add(addr string) error {
	if addr == "" {
		return nil
	}
	if _, dup := l.seen[addr]; dup {
		return nil
	}
	if len(l.addrs) == maxAddresses {
		return fmt.Errorf("more than %d addresses", maxAddresses)
	}
	if l.seen == nil {
		l.seen = make(map[string]struct{})
	}
	l.seen[addr] = struct{}{}
	l.addrs = append(l.addrs, addr)
	return nil
}

// fromLines reads an address a line, with # comments.
func (l *list) fromLines(r io.Reader) error {
	return lines(r, func(line string) error {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			return nil
		}
		return l.add(line)
	})
}

// recipientField finds the recipient in a line of the router's log.
const recipientField = `(?:^| )to=("(?:[^"\\]|\\.)*"|[^ ]+)`

// fromLog reads the recipients that the router's log names.
func (l *list) fromLog(r io.Reader) error {
	to := regexp.MustCompile(recipientField)
	return lines(r, func(line string) error {
		m := to.FindStringSubmatch(line)
		if m == nil {
			return nil
		}
		addr := m[1]
		if strings.HasPrefix(addr, `"`) {
			var err error
			if addr, err = strconv.Unquote(addr); err != nil {
				return nil // cut off in the middle by a crash: not an address
			}
		}
		return l.add(addr)
	})
}

func lines(r io.Reader, f func(string) error) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if err := f(s.Text()); err != nil {
			return err
		}
	}
	return s.Err()
}

// fromQueue reads the recipients of all messages, as their senders wrote them.
func (l *list) fromQueue(conf *shellcfg.Conf) error {
	s, err := conf.OpenSpool()
	if err != nil {
		return err
	}
	for _, dir := range []string{spool.RouterDir, spool.DeferredDir} {
		err := spool.EachID(filepath.Join(s.Root, dir), func(id spool.ID) error {
			_, err := l.fromMessage(s.Path(dir, id), id)
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, h := range spool.HashDirs() {
		err := spool.EachID(filepath.Join(s.Root, spool.TransportDir, h), func(id spool.ID) error { return l.fromRouted(s, id) })
		if err != nil {
			return err
		}
	}
	return nil
}

// fromMessage tells how many recipients the envelope has.
func (l *list) fromMessage(path string, id spool.ID) (int, error) {
	m, err := spool.OpenMessage(path, id)
	var bad *spool.BadEnvelope
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, spool.ErrNotRegular):
		return 0, nil // moved on meanwhile, or no message
	case errors.As(err, &bad):
		return 0, m.Close()
	case err != nil:
		return 0, err
	}
	for _, to := range m.Env.To {
		if err := l.add(to.Addr); err != nil {
			return 0, errors.Join(err, m.Close())
		}
	}
	return len(m.Env.To), m.Close()
}

// fromRouted takes what a message was routed to where its recipients stood in its
// header only.
func (l *list) fromRouted(s *spool.Spool, id spool.ID) error {
	if n, err := l.fromMessage(s.QueuePath(id), id); err != nil || n > 0 {
		return err
	}
	c, err := spool.ReadControl(s.ControlPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // delivered meanwhile
	}
	if err != nil {
		return err
	}
	for _, g := range c.Groups {
		for _, r := range g.Rcpts {
			if err := l.add(r.User); err != nil {
				return err
			}
		}
	}
	return nil
}

// fromFile opens a file, or standard input for "-".
func fromFile(path string, stdin io.Reader, read func(io.Reader) error) error {
	if path == "-" {
		return read(stdin)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return read(f)
}

// Addresses are those of a file, or without one the recipients in the queue and in the
// router's log, if there is one.
func Addresses(conf *shellcfg.Conf, file string) ([]string, error) {
	var l list
	if file != "" {
		err := fromFile(file, os.Stdin, l.fromLines)
		return l.addrs, err
	}
	if err := l.fromQueue(conf); err != nil {
		return nil, err
	}
	err := fromFile(conf.LogPath("router"), nil, l.fromLog)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return l.addrs, err
}
