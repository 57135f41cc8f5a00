package proc

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestGetopt(t *testing.T) {
	type opt struct {
		letter byte
		value  string
	}
	const spec = "bf:io:q::tv"
	for _, tt := range []struct {
		args []string
		opts []opt
		rest []string
		code int
	}{
		{[]string{"-tiv", "joe"}, []opt{{'t', ""}, {'i', ""}, {'v', ""}}, []string{"joe"}, 0},
		{[]string{"-fjoe@x", "-f", "ann"}, []opt{{'f', "joe@x"}, {'f', "ann"}}, nil, 0},
		{[]string{"-q", "joe@x"}, []opt{{'q', ""}}, []string{"joe@x"}, 0},
		{[]string{"-q15m"}, []opt{{'q', "15m"}}, nil, 0},
		{[]string{"-f", ""}, []opt{{'f', ""}}, nil, 0},
		{[]string{"-oem", "joe"}, []opt{{'o', "em"}}, []string{"joe"}, 0},
		{[]string{"-i", "--", "-t"}, []opt{{'i', ""}}, []string{"-t"}, 0},
		{[]string{"-", "-t"}, nil, []string{"-", "-t"}, 0},
		{[]string{"-f"}, nil, nil, Usage},
		{[]string{"-Z"}, nil, nil, Usage},
		{[]string{"-:"}, nil, nil, Usage},
	} {
		g := NewGetopt(spec, tt.args)
		var opts []opt
		for g.Next() {
			opts = append(opts, opt{g.Opt, g.Value})
		}
		if Code(g.Err()) != tt.code {
			t.Errorf("%q: error %v, want status %d", tt.args, g.Err(), tt.code)
		}
		if tt.code == 0 && (!reflect.DeepEqual(opts, tt.opts) || len(g.Args()) != len(tt.rest) || len(tt.rest) > 0 && !reflect.DeepEqual(g.Args(), tt.rest)) {
			t.Errorf("%q: got %v %q", tt.args, opts, g.Args())
		}
	}
}

func TestPidFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pid")
	if pid, err := Running(path); pid != 0 || err != nil {
		t.Fatalf("without a file: %d, %v", pid, err)
	}
	p, err := LockPidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err := Running(path); pid != os.Getpid() || err != nil {
		t.Fatalf("locked: %d, %v", pid, err)
	}
	var running *ErrRunning
	if _, err := LockPidFile(path); !errors.As(err, &running) || running.Pid != os.Getpid() {
		t.Fatalf("second lock: %v", err)
	}
	// Nobody else may open it: who can, can lock it for ever.
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if pid := holder(path); pid != os.Getpid() && pid != 0 {
		t.Errorf("held by %d, not by %d", pid, os.Getpid())
	}
	p.Close()
	if pid := holder(path); pid != 0 {
		t.Errorf("released, and held by %d", pid)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if p, err = LockPidFile(path); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode of an old file %v, %v", st.Mode(), err)
	}
	p.Close()
	if pid, _ := Running(path); pid != 0 {
		t.Fatalf("released: still %d", pid)
	}
}

func FuzzGetopt(f *testing.F) {
	f.Add("-tf", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		g := NewGetopt("bf:io:q::tv", []string{a, b})
		for n := 0; g.Next(); n++ {
			if n > len(a)+len(b) {
				t.Fatal("does not end")
			}
		}
	})
}

// TestPidFileProbed: who looks whether a daemon runs does not keep it from its start.
func TestPidFileProbed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	first, err := LockPidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	first.Close()
	probe, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(probe.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { probe.Close() })
	second, err := LockPidFile(path)
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}
