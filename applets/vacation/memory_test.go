package vacation

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A clock that tests turn.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newMemory(t *testing.T) (*memory, *clock) {
	c := &clock{time.Unix(1_700_000_000, 0)}
	return &memory{path: filepath.Join(t.TempDir(), "memory"), interval: -1, usual: week, now: c.now}, c
}

// ask opens the memory and, if it is silent about the sender, notes an answer.
func (m *memory) ask(t testing.TB, key string) (answered bool) {
	t.Helper()
	b, err := m.open()
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	if b.silence(key) != "" {
		return false
	}
	if err := b.note(key); err != nil {
		t.Fatal(err)
	}
	return true
}

func TestInterval(t *testing.T) {
	m, c := newMemory(t)
	for _, step := range []struct {
		ahead    time.Duration
		key      string
		answered bool
	}{
		{0, "ann@x", true}, {0, "ann@x", false}, {0, "bob@x", true},
		{week - time.Second, "ann@x", false}, {time.Second, "ann@x", true}, {time.Hour, "ann@x", false},
		{-2 * time.Hour, "ann@x", false}, // a clock that was put back a little
		{-2 * week, "ann@x", true},       // and one that had been wrong
	} {
		c.t = c.t.Add(step.ahead)
		if got := m.ask(t, step.key); got != step.answered {
			t.Errorf("%v: %s answered: %v", c.t, step.key, got)
		}
	}
}

func TestIntervals(t *testing.T) {
	day := 24 * time.Hour
	for _, tt := range []struct {
		stored, given, usual, want time.Duration
	}{
		{-1, -1, week, week}, {-1, -1, day, day}, {3 * day, -1, week, 3 * day}, {3 * day, day, week, day},
		{forever, -1, week, forever}, {-1, 0, week, 0}, {0, -1, week, 0},
	} {
		m, _ := newMemory(t)
		if err := m.reset(tt.stored); err != nil {
			t.Fatal(err)
		}
		m.interval, m.usual = tt.given, tt.usual
		b, err := m.open()
		if err != nil {
			t.Fatal(err)
		}
		if b.interval != tt.want {
			t.Errorf("%+v: %v", tt, b.interval)
		}
		b.close()
	}
	for text, want := range map[string]time.Duration{
		"0": 0, "7": week, "30s": 30 * time.Second, "2m": 2 * time.Minute, "1h": time.Hour, "1d": day, "2w": 2 * week,
		"infinite": forever, "99999999999999999999": forever,
	} {
		if d, err := parseInterval(text); d != want || err != nil {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "3x", "1.5", "3dd"} {
		if d, err := parseInterval(text); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

func TestExclude(t *testing.T) {
	m, _ := newMemory(t)
	if err := m.exclude(strings.NewReader("Ann@x.example\n\n# a comment\n@y.example\nbad line\n")); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]bool{
		"ann@x.example": false, "bob@x.example": true, "bob@y.example": false, "bob@sub.y.example": false, "bob@ay.example": true, "bob": true,
	} {
		if got := m.ask(t, key); got != want {
			t.Errorf("%s answered: %v", key, got)
		}
	}
	if err := m.reset(-1); err != nil {
		t.Fatal(err)
	}
	if m.ask(t, "ann@x.example") || !m.ask(t, "bob@x.example") {
		t.Error("reset forgets exclusions, or keeps answers")
	}
	var out bytes.Buffer
	if err := m.list(&out); err != nil || !strings.Contains(out.String(), "never\n") || !strings.Contains(out.String(), "bob@x.example ") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestTornMemory(t *testing.T) {
	m, _ := newMemory(t)
	m.ask(t, "ann@x")
	f, err := os.OpenFile(m.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("1700000000 bob")
	f.Close()
	for _, step := range []struct {
		key      string
		answered bool
	}{{"bob@x", true}, {"bob@x", false}, {"ann@x", false}} {
		if got := m.ask(t, step.key); got != step.answered {
			t.Errorf("%s answered: %v", step.key, got)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, text := range []string{"\x00\x05\x31\x62", "vacation 1 ", "hello\nworld\n", "\n"} {
		m, _ := newMemory(t)
		if err := os.WriteFile(m.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := m.open(); !errors.Is(err, errForeign) {
			t.Errorf("%q: %v", text, err)
		}
		if err := m.reset(-1); !errors.Is(err, errForeign) {
			t.Errorf("%q: reset: %v", text, err)
		}
		if b, _ := os.ReadFile(m.path); string(b) != text {
			t.Errorf("%q became %q", text, b)
		}
	}
	m, _ := newMemory(t)
	if err := os.Symlink(filepath.Join(t.TempDir(), "x"), m.path); err != nil {
		t.Fatal(err)
	}
	if _, err := m.open(); err == nil {
		t.Error("a symbolic link was followed")
	}
}

func TestCompact(t *testing.T) {
	m, c := newMemory(t)
	m.interval = 0 // every message is answered
	for i := range 3 * spare {
		if i == spare {
			c.t = c.t.Add(2 * week)
		}
		if !m.ask(t, fmt.Sprintf("user%d@x", i%7)) {
			t.Fatalf("%d: not answered", i)
		}
	}
	b, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(b, []byte("\n")); n > spare+20 {
		t.Errorf("%d lines", n)
	}
	if !bytes.HasPrefix(b, []byte(magic+"-\n")) {
		t.Errorf("%.40q", b)
	}
}

// Of messages at the same time, one is answered.
func TestConcurrent(t *testing.T) {
	h := newHome(t)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := vacation(from+toMe+"\n", "joe"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(h.answers()); n != 1 {
		t.Errorf("%d answers", n)
	}
}

func FuzzMemory(f *testing.F) {
	f.Add([]byte("vacation 1 -\n1 a@b\n! @c\nx"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, _ := newMemory(t)
		if err := os.WriteFile(m.path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := m.open()
		if err != nil {
			return
		}
		if err := b.note("ann@x"); err != nil {
			t.Fatal(err)
		}
		b.close()
		if b.interval > 0 && m.ask(t, "ann@x") {
			t.Error("forgot")
		}
	})
}
