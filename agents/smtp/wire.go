package smtp

import (
	"bufio"
	"net"
	"sync"
	"time"
)

// A wire is a connection as bytes: commands collected and written together,
// replies read, a time limit for every phase.
type wire struct {
	nc  net.Conn
	in  replyReader
	out []byte // commands not written yet
	log *transcript

	scratch []byte // for building one command

	// The time limits. A phase ends at its own limit or at that of the job,
	// whichever comes first; but once the content is out, its reply is worth
	// waiting for, until the time for one reply has passed after the end of the job.
	// A peer that says one word before each limit must not hold the job for longer.
	mu        sync.Mutex
	end       time.Time     // of the job; zero: none
	dot       time.Duration // for the reply to the content
	committed bool          // the content is out
	cut       bool          // the process ends
}

// parting is how long a process that is told to end waits for the reply to
// content that is out already: a message in doubt is a message sent twice.
const parting = 10 * time.Second

func newWire(nc net.Conn, dot time.Duration, log *transcript) *wire {
	return &wire{nc: nc, in: replyReader{br: bufio.NewReaderSize(nc, maxReplyLine)}, dot: dot, log: log}
}

// swap puts another connection, that of TLS, in the place of the first.
func (w *wire) swap(nc net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nc = nc
	w.in.br.Reset(nc)
}

// begin sets the limit of a job; the zero time is none.
func (w *wire) begin(end time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.end, w.committed, w.cut = end, false, false
}

// phase begins a phase of at most d.
func (w *wire) phase(d time.Duration) {
	w.setDeadline(d, false)
}

// commit begins the phase in which the content is out.
func (w *wire) commit(d time.Duration) {
	w.setDeadline(d, true)
}

func (w *wire) setDeadline(d time.Duration, committed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	t, end := now.Add(d), w.end
	if w.committed = committed; committed {
		end = end.Add(w.dot)
	}
	switch {
	case w.cut && committed:
		t = now.Add(min(d, parting))
	case w.cut:
		t = now
	case !w.end.IsZero() && end.Before(t):
		t = end
	}
	w.nc.SetDeadline(t) // fails on a closed connection; the next read says so
}

// interrupt ends the current phase because the process ends.
func (w *wire) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	t := time.Now()
	if w.committed {
		t = t.Add(parting)
	}
	w.nc.SetDeadline(t)
}

// command adds a command to what will be written.
func (w *wire) command(parts ...string) {
	start := len(w.out)
	for _, p := range parts {
		w.out = append(w.out, p...)
	}
	w.log.line('w', w.out[start:])
	w.out = append(w.out, '\r', '\n')
}

// commandBytes is command for one built in a buffer.
func (w *wire) commandBytes(b []byte) {
	w.log.line('w', b)
	w.out = append(append(w.out, b...), '\r', '\n')
}

// flush writes the collected commands.
func (w *wire) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	_, err := w.nc.Write(w.out)
	w.out = w.out[:0]
	return err
}

// reply reads the next reply.
func (w *wire) reply() (reply, error) {
	r, err := w.in.read()
	if w.log != nil {
		if err != nil {
			w.log.note("read: " + err.Error())
		} else {
			w.log.line('r', []byte(r.String()))
		}
	}
	return r, err
}

// ask sends one command and reads its reply.
func (w *wire) ask(parts ...string) (reply, error) {
	w.command(parts...)
	if err := w.flush(); err != nil {
		return reply{}, err
	}
	return w.reply()
}

// close drops the connection without ceremony.
func (w *wire) close() { w.nc.Close() }
