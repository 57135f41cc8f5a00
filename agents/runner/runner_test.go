package runner

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"zmailer/agents/identity"
	"zmailer/spool/dsn"
)

func self() identity.Identity { return identity.Identity{UID: os.Getuid(), GID: os.Getgid()} }

func sh(text string) *Program {
	return &Program{Argv: []string{"/bin/sh", "-c", text}, Dir: "/", Env: NewEnv(), As: self(),
		Input: func(w io.Writer) error { _, err := io.WriteString(w, "the message\n"); return err }}
}

func TestArgv(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"/bin/true", []string{"/bin/true"}},
		{" /bin/echo a  b=c ", []string{"/bin/echo", "a", "b=c"}},
		{"/bin/echo 'a b'", []string{"/bin/sh", "-c", "/bin/echo 'a b'"}},
		{"/bin/echo $HOME", []string{"/bin/sh", "-c", "/bin/echo $HOME"}},
		{"exit 75", []string{"/bin/sh", "-c", "exit 75"}},
		{"procmail -t", []string{"/bin/sh", "-c", "procmail -t"}},
		{"", []string{"/bin/sh", "-c", ""}},
	} {
		if got := Argv(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestExitStatuses(t *testing.T) {
	permanent := map[int]string{65: "5.6.0", 67: "5.1.1", 68: "5.1.2", 69: "5.3.0", 77: "5.7.1"}
	codes := []int{0, 1, 2, 100, 126, 127, 255}
	for c := 64; c <= 78; c++ {
		codes = append(codes, c)
	}
	for _, code := range codes {
		r := sh(fmt.Sprintf("echo one; echo two >&2; exit %d", code)).Run(t.Context()).Result("x", 0)
		want := dsn.Deferred
		if code == 0 {
			want = dsn.OK
		} else if permanent[code] != "" {
			want = dsn.Failed
		}
		if r.Action != want || want == dsn.Failed && r.Status != permanent[code] || !dsn.ValidStatus(r.Status) || !strings.Contains(r.Text, "it said: one / two") {
			t.Errorf("exit %d: %+v", code, r)
		}
	}
}

func TestSignalAndMissing(t *testing.T) {
	if o := sh("kill -9 $$").Run(t.Context()); o.Signal != syscall.SIGKILL || o.Result("x", 0).Action != dsn.Deferred {
		t.Errorf("signal: %+v", o)
	}
	p := sh("")
	p.Argv = []string{"/nonexistent/program"}
	if r := p.Run(t.Context()).Result("x", 0); r.Action != dsn.Deferred {
		t.Errorf("missing: %+v", r)
	}
}

// The time limit ends the program and its children, whatever they ignore.
func TestTimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the grace period")
	}
	pids := t.TempDir() + "/pids"
	p := sh("trap '' TERM; (trap '' TERM; exec sleep 100) & echo $! $$ >" + pids + "; wait; sleep 100")
	p.Limit = 300 * time.Millisecond
	o := p.Run(t.Context())
	if r := o.Result("x", p.Limit); !o.Timeout || r.Action != dsn.Deferred || !strings.Contains(r.Text, "300ms") {
		t.Errorf("%+v", o)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	var child, parent int
	fmt.Sscan(string(b), &child, &parent)
	for _, pid := range []int{child, parent} {
		if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil && !strings.Contains(string(st), ") Z ") {
			// The kill was sent; give the kernel the time to do it.
			deadline := time.Now().Add(5 * time.Second)
			for syscall.Kill(pid, 0) == nil && time.Now().Before(deadline) {
				if st, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(st), ") Z ") {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if time.Now().After(deadline) {
				t.Errorf("process %d still runs", pid)
			}
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := sh("sleep 100")
	p.Input = func(io.Writer) error { cancel(); return nil }
	if o := p.Run(ctx); o.Err == nil || o.Timeout {
		t.Errorf("%+v", o)
	}
}

func TestInput(t *testing.T) {
	for _, size := range []int{0, 1, inMemory, inMemory + 1, 3 * inMemory} {
		p := sh("wc -c")
		p.Input = func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", size))
			return err
		}
		if o := p.Run(t.Context()); strings.TrimSpace(o.Output) != fmt.Sprint(size) {
			t.Errorf("%d bytes: %+v", size, o)
		}
	}
	// A program that reads nothing, and one that says too much.
	p := sh("exit 0")
	p.Input = func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<20)); return err }
	if o := p.Run(t.Context()); o.Code != 0 || o.Err != nil {
		t.Errorf("%+v", o)
	}
	if o := sh("yes a | head -c 1000000").Run(t.Context()); o.Code != 0 || len(o.Output) > maxReport {
		t.Errorf("%+v", o)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LEAK", "1")
	p := sh("env | sort; pwd")
	e := NewEnv()
	e.Set("SENDER", "a\x00b")
	e.Set("EMPTY", "")
	p.Env = e
	o := p.Run(t.Context())
	if strings.Contains(o.Output, "LEAK") || strings.Contains(o.Output, "EMPTY") {
		t.Errorf("environment: %s", o.Output)
	}
	p.Argv[2] = `test "$SENDER" = 'a?b'`
	if o := p.Run(t.Context()); o.Code != 0 {
		t.Errorf("SENDER: %+v", o)
	}
}

// A program may leave something running; it has ended all the same.
func TestBackground(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for the grace period")
	}
	pid := t.TempDir() + "/pid"
	o := sh("sleep 60 & echo $! >" + pid + "; echo done").Run(t.Context())
	if o.Code != 0 || o.Err != nil || o.Timeout || o.Output != "done" {
		t.Errorf("%+v", o)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	var n int
	fmt.Sscan(string(b), &n)
	if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
		t.Errorf("what was left behind is gone: %v", err)
	}
}

