package smtp

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/agents/protocol"
)

// fastSink accepts everything with as little work as it can.
func fastSink(tb testing.TB, ext string) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				fastServe(nc, ext)
			})
		}
	})
	tb.Cleanup(func() { ln.Close() })
	return "[127.0.0.1]:" + strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

func fastServe(nc net.Conn, ext string) {
	r, w := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriter(nc)
	io.WriteString(nc, "220 sink\r\n")
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(line, []byte("EHLO")):
			io.WriteString(w, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n"+ext+"250 SIZE\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			io.WriteString(w, "354 go\r\n")
			w.Flush()
			for {
				line, err := r.ReadSlice('\n')
				if err != nil {
					return
				}
				if len(line) == 3 && line[0] == '.' {
					break
				}
			}
			io.WriteString(w, "250 2.0.0 ok\r\n")
		case bytes.HasPrefix(line, []byte("BDAT")):
			n, err := strconv.Atoi(string(bytes.Fields(line)[1]))
			if err != nil {
				return
			}
			if _, err := r.Discard(n); err != nil {
				return
			}
			io.WriteString(w, "250 2.0.0 ok\r\n")
		default:
			io.WriteString(w, "250 2.0.0 ok\r\n")
		}
		if r.Buffered() == 0 {
			w.Flush()
		}
	}
}

// BenchmarkRelay relays messages of 4 KB to a sink in this process, 20 at once:
// the whole agent, from the job's line to its result.
func BenchmarkRelay(b *testing.B) {
	for _, ext := range []string{"DATA", "BDAT"} {
		b.Run(ext, func(b *testing.B) {
			keywords := ""
			if ext == "BDAT" {
				keywords = "250-CHUNKING\r\n"
			}
			host := fastSink(b, keywords)
			d := start(b, nil)
			c := d.put(letterOf("Received: from a by b; now\nFrom: a@x.test\nTo: b@x.test\nSubject: hello\n\n",
				strings.Repeat(strings.Repeat("x", 70)+"\n", 56), "b@x.test"), host)
			jobs := protocol.Job{ID: c.ID, Channel: "smtp", Host: host, Rcpts: []int{0}}
			b.ReportAllocs()
			began := cpuTime()
			var buf []byte
			outstanding := 0
			for b.Loop() {
				jobs.Number++
				buf = jobs.Append(buf[:0])
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
			// Of the agent, the sink and the driver together.
			b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

func cpuTime() time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// await reads one result.
func (d *driver) await(b *testing.B) {
	for d.out.Scan() {
		if said := protocol.ParseSaid(d.out.Text()); said.Kind == protocol.Result {
			if !strings.HasPrefix(said.Report.Result.Text, "250 ") {
				b.Fatalf("%+v", said.Report)
			}
			return
		}
	}
	b.Fatal("the agent ended")
}
