package counters

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestText(t *testing.T) {
	var s Set
	ok := s.Counter("mail_total", "Messages", "result", "ok")
	bad := s.Counter("mail_total", "Messages", "result", `b"ad`)
	s.Gauge("sessions", "Sessions now", func() int64 { return 7 })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				ok.Inc()
			}
		})
	}
	wg.Wait()
	bad.Add(3)
	want := `# HELP zmailer_mail_total Messages.
# TYPE zmailer_mail_total counter
zmailer_mail_total{result="ok"} 8000
zmailer_mail_total{result="b\"ad"} 3
# HELP zmailer_sessions Sessions now.
# TYPE zmailer_sessions gauge
zmailer_sessions 7
`
	if got := string(s.Append(nil)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for line := range strings.Lines(want) {
		if !sound(line) {
			t.Errorf("refused: %s", line)
		}
	}
}

// TestKeep: the file follows the counters, is there when the process has ended with
// the last numbers, and is not written when nothing has happened.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Set
		c := s.Counter("x_total", "X")
		path := filepath.Join(t.TempDir(), "x.metrics")
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Keep(ctx, path, slog.New(slog.DiscardHandler))
		}()
		has := func(want string) {
			t.Helper()
			if b, err := Read(path); err != nil || !strings.Contains(string(b), want) {
				t.Errorf("%q, %v: want %q", b, err, want)
			}
		}
		synctest.Wait()
		has("zmailer_x_total 0\n")
		first, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if st, err := os.Stat(path); err != nil || !os.SameFile(first, st) {
			t.Errorf("written although nothing has changed: %v", err)
		}
		c.Add(5)
		time.Sleep(writeEvery)
		synctest.Wait()
		has("zmailer_x_total 5\n")
		c.Inc()
		stop()
		<-done
		has("zmailer_x_total 6\n")
	})
}

// TestReadHostile: what somebody else puts in place of the file does no harm.
func TestReadHostile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.metrics")
	if err := os.Symlink("/etc/passwd", path); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path); err == nil {
		t.Errorf("followed a link: %q", b)
	}
	if _, err := Read(dir); err == nil {
		t.Error("read a directory")
	}
	text := "zmailer_a 1\nother 2\n# HELP other x\nzmailer_b many\nzmailer_c\x1b[2J 3\nzmailer_d 4"
	os.Remove(path)
	if err := os.WriteFile(path, []byte(text+strings.Repeat("x", 2*maxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := Read(path); err != nil || string(b) != "zmailer_a 1\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func BenchmarkInc(b *testing.B) {
	var s Set
	c := s.Counter("x_total", "X")
	for b.Loop() {
		c.Inc()
	}
}
