package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkAccept measures acceptance of 4 KB messages without relay, client and
// server in one process: messages a second, and CPU time of both together.
func BenchmarkAccept(b *testing.B) {
	text := "Subject: bench\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56) + ".\r\n"
	for _, sessions := range []int{1, 20} {
		for _, pipelining := range []bool{false, true} {
			b.Run(fmt.Sprintf("sessions=%d/pipelining=%v", sessions, pipelining), func(b *testing.B) {
				ts := start(b, "limit sessions=2000 per_address=2000")
				var wg sync.WaitGroup
				work := make(chan int)
				b.ReportAllocs()
				cpu := cpuTime(b)
				for range sessions {
					wg.Go(func() { send(b, ts.addr, text, pipelining, work) })
				}
				b.ResetTimer()
				for i := range b.N {
					work <- i
				}
				close(work)
				wg.Wait()
				b.ReportMetric(float64((cpuTime(b)-cpu).Microseconds())/float64(b.N), "cpu-us/op")
				b.StopTimer()
				if n := ts.accepted.Load(); n != int64(b.N) {
					b.Errorf("%d of %d accepted", n, b.N)
				}
			})
		}
	}
}

func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// send sends a message in a session of its own for each number that comes, as
// smtp-source does.
func send(b *testing.B, addr, text string, pipelining bool, work <-chan int) {
	for range work {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		r := bufio.NewReaderSize(c, 1024)
		steps := []string{"", "EHLO bench\r\n", "MAIL FROM:<a@example.net>\r\n", "RCPT TO:<joe@example.org>\r\n", "DATA\r\n", text, "QUIT\r\n"}
		if pipelining {
			steps = []string{"", "EHLO bench\r\n", strings.Join(steps[2:5], ""), text + "QUIT\r\n"}
		}
		for _, s := range steps {
			io.WriteString(c, s)
			for range strings.Count(strings.TrimPrefix(s, text), "\r\n") + strings.Count(s, text) + b2i(s == "") {
				if err := reply(r); err != nil {
					b.Error(err)
				}
			}
		}
		c.Close()
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// reply reads one reply, which must not be an error.
func reply(r *bufio.Reader) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if line[0] > '3' {
			return fmt.Errorf("got %q", line)
		}
		if line[3] == ' ' {
			return nil
		}
	}
}

// BenchmarkData measures the way of a message's octets into a submission.
func BenchmarkData(b *testing.B) {
	text := strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000) + ".\r\n"
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var in input
	for range b.N {
		in.init(strings.NewReader(text), func() error { return nil })
		in.r, in.w = 0, 0
		d := body{w: io.Discard}
		if err := in.data(&d); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommand measures MAIL and RSET without the network.
func BenchmarkCommand(b *testing.B) {
	ts := start(b, "limit idle=2000000000")
	s := &session{srv: ts.server, cfg: ts.cfg.Load(), log: ts.server.log}
	s.helo = "x"
	mail, rset := []byte("MAIL FROM:<ann@example.net> SIZE=4000 BODY=8BITMIME"), []byte("RSET")
	b.ReportAllocs()
	for range b.N {
		s.command(mail)
		s.command(rset)
		s.out = s.out[:0]
	}
}
