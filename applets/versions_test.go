package applets

import (
	"fmt"
	"io"
	"net/smtp"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// versionsCmd changes a table and the policy while mail comes in over sessions that
// stay open: versions N. Each of the N rounds writes db/virtual and router.cf in the
// way of the script's files, with %v for the round, and waits until mail shows both.
// Every recipient that reaches the sink bears the version of the table and of the
// policy that decided about it; those of one message must be the same, no session may
// break, and all mail that was accepted must arrive.
func versionsCmd(ts *testscript.TestScript, neg bool, args []string) {
	var rounds int
	if _, err := fmt.Sscan(args[0], &rounds); err != nil {
		ts.Fatalf("usage: versions ROUNDS")
	}
	v := &versions{ts: ts, etc: ts.Getenv("ETC"), sink: filepath.Join(ts.Getenv("WORK"), "sink"), seen: make(map[string]int)}
	v.write("db/virtual", "virtual", 1)
	v.write("router.cf", "policy", 1)
	ts.Check(ts.Exec("zmailer", "reload"))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	const sessions = 4
	errs := make(chan error, sessions)
	for n := range sessions {
		wg.Go(func() { errs <- v.session(ts.Getenv("PORT"), n, stop) })
	}
	v.await("t1.p1")
	for i := 2; i <= rounds; i++ {
		v.write("db/virtual", "virtual", i)
		if i%2 == 1 { // the other half is asked as it stands
			ts.Check(ts.Exec("zmailer", "newdb"))
		}
		v.await(fmt.Sprintf("t%d.p%d", i, i-1))
		v.write("router.cf", "policy", i)
		if i%2 == 0 { // the other half is noticed by the router itself
			ts.Check(ts.Exec("zmailer", "reload"))
		}
		v.await(fmt.Sprintf("t%d.p%d", i, i))
	}
	close(stop)
	wg.Wait()
	for range sessions {
		ts.Check(<-errs)
	}
	for deadline := time.Now().Add(30 * time.Second); v.arrived() < int(v.sent.Load()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%d messages were accepted, %d arrived", v.sent.Load(), v.arrived())
		}
	}
	ts.Logf("%d messages over %d sessions, by version: %v", v.sent.Load(), sessions, v.seen)
	if v.bad != "" {
		ts.Fatalf("a message under two versions:\n%s", v.bad)
	}
}

type versions struct {
	ts        *testscript.TestScript
	etc, sink string
	sent      atomic.Int64
	read      int            // files of the sink
	seen      map[string]int // messages by version
	bad       string
}

// write replaces a file of the configuration at once, as an administrator should.
func (v *versions) write(name, template string, round int) {
	text := strings.ReplaceAll(v.ts.ReadFile(template), "%v", fmt.Sprint(round))
	path := filepath.Join(v.etc, name)
	v.ts.Check(os.WriteFile(path+".new", []byte(text), 0o644))
	v.ts.Check(os.Rename(path+".new", path))
}

// session sends messages over one connection until stop is closed.
func (v *versions) session(port string, n int, stop <-chan struct{}) error {
	c, err := smtp.Dial("127.0.0.1:" + port)
	if err != nil {
		return err
	}
	defer c.Close()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return c.Quit()
		case <-time.After(5 * time.Millisecond):
		}
		if err := c.Mail("joe@mx.test"); err != nil {
			return fmt.Errorf("session %d, message %d: %w", n, i, err)
		}
		for _, user := range []string{"a", "b", "c", "d"} {
			if err := c.Rcpt(user + "@virtual.test"); err != nil {
				return fmt.Errorf("session %d, message %d: %w", n, i, err)
			}
		}
		w, err := c.Data()
		if err == nil {
			_, err = io.WriteString(w, fmt.Sprintf("Subject: %d.%d\r\n\r\nx\r\n", n, i))
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return fmt.Errorf("session %d, message %d: %w", n, i, err)
		}
		v.sent.Add(1)
	}
}

// decided finds the recipients of a message in the sink, a@t1.p1.test.
var decided = regexp.MustCompile(`RCPT TO:<([a-d])@(t[0-9]+\.p[0-9]+)\.test>`)

// arrived reads what is new in the sink, and returns how many messages there are.
func (v *versions) arrived() int {
	for ; ; v.read++ {
		b, err := os.ReadFile(filepath.Join(v.sink, fmt.Sprintf("%04d", v.read+1)))
		if err != nil || !strings.Contains(string(b), "\n\nx\n") { // not there, or not written to the end
			return v.read
		}
		rcpts := decided.FindAllStringSubmatch(string(b), -1)
		for _, m := range rcpts {
			if m[2] != rcpts[0][2] {
				v.bad = string(b)
			}
		}
		if len(rcpts) != 4 {
			v.bad = string(b)
		} else {
			v.seen[rcpts[0][2]]++
		}
	}
}

// await waits until a message under a version has arrived.
func (v *versions) await(version string) {
	for deadline := time.Now().Add(30 * time.Second); v.seen[version] == 0; time.Sleep(10 * time.Millisecond) {
		if v.arrived(); time.Now().After(deadline) {
			v.ts.Fatalf("no message under version %s: %v", version, v.seen)
		}
	}
}
