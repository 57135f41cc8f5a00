package smtpserver

import (
	"bufio"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zmailer/spool"
)

func testAsker(t *testing.T, command func() *exec.Cmd, n int, limit time.Duration) (*asker, *logBuffer) {
	buf := &logBuffer{}
	a := newAsker(slog.New(slog.NewTextHandler(buf, nil)), source{command: command}, n, limit)
	t.Cleanup(func() {
		a.close()
		if t.Failed() {
			t.Log(buf)
		}
	})
	return a, buf
}

func askRcpt(a *asker, addr string) answer {
	return a.ask("rcpt", addr, "ann@example.net", "192.0.2.1", "norelay", "").wait()
}

// TestAskMany asks from many goroutines at once; each gets its own answer.
func TestAskMany(t *testing.T) {
	a, _ := testAsker(t, fakeRouterCommand, 2, 30*time.Second)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 50 {
				addr, want := "u"+strconv.Itoa(j)+"@example.org", 250
				if (i+j)%3 == 0 {
					addr, want = "nobody@example.org", 550
				}
				if got := askRcpt(a, addr); got.code != want {
					t.Errorf("%s: %+v", addr, got)
				}
			}
		})
	}
	wg.Wait()
}

// TestAskHostile puts what an address may contain through the pipe.
func TestAskHostile(t *testing.T) {
	a, _ := testAsker(t, fakeRouterCommand, 1, 30*time.Second)
	for _, addr := range []string{"a\tb@example.org", "a\nb@example.org", "a\\b@example.org", "\x00@example.org", strings.Repeat("x", 2000) + "@example.org"} {
		if got := askRcpt(a, addr); !got.ok {
			t.Errorf("%.20q: %+v", addr, got)
		}
	}
}

// TestAskReplaces kills the router again and again; questions after that are
// answered by the next one.
func TestAskReplaces(t *testing.T) {
	a, _ := testAsker(t, fakeRouterCommand, 1, 30*time.Second)
	for range 3 {
		if got := askRcpt(a, "die@example.org"); got != routerDied {
			t.Fatalf("die: %+v", got)
		}
		if got := askRcpt(a, "joe@example.org"); !got.ok {
			t.Fatalf("after: %+v", got)
		}
	}
}

// TestAskSilent kills a router that answers nothing any more.
func TestAskSilent(t *testing.T) {
	a, buf := testAsker(t, fakeRouterCommand, 1, 200*time.Millisecond)
	var wg sync.WaitGroup
	for range maxTimeouts {
		wg.Go(func() {
			if got := askRcpt(a, "dumb@example.org"); got.ok || got.code != 451 {
				t.Errorf("got %+v", got)
			}
		})
	}
	wg.Wait()
	for range 500 {
		if strings.Contains(buf.String(), "router ended") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the router was not replaced")
}

// TestAskFull bounds the questions without an answer.
func TestAskFull(t *testing.T) {
	a, _ := testAsker(t, fakeRouterCommand, 1, 5*time.Second)
	var list []*call
	for range maxAsked {
		list = append(list, a.ask("rcpt", "dumb@example.org", "", "192.0.2.1", "norelay", ""))
	}
	if got := askRcpt(a, "joe@example.org"); got != tooBusy {
		t.Errorf("got %+v", got)
	}
	for _, c := range list {
		if got := c.wait(); got.ok {
			t.Fatalf("got %+v", got)
		}
	}
}

// TestAskNothing has no router at all: the answer is temporary.
func TestAskNothing(t *testing.T) {
	for _, command := range []func() *exec.Cmd{
		func() *exec.Cmd { return exec.Command("/nonexistent/router") },
		func() *exec.Cmd { return exec.Command("/bin/true") },
		func() *exec.Cmd { return exec.Command("/bin/sleep", "100") },
	} {
		a, _ := testAsker(t, command, 1, 300*time.Millisecond)
		if got := askRcpt(a, "joe@example.org"); got.ok || got.code != 451 {
			t.Errorf("got %+v", got)
		}
	}
}

// TestAskDaemon asks the daemon on its socket; a child stands in while that is away.
func TestAskDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "router.sock")
	var answered atomic.Int64
	daemon := func() net.Listener {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					r := bufio.NewScanner(c)
					for r.Scan() {
						n, _, _ := strings.Cut(r.Text(), "\t")
						if strings.Contains(r.Text(), "\tstop@") {
							return
						}
						answered.Add(1)
						c.Write(spool.AppendLine(nil, n, "ok", "250", "2.1.5", "daemon"))
					}
				}()
			}
		}()
		return l
	}
	l := daemon()
	a := newAsker(slog.New(slog.DiscardHandler), source{socket: path, command: fakeRouterCommand, look: 10 * time.Millisecond}, 1, 30*time.Second)
	defer a.close()
	if got := askRcpt(a, "joe@example.org"); !got.ok || answered.Load() != 1 {
		t.Fatalf("daemon: %+v, %d", got, answered.Load())
	}
	l.Close()
	if got := askRcpt(a, "stop@example.org"); got != routerDied {
		t.Fatalf("daemon goes away: %+v", got)
	}
	if got := askRcpt(a, "nobody@example.org"); got.code != 550 || answered.Load() != 1 {
		t.Fatalf("child: %+v", got)
	}
	l = daemon()
	defer l.Close()
	for end := time.Now().Add(20 * time.Second); answered.Load() == 1; {
		if got := askRcpt(a, "joe@example.org"); !got.ok {
			t.Fatalf("while the daemon comes back: %+v", got)
		}
		if time.Now().After(end) {
			t.Fatal("the daemon is not asked again")
		}
	}
}

func TestAskClosed(t *testing.T) {
	a, _ := testAsker(t, fakeRouterCommand, 1, time.Second)
	a.close()
	if c := a.ask("rcpt", "joe@example.org", "", "", "norelay", ""); c != nil {
		t.Errorf("got %+v", c.wait())
	}
}

func TestAnswers(t *testing.T) {
	var c answers
	q := question{rcpt: "joe@example.org"}
	c.put(q, answer{code: 550})
	if _, ok := c.get(q); ok {
		t.Error("a refusal is remembered")
	}
	c.put(q, answer{ok: true, code: 250})
	if a, ok := c.get(q); !ok || a.code != 250 {
		t.Error("not remembered")
	}
	if _, ok := c.get(question{rcpt: "joe@example.org", relay: true}); ok {
		t.Error("another question gets the answer")
	}
	for i := range 2 * maxAnswers {
		c.put(question{rcpt: strconv.Itoa(i)}, answer{ok: true})
	}
	if len(c.m) > maxAnswers {
		t.Errorf("%d answers kept", len(c.m))
	}
	c.born = time.Now().Add(-2 * answerAge)
	if _, ok := c.get(question{rcpt: strconv.Itoa(2*maxAnswers - 1)}); ok {
		t.Error("remembered too long")
	}
}

func BenchmarkAsk(b *testing.B) {
	a := newAsker(slog.New(slog.DiscardHandler), source{command: fakeRouterCommand}, 1, 30*time.Second)
	defer a.close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !askRcpt(a, "joe@example.org").ok {
				b.Fatal("refused")
			}
		}
	})
}
