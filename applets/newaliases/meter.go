package newaliases

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A meter says how far a build is: at a terminal on one line that is wiped at the
// end, elsewhere a line a second, if wanted.
type meter struct {
	w     io.Writer
	file  string
	every time.Duration // 0: say nothing
	tty   bool
	next  time.Time
	shown bool
}

func newMeter(w io.Writer, file string, verbose bool) *meter {
	m := &meter{w: w, file: file}
	if f, ok := w.(*os.File); ok {
		_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
		m.tty = err == nil
	}
	switch {
	case m.tty:
		m.every = 100 * time.Millisecond
	case verbose:
		m.every = time.Second
	}
	m.next = time.Now().Add(m.every)
	return m
}

func (m *meter) show(done, total int64) {
	now := time.Now()
	if m.every == 0 || total == 0 || now.Before(m.next) {
		return
	}
	m.next = now.Add(m.every)
	m.shown = true
	// Whether it can be read does not decide about the table.
	if m.tty {
		_, _ = fmt.Fprintf(m.w, "\r%s: %d%%", m.file, done*100/total)
	} else {
		_, _ = fmt.Fprintf(m.w, "%s: %d%%\n", m.file, done*100/total)
	}
}

func (m *meter) end() {
	if m.tty && m.shown {
		_, _ = io.WriteString(m.w, "\r\x1b[K")
	}
}