func TestCredentials(t *testing.T) {
	if os.Geteuid() != 0 {
		p := sh("true")
		p.As.UID++
		if r := p.Run(t.Context()).Result("x", 0); r.Action != dsn.Deferred {
			t.Errorf("another user without root: %+v", r)
		}
		t.Skip("the rest needs root")
	}
	p := sh("id -u; id -g; id -G")
	p.As = identity.Identity{UID: 3001, GID: 3002, Groups: []int{3002, 3003}}
	if o := p.Run(t.Context()); o.Output != "3001 / 3002 / 3002 3003" {
		t.Errorf("%+v", o)
	}
}

func TestParseLimits(t *testing.T) {
	want := Limits{CPU: time.Minute, Memory: 1 << 30, File: 500 << 20, Processes: 100}
	if l, err := ParseLimits("cpu=1m,memory=1G file=500M,processes=100"); err != nil || l != want {
		t.Errorf("%+v %v", l, err)
	}
	if l, err := ParseLimits(""); err != nil || l != (Limits{}) {
		t.Errorf("%+v %v", l, err)
	}
	for _, text := range []string{"cpu", "cpu=1", "cpu=1ms", "memory=", "memory=-1", "file=1MM", "file=x", "processes=0", "color=red", "memory=1T"} {
		if l, err := ParseLimits(text); err == nil {
			t.Errorf("%q: %+v", text, l)
		}
	}
}

// What the kernel does to a program that wants too much ends in a deferral.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, script string
		limits       Limits
		said         string
	}{
		{"all", "ulimit -t; ulimit -v; ulimit -f; exit 75", Limits{CPU: 30 * time.Second, Memory: 1 << 30, File: 1 << 20}, "30 / 1048576 / 2048"},
		{"cpu", "while :; do :; done", Limits{CPU: time.Second}, ""},
		{"file", "exec head -c 100000 /dev/zero >" + dir + "/big", Limits{File: 10 << 10}, ""},
		{"memory", "x=$(head -c 300000000 /dev/zero | tr '\\0' x) && exit 0; exit 75", Limits{Memory: 100 << 20}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := sh(tt.script)
			p.Limits, p.Limit = tt.limits, time.Minute
			o := p.Run(t.Context())
			if r := o.Result("x", 0); r.Action != dsn.Deferred || o.Err != nil || o.Timeout || !strings.Contains(o.Output, tt.said) {
				t.Errorf("%+v", o)
			}
		})
	}
	if st, err := os.Stat(dir + "/big"); err != nil || st.Size() > 10<<10 {
		t.Errorf("%v %v", st, err)
	}
	// Arguments, input and status pass the gate as they are.
	p := sh(`cat; printf '<%s>' "$@"; exit 67`)
	p.Argv = append(p.Argv, "sh", "a  b", "$c", "")
	p.Limits = Limits{Processes: 1000}
	if o := p.Run(t.Context()); o.Code != 67 || o.Output != "the message / <a  b><$c><>" {
		t.Errorf("%+v", o)
	}
	p.Argv = []string{"/nonexistent/program"}
	if r := p.Run(t.Context()).Result("x", 0); r.Action != dsn.Deferred {
		t.Errorf("missing: %+v", r)
	}
}
