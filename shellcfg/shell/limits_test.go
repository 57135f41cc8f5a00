package shell

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestLimits: whatever a script does, it ends, with the place in the error.
func TestLimits(t *testing.T) {
	opts := Options{Fuel: 20000, MaxOutput: 1 << 20}
	for name, c := range map[string]struct {
		script string
		want   error
	}{
		"endless while":     {"f() { while :; do :; done; }", ErrFuel},
		"endless until":     {"f() { until false; do :; done; }", ErrFuel},
		"endless for":       {"f() { for ((;;)); do :; done; }", ErrFuel},
		"empty for":         {"f() { for ((;;)); do { }; done 2>/dev/null; }", nil},
		"recursion":         {"f() { f; }", ErrDepth},
		"mutual recursion":  {"f() { g; }\ng() { f; }", ErrDepth},
		"recursion in $()":  {"f() { x=$(f); }", ErrDepth},
		"recursion in pipe": {"f() { f | f; }", ErrDepth},
		"eval recursion":    {"f() { eval f; }", nil},
		"output":            {"f() { x=$(while :; do printf '%1000s' x; done); }", ErrOutput},
		"pipe":              {"f() { while :; do printf '%1000s\n' x; done | cat; }", ErrOutput},
		"doubling":          {"f() { x=x; while :; do x=$x$x; done; }", ErrOutput},
		"doubling +=":       {"f() { x=x; while :; do x+=$x; done; }", ErrOutput},
		"doubling replace":  {"f() { x=x; while :; do x=${x//x/xx}; done; }", ErrOutput},
		"array":             {"f() { a=(x); while :; do a=(\"${a[@]}\" \"${a[@]}\"); done; }", ErrFuel},
		"params":            {"f() { set -- x; while :; do set -- \"$@\" \"$@\"; done; }", ErrFuel},
		"many words":        {"f() { x='a b c d e f g h'; while :; do x=\"$x $x\"; set -- $x; done; }", nil},
		"log":               {"f() { while :; do printf '%4000s\n' x >&2; done; }", ErrOutput},
		"printf":            {"f() { set -- $(printf '%0100000d' 0); printf \"%4000s%4000s%4000s\" \"$@\" \"$@\"; f; }", nil},
		"quadratic":         {"f() { x=$(printf '%04000d' 0); x=$x$x$x$x$x$x$x$x; x=$x$x$x$x; while :; do y=${x//0*1/}; done; }", ErrFuel},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load(context.Background(), opts, "limit.cf", strings.NewReader(c.script+"\n"))
			if err != nil {
				if c.want != nil {
					t.Fatal(err)
				}
				return
			}
			s := p.Session(context.Background(), nil)
			defer s.Close()
			_, err = s.Call("f")
			var e *Error
			if !errors.As(err, &e) || e.Pos.File != "limit.cf" || e.Pos.Line == 0 {
				t.Fatalf("error %v", err)
			}
			if c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	p := load(t, Options{Depth: 12}, "a() {\n\tb\n}\nb() {\n\techo x; \"$nope\"\n}\nr() { r; }\n")
	s := session(t, p)
	_, err := s.Call("a")
	want := `test.cf:5:10: unknown command "", in b called at test.cf:2, in a called at test.cf`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = s.Call("r")
	if err == nil || !strings.HasSuffix(err.Error(), "and 4 more") {
		t.Errorf("%v", err)
	}
}

func TestTimeout(t *testing.T) {
	p := load(t, Options{Fuel: 1 << 40}, "f() { while :; do :; done; }\n")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	s := p.Session(ctx, nil)
	defer s.Close()
	if _, err := s.Call("f"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := s.Call("f"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("second call:", err)
	}
}

func external() Options {
	return Options{External: true, Vars: map[string]string{"PATH": "/usr/bin:/bin"}}
}

func TestExternal(t *testing.T) {
	p := load(t, external(), `
export SHOWN=1; HIDDEN=2
f() { sh -c 'echo "$SHOWN${HIDDEN-}$1"; cat; echo err >&2; exit 3' x arg <<< in 2>/dev/null; }
g() { echo a | sed s/a/b/ | cat; }
h() { env; }
k() { sh -c 'kill -9 $$'; }
n() { nosuchprogram; }
r() { ./relative; }
`)
	s := session(t, p)
	if out, st, err := s.Output("f"); out != "1arg\nin" || st != 3 || err != nil {
		t.Errorf("%q %d %v", out, st, err)
	}
	if out := output(t, s, "g"); out != "b" {
		t.Error(out)
	}
	if out := output(t, s, "h"); out != "SHOWN=1" {
		t.Errorf("environment: %q", out)
	}
	if st, err := s.Call("k"); st != 137 || err != nil {
		t.Error(st, err)
	}
	for _, fn := range []string{"n", "r"} {
		if _, err := s.Call(fn); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
	}
}

// TestExternalHangs: a program that hangs is killed with everything it started.
func TestExternalHangs(t *testing.T) {
	dir := t.TempDir()
	opts := external()
	opts.Vars["pidfile"] = filepath.Join(dir, "pid")
	p := load(t, opts, `f() { sh -c 'sleep 1000 & echo $! >"$0.tmp"; mv "$0.tmp" "$0"; wait' "$pidfile"; }`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // as soon as the grandchild is there
		for {
			if _, err := os.Stat(opts.Vars["pidfile"]); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	s := p.Session(ctx, nil)
	defer s.Close()
	if _, err := s.Call("f"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(opts.Vars["pidfile"])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
}

// gone tells whether a process has ended; a zombie nobody reaps counts.
func gone(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestExternalOutputBound(t *testing.T) {
	opts := external()
	opts.MaxOutput = 10000
	p := load(t, opts, "f() { x=$(yes); }\n")
	if _, err := session(t, p).Call("f"); !errors.Is(err, ErrOutput) {
		t.Error(err)
	}
}

// TestExternalLeavesChild: a program that ends but leaves a child behind that
// holds its output open is an error, and the child is killed.
func TestExternalLeavesChild(t *testing.T) {
	t.Parallel()
	opts := external()
	p := load(t, opts, `f() { sh -c 'sleep 1000 & echo $!'; }`)
	s := session(t, p)
	out, _, err := s.Output("f")
	if err == nil || !strings.Contains(err.Error(), "test.cf:1:") {
		t.Fatalf("%q %v", out, err)
	}
	pid, err := strconv.Atoi(out)
	if err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !gone(pid) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child lives on")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestExternalBoth: output and errors of a program come at the same time.
func TestExternalBoth(t *testing.T) {
	opts := external()
	var mu sync.Mutex
	n := 0
	opts.Log = func(Position, string) {
		mu.Lock()
		defer mu.Unlock()
		n++
	}
	s := session(t, load(t, opts, "f() { sh -c 'i=0; while [ $i -lt 500 ]; do echo out; echo err >&2; i=$((i+1)); done'; }\n"))
	if out := output(t, s, "f"); strings.Count(out, "out") != 500 || n != 500 {
		t.Errorf("%d and %d lines", strings.Count(out, "out"), n)
	}
}

func TestNoFile(t *testing.T) {
	for err, want := range map[error]bool{syscall.ENOENT: true, syscall.EACCES: true, syscall.ENAMETOOLONG: true, syscall.EIO: false, syscall.ESTALE: false, syscall.ENOMEM: false} {
		if got := noFile(&os.PathError{Op: "stat", Path: "/x", Err: err}); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}
