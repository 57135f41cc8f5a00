package smtp

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zmailer/agents/protocol"
)

// A farPeer is a proxy before a sink that lets each octet arrive half a round trip
// after it was sent, in both directions, however many are under way.
type farPeer struct {
	ln          net.Listener
	to          string
	delay       time.Duration // one way
	connections atomic.Int64
	turns       atomic.Int64 // times that the client began to speak after it had heard
}

func newFarPeer(tb testing.TB, host string, rtt time.Duration) *farPeer {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &farPeer{ln: ln, to: strings.NewReplacer("[", "", "]", "").Replace(host), delay: rtt / 2}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(nc) })
		}
	})
	tb.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	return p
}

func (p *farPeer) host() string {
	return "[127.0.0.1]:" + strconv.Itoa(p.ln.Addr().(*net.TCPAddr).Port)
}

func (p *farPeer) serve(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer far.Close()
	p.connections.Add(1)
	var heard atomic.Bool // the client has got something since it last spoke
	var wg sync.WaitGroup
	wg.Go(func() { p.carry(far, near, func() bool { return heard.Swap(false) }, nil) })
	p.carry(near, far, nil, func() { heard.Store(true) })
	near.Close()
	wg.Wait()
}

// carry copies with the delay. spoke is asked before a piece sets out and says
// whether that began a turn; arrived is called before one arrives.
func (p *farPeer) carry(dst, src net.Conn, spoke func() bool, arrived func()) {
	type piece struct {
		b  []byte
		at time.Time
	}
	way := make(chan piece, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range way {
			time.Sleep(time.Until(c.at))
			if arrived != nil {
				arrived()
			}
			if _, err := dst.Write(c.b); err != nil {
				src.Close()
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if spoke != nil && spoke() {
				p.turns.Add(1)
			}
			way <- piece{bytes.Clone(buf[:n]), time.Now().Add(p.delay)}
		}
		if err != nil {
			break
		}
	}
	close(way)
	<-done
	if tc, ok := dst.(*net.TCPConn); ok {
		_ = tc.CloseWrite() // the peer may have closed first
	}
}

// A message costs one round trip with BDAT and two with DATA, and a connection two
// more, for the greeting and EHLO.
func TestRoundTrips(t *testing.T) {
	for ext, want := range map[string]int64{"250-CHUNKING\r\n": 1, "": 2} {
		far := newFarPeer(t, fastSink(t, ext), 2*time.Millisecond)
		d := start(t, nil)
		const n = 50
		for range n {
			if res := d.deliver(letterOf("Subject: x\n\n", strings.Repeat("hello\n", 500), "a@x.test", "b@x.test"), far.host()); outcome(res) != "ok 2.0.0, ok 2.0.0" {
				t.Fatalf("%+v", res)
			}
		}
		// The first turn is EHLO; what follows the last message is QUIT.
		if turns, ideal := far.turns.Load(), n*want+1; far.connections.Load() != 1 || float64(turns) > 1.1*float64(ideal) {
			t.Errorf("%q: %d connections, %d turns, ideal %d", ext, far.connections.Load(), turns, ideal)
		}
	}
}

// BenchmarkLatency relays messages of 4 KB to one host that is some milliseconds
// away, 20 at once. It reports what a message costs in round trips: the ideal is 1
// with BDAT, 2 with DATA.
func BenchmarkLatency(b *testing.B) {
	for _, rtt := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		for name, ext := range map[string]string{"DATA": "", "BDAT": "250-CHUNKING\r\n"} {
			b.Run(fmt.Sprintf("%v/%s", rtt, name), func(b *testing.B) {
				far := newFarPeer(b, fastSink(b, ext), rtt)
				d := start(b, nil)
				c := d.put(letterOf("From: a@x.test\nTo: b@x.test\nSubject: hello\n\n", strings.Repeat(strings.Repeat("x", 70)+"\n", 56), "b@x.test"), far.host())
				job := protocol.Job{ID: c.ID, Channel: "smtp", Host: far.host(), Rcpts: []int{0}}
				var buf []byte
				outstanding := 0
				for b.Loop() {
					job.Number++
					buf = job.Append(buf[:0])
					if _, err := d.in.Write(buf); err != nil {
						b.Fatal(err)
					}
					if outstanding++; outstanding >= 20 {
						d.await(b)
						outstanding--
					}
				}
				for ; outstanding > 0; outstanding-- {
					d.await(b)
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
				b.ReportMetric(float64(far.connections.Load()), "connections")
				b.ReportMetric(float64(far.turns.Load()-far.connections.Load())/float64(b.N), "turns/msg")
			})
		}
	}
}
