package watch

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func loadText(f *os.File, _ State) (*string, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(b, []byte("bad")) {
		return nil, errors.New("bad contents")
	}
	s := string(b)
	return &s, nil
}

// put writes a file whose last change lies far enough back to be settled.
func put(t *testing.T, path, text string, age time.Duration) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	when := time.Now().Add(-age)
	if err := os.Chtimes(tmp, when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, f *File[string], text string) {
	t.Helper()
	f.next.Store(0)
	got, err := f.Get()
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	if *got != text {
		t.Errorf("Get = %q, want %q", *got, text)
	}
}

func TestReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var log bytes.Buffer
	f := &File[string]{Path: path, Load: loadText, Log: slog.New(slog.NewTextHandler(&log, nil))}

	if _, err := f.Get(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v", err)
	}
	if _, err := f.Get(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file, within the interval: %v", err)
	}
	put(t, path, "one", time.Hour)
	want(t, f, "one")
	put(t, path, "two", time.Minute)
	if got, _ := f.Get(); *got != "one" {
		t.Error("looked at the disk within the interval")
	}
	want(t, f, "two")

	put(t, path, "bad", time.Second*30)
	want(t, f, "two")
	want(t, f, "two")
	if n := strings.Count(log.String(), "the old version stays"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
	if _, err := f.Check(); err == nil || err.Error() != "bad contents" {
		t.Errorf("Check = %v, want bad contents", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want(t, f, "two")
	put(t, path, "three", time.Second*20)
	want(t, f, "three")
	if f.Reloads() != 2 {
		t.Errorf("Reloads = %d, want 2", f.Reloads())
	}
}

func TestFreshFileSettles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := &File[string]{Path: path, Load: loadText, Interval: time.Hour}
	put(t, path, "one", 2*time.Hour)
	want(t, f, "one")
	put(t, path, "tw", 0)
	want(t, f, "one") // could be half of it
	put(t, path, "two", 0)
	want(t, f, "one") // changed again
	want(t, f, "two") // unchanged since the last look
}

func TestCheckDoesNotWait(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := &File[string]{Path: path, Load: loadText, Interval: time.Hour}
	put(t, path, "one", 2*time.Hour)
	want(t, f, "one")
	put(t, path, "two", 0)
	if got, err := f.Check(); err != nil || *got != "two" {
		t.Errorf("Check = %v, %v; want two", got, err)
	}
}

func TestOnlyRegularFiles(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, fifo, "/dev/null"} {
		f := &File[string]{Path: path, Load: loadText}
		if _, err := f.Get(); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

func TestConcurrentReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := &File[string]{Path: path, Load: loadText, Interval: time.Nanosecond}
	put(t, path, "v", time.Hour)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if s, err := f.Get(); err != nil || !strings.HasPrefix(*s, "v") {
					t.Errorf("Get = %v, %v", s, err)
					return
				}
			}
		})
	}
	for i := range 50 {
		put(t, path, "v"+strings.Repeat("x", i), time.Minute)
	}
	wg.Wait()
}

func BenchmarkGet(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		b.Fatal(err)
	}
	f := &File[string]{Path: path, Load: loadText}
	for b.Loop() {
		if _, err := f.Get(); err != nil {
			b.Fatal(err)
		}
	}
}
