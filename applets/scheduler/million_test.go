package scheduler

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// TestMillion measures a scheduler with a deep queue, in a process of its own:
//
//	SCHEDULER_MILLION=1000000 go test -run TestMillion -v -timeout 1h ./applets/scheduler
//
// fills a spool with that many deferred messages to 10,000 destinations.
func TestMillion(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("SCHEDULER_MILLION"))
	if err != nil || n <= 0 {
		t.Skip("set SCHEDULER_MILLION to the number of messages to measure")
	}
	in := newInstance(t)
	begin := time.Now()
	in.fillSpool(n, 10_000)
	t.Logf("filled in %.1f s", time.Since(begin).Seconds())

	begin = time.Now()
	fresh := in.queue(letter{from: "ann@a.test", to: []string{"fresh/b.test/joe"}})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "SCHEDULER_TEST_AGENT=scheduler", "ZCONFIG="+in.conf.File)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}()
	in.until("an answer", func() bool { return in.status() != nil })
	t.Logf("answers after %.2f s", time.Since(begin).Seconds())
	started := time.Now()
	now := in.queue(letter{from: "ann@a.test", to: []string{"fresh/c.test/joe"}})
	in.until("new mail", func() bool { return in.gone(now) })
	t.Logf("new mail is delivered %.2f s after the start", time.Since(started).Seconds())
	var worst time.Duration
	in.patiently("the scan", func() bool {
		asked := time.Now()
		st := in.status()
		worst = max(worst, time.Since(asked))
		return st.Scan.Scans > 0
	})
	t.Logf("%d messages scanned after %.1f s, status took at most %v", n, time.Since(started).Seconds(), worst)
	in.until("the other new message", func() bool { return in.gone(fresh) })
	t.Logf("resident memory %d MB", residentMB(t, cmd.Process.Pid))

	for range 3 {
		asked := time.Now()
		out := in.mailq("-ss")
		t.Logf("mailq -ss takes %v", time.Since(asked))
		if !strings.Contains(out, fmt.Sprintf("transport/  %d messages", n)) {
			t.Errorf("mailq -ss:\n%s", out)
		}
	}
	asked := time.Now()
	listed := in.countLines("--json")
	t.Logf("mailq --json: %d messages in %.1f s; resident memory %d MB", listed, time.Since(asked).Seconds(), residentMB(t, cmd.Process.Pid))
	if listed != n {
		t.Errorf("%d messages are listed, want %d", listed, n)
	}
	asked = time.Now()
	var deleted int
	in.ask(queuesock.Request{Op: queuesock.OpDelete, Select: queuesock.Selection{Sender: "sender1*"}}, func(a *queuesock.Answer) {
		deleted = a.Changed.Recipients
	})
	in.patiently("the files to go", func() bool { return in.status().Messages == n-deleted })
	t.Logf("%d messages deleted in %.1f s", deleted, time.Since(asked).Seconds())
}

// mailq runs mailq as a program.
func (in *instance) mailq(args ...string) string {
	in.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SCHEDULER_TEST_AGENT=mailq", "ZCONFIG="+in.conf.File)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		in.t.Fatalf("mailq %v: %v", args, err)
	}
	return string(out)
}

// countLines counts what mailq prints.
func (in *instance) countLines(args ...string) (n int) {
	in.t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "SCHEDULER_TEST_AGENT=mailq", "ZCONFIG="+in.conf.File)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n++
	}
	if err := cmd.Wait(); err != nil {
		in.t.Fatal(err)
	}
	return n
}

func (in *instance) patiently(what string, cond func() bool) {
	in.t.Helper()
	for end := time.Now().Add(20 * time.Minute); !cond(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			in.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (in *instance) ask(req queuesock.Request, each func(*queuesock.Answer)) {
	in.t.Helper()
	err := queuesock.Ask(context.Background(), in.spool, &req, func(a *queuesock.Answer) error {
		each(a)
		return nil
	})
	if err != nil {
		in.t.Fatal(err)
	}
}

// fillSpool writes n routed messages that were deferred, each with its own file.
func (in *instance) fillSpool(n, hosts int) {
	var wg sync.WaitGroup
	const writers = 8
	for w := range writers {
		wg.Go(func() {
			var scratch []byte
			for i := w; i < n; i += writers {
				if err := in.writeDeferred(i, hosts, &scratch); err != nil {
					in.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (in *instance) writeDeferred(i, hosts int, scratch *[]byte) error {
	id := spool.NewID()
	host := fmt.Sprintf("host%d.example", i%hosts)
	head := "from <sender@a.test>\nto <joe@" + host + ">\nenv-end\n"
	msg := head + "Subject: test\n\nhello\n"
	if err := os.WriteFile(in.spool.QueuePath(id), []byte(msg), 0o600); err != nil {
		return err
	}
	now := time.Now()
	c := &spool.Control{
		ID: id, Size: int64(len(msg)), HeaderOffset: int64(len(head)), BodyOffset: int64(len(msg) - 6), Arrival: now.Add(-time.Hour),
		MessageID: "<" + string(id) + "@a.test>", Config: "0123456789ab",
		Groups: []spool.Group{{
			Sender: spool.Hop{Channel: "smtp", User: fmt.Sprintf("sender%d@a.test", i%1000)},
			Header: []byte("Received: by mx.test\n\tid " + string(id) + "\nFrom: <ann@a.test>\nSubject: test\n\n"),
			Rcpts:  []spool.Rcpt{{Hop: spool.Hop{Channel: "smtp", Host: host, User: "joe@" + host}, Why: "cf/address.cf:92"}},
		}},
	}
	b := c.Append((*scratch)[:0])
	ev := spool.Event{Rcpts: []int{0}, At: now, Next: now.Add(2 * time.Hour), Result: dsn.Temp("4.4.1", "connect to %s: connection refused", host)}
	*scratch = b
	if err := os.WriteFile(in.spool.ControlPath(id), b, 0o600); err != nil {
		return err
	}
	return in.spool.AppendEvents(id, ev.Append(nil))
}

func residentMB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	mb := make(map[string]int)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[2] == "kB" {
			kb, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			mb[f[0]] = kb / 1024
		}
	}
	t.Logf("of %d MB resident %d are pages of the program", mb["VmRSS:"], mb["RssFile:"])
	return mb["VmRSS:"]
}
