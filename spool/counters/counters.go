// Package counters holds what a daemon counts, and hands it to the other processes
// of the instance: as a text file in the run directory, in the text form of
// Prometheus, that the daemon writes anew every few seconds if something has
// changed. "zmailer metrics" and the scheduler's listener collect the files.
//
// Counting is one atomic addition and never a system call, so that it costs nothing
// by message. The labels of a counter are fixed when it is made: what comes from
// outside never is one. Counters begin at zero with their process, as monitoring
// expects them to.
package counters

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
)

// Prefix begins the name of every metric of the mailer.
const Prefix = "zmailer_"

// A Counter only grows.
type Counter struct {
	n      atomic.Int64
	labels string // {name="value"}, or empty
}

// Add counts n more.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Inc counts one more.
func (c *Counter) Inc() { c.n.Add(1) }

// Value is what was counted so far.
func (c *Counter) Value() int64 { return c.n.Load() }

// A Set is the counters of a process. They are made before the set is kept.
type Set struct{ families []*family }

type family struct {
	name, kind, help string
	counters         []*Counter
	gauge            func() int64
}

// Counter makes a counter of the family name, which is without the prefix; labels
// are pairs of names and values. Counters of one family are made one after the
// other and differ in their labels.
func (s *Set) Counter(name, help string, labels ...string) *Counter {
	c := new(Counter)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		c.labels += sep + labels[i] + "=" + strconv.Quote(labels[i+1])
	}
	if c.labels != "" {
		c.labels += "}"
	}
	if n := len(s.families); n == 0 || s.families[n-1].name != name {
		s.families = append(s.families, &family{name: name, kind: "counter", help: help})
	}
	f := s.families[len(s.families)-1]
	f.counters = append(f.counters, c)
	return c
}

// Gauge makes a value that goes up and down: value is asked whenever the set is
// written.
func (s *Set) Gauge(name, help string, value func() int64) {
	s.families = append(s.families, &family{name: name, kind: "gauge", help: help, gauge: value})
}

// Append appends the text form.
func (s *Set) Append(b []byte) []byte {
	for _, f := range s.families {
		name := Prefix + f.name
		b = append(b, "# HELP "+name+" "+f.help+".\n# TYPE "+name+" "+f.kind+"\n"...)
		if f.gauge != nil {
			b = append(strconv.AppendInt(append(b, name+" "...), f.gauge(), 10), '\n')
		}
		for _, c := range f.counters {
			b = append(strconv.AppendInt(append(b, name+c.labels+" "...), c.Value(), 10), '\n')
		}
	}
	return b
}

// writeEvery is how old what stands in the file can be.
const writeEvery = 5 * time.Second

// Keep keeps the file at path up to date until ctx ends. An error is logged when it
// appears, and never stops the daemon.
func (s *Set) Keep(ctx context.Context, path string, log *slog.Logger) {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	var written []byte
	failing := false
	for ended := false; ; {
		if b := s.Append(nil); !bytes.Equal(b, written) {
			err := replace(path, b)
			if err != nil && !failing {
				log.Warn("counters cannot be written", "err", err)
			}
			if failing = err != nil; !failing {
				written = b
			}
		}
		if ended {
			return
		}
		select {
		case <-ctx.Done():
			ended = true // once more, with the last numbers
		case <-tick.C:
		}
	}
}

// replace writes the file in one step for its readers.
func replace(path string, b []byte) error {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// maxFile bounds what is read of another process's counters.
const maxFile = 64 << 10

// Read returns the text that Keep has written at path. Its directory may belong to
// a user with fewer rights than the reader: links and things that are no file are
// refused, and lines that are no metrics of ours are left out.
func Read(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	out := b[:0]
	for line := range bytes.Lines(b) {
		if sound(string(line)) {
			out = append(out, line...)
		}
	}
	return out, nil
}

// sound says whether a line is one of a metric of ours.
func sound(line string) bool {
	rest, ok := strings.CutSuffix(line, "\n")
	if !ok || strings.ContainsFunc(rest, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return false
	}
	for _, intro := range []string{"# HELP ", "# TYPE "} {
		if about, ok := strings.CutPrefix(rest, intro); ok {
			return strings.HasPrefix(about, Prefix)
		}
	}
	i := strings.LastIndexByte(rest, ' ')
	if i < 0 || !strings.HasPrefix(rest, Prefix) {
		return false
	}
	_, err := strconv.ParseInt(rest[i+1:], 10, 64)
	return err == nil
}

// Path is where a daemon keeps its counters: the SMTP server, which has the rights
// of a user of its own, in its own directory.
func Path(s *spool.Spool, daemon string) string {
	if daemon == spool.ServerDir {
		return filepath.Join(s.Root, spool.ServerDir, "counters")
	}
	return s.RunPath(daemon + ".counters")
}
