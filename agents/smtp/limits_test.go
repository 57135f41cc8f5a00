package smtp

import (
	"net"
	"os"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A scriptedConn says what it was given, and then nothing until the time is over.
type scriptedConn struct {
	net.Conn
	says     string
	silent   int // reads that ran into the time limit
	deadline time.Time
}

func (c *scriptedConn) Read(p []byte) (int, error) {
	if c.says == "" {
		c.silent++
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(p, c.says)
	c.says = c.says[n:]
	return n, nil
}

func (c *scriptedConn) Write(p []byte) (int, error)   { return len(p), nil }
func (c *scriptedConn) SetDeadline(t time.Time) error { c.deadline = t; return nil }

// A reply to content that is out is waited for beyond the end of the job, but once:
// a peer cannot make a hundred such waits of it, one for each recipient.
func TestCommitLimit(t *testing.T) {
	const dot = 10 * time.Minute
	begin := time.Now()
	for _, tt := range []struct {
		name      string
		end       time.Duration // of the job, from now
		committed bool
		atMost    time.Duration // the deadline, from now
		atLeast   time.Duration
	}{
		{"phase within the job", time.Hour, false, dot, dot},
		{"phase at the end of the job", time.Minute, false, time.Minute, time.Minute},
		{"commit within the job", time.Hour, true, dot, dot},
		{"commit at the end of the job", time.Second, true, dot, dot},
		{"commit behind the end of the job", -4 * time.Minute, true, 6 * time.Minute, 6 * time.Minute},
	} {
		nc := &scriptedConn{}
		w := newWire(nc, dot, nil)
		w.begin(begin.Add(tt.end))
		w.setDeadline(dot, tt.committed)
		passed := time.Since(begin) // the clock of a slow machine
		if got := nc.deadline.Sub(begin); got < tt.atLeast || got > tt.atMost+passed {
			t.Errorf("%s: ends after %v, want %v to %v", tt.name, got, tt.atLeast, tt.atMost)
		}
	}
}

// When MAIL was refused and the peer has fallen silent, the replies to the rest of
// the flight are not waited for one by one.
func TestSilenceAfterMail(t *testing.T) {
	nc := &scriptedConn{says: "550 5.7.1 not you\r\n"}
	c := newClient(defaultOptions())
	s := &session{wire: newWire(nc, time.Minute, nil), c: c, ext: extensions{pipelining: true, chunking: true}, target: target{relay: "mx.test"}}
	g := simple("a@x.test", "b@x.test", "c@x.test", "d@x.test").groups[0]
	b := newBatch(&g)
	text := []byte("hello\n")
	ct := content{message: &message{small: &text, size: int64(len(text)), lines: 1}, header: g.Header}
	j := &job{c: c, d: &protocol.Delivery{Control: &spool.Control{}}}
	x := &exchange{session: s, j: j, b: &b, plan: &plan{from: mailPath{text: "<>"}, content: ct, chunk: true}}
	if fail := x.envelope(); fail != nil || x.mail == nil || x.mail.Action != dsn.Failed {
		t.Errorf("failure %+v, MAIL %+v", fail, x.mail)
	}
	if nc.silent != 1 {
		t.Errorf("%d replies were waited for", nc.silent)
	}
}
