package fsck

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A progress tells how far the work is: at a terminal on a line that is written
// over, elsewhere in a line now and then, if the work takes long at all.
type progress struct {
	w        io.Writer
	what     string
	terminal bool
	files    int
	next     time.Time
}

const (
	quiet       = 2 * time.Second // elsewhere nothing is said before
	everyLine   = 10 * time.Second
	everyUpdate = 200 * time.Millisecond
)

func newProgress(w io.Writer, what string) *progress {
	p := &progress{w: w, what: what, terminal: isTerminal(w), next: time.Now()}
	if !p.terminal {
		p.next = p.next.Add(quiet)
	}
	return p
}

// isTerminal is true for a terminal that can take a line back.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// seen counts a file.
func (p *progress) seen(place string) {
	p.files++
	if p.files%64 != 1 { // the clock is not asked for every file
		return
	}
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	if p.terminal {
		p.next = now.Add(everyUpdate)
		fmt.Fprintf(p.w, "\r\x1b[K%s: %d files, %s", p.what, p.files, place)
		return
	}
	p.next = now.Add(everyLine)
	fmt.Fprintf(p.w, "%s: %d files, %s\n", p.what, p.files, place)
}

// clear takes the line away before something else is written.
func (p *progress) clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
