package zlog

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func targets(t *testing.T, log, format, level string) Targets {
	t.Helper()
	list, err := ParseTargets(log, format, level)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestParseTargets(t *testing.T) {
	for _, tt := range []struct{ log, format, level, want string }{
		{"", "", "", "[file] false INFO"},
		{"journal file", "json", "debug", "[journal file] true DEBUG"},
		{"syslog:/tmp/log", "text", "warn", "[syslog:/tmp/log] false WARN"},
		{"syslog5424", "", "error", "[syslog5424] false ERROR"},
		{"jounal", "", "", "LOG=jounal: want file, stdout, journal, syslog or syslog5424"},
		{"file:/x", "", "", "LOG=file:/x: file takes no path"},
		{"journal:x", "", "", "LOG=journal:x: the path of a socket begins with /"},
		{"", "xml", "", "LOGFORMAT=xml: want text or json"},
		{"", "", "loud", "LOGLEVEL=loud: want debug, info, warn or error"},
	} {
		got, err := ParseTargets(tt.log, tt.format, tt.level)
		text := fmt.Sprint(got.names, got.json, got.level)
		if err != nil {
			text = err.Error()
		}
		if text != tt.want {
			t.Errorf("%q %q %q: %s, want %s", tt.log, tt.format, tt.level, text, tt.want)
		}
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func eventually(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": not within 10 seconds")
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "router")
	log, out, err := Open(Config{Applet: "router", Path: path, Targets: targets(t, "", "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log.Info("routed", "spoolid", "A1", "to", "joe jr")
	if got := content(t, path); !strings.HasSuffix(got, "level=INFO msg=routed applet=router spoolid=A1 to=\"joe jr\"\n") {
		t.Errorf("a single line is not there at once: %q", got)
	}
	log.Debug("not seen")
	for i := range 100 {
		log.Info("line", "n", i)
	}
	eventually(t, "lines that came together", func() bool { return strings.Count(content(t, path), "\n") == 101 })
	log.Info("before an error")
	log.Error("broken", "err", errors.New("no disk"))
	if got := content(t, path); !strings.Contains(got, "before an error") || !strings.HasSuffix(got, "err=\"no disk\"\n") {
		t.Errorf("an error is not written at once: %q", got)
	}

	// Rotation: by the signal, and by Reopen.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	log.Info("still old")
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	eventually(t, "reopened", func() bool { _, err := os.Stat(path); return err == nil })
	log.Info("new")
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if old, fresh := content(t, path+".1"), content(t, path); !strings.Contains(old, "still old") || !strings.Contains(fresh, "msg=new") {
		t.Errorf("old %q\nnew %q", old, fresh)
	}
}

// TestFileWrites counts the writes of many lines, by a file that shows each: a
// datagram for every write.
func TestFileWrites(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET, 0)
	if err != nil {
		t.Fatal(err)
	}
	lf := &file{f: os.NewFile(uintptr(fds[0]), "w")}
	r := os.NewFile(uintptr(fds[1]), "r")
	defer r.Close()
	const n = 500
	for range n {
		fmt.Fprintln(lf, "a line of a log")
	}
	lf.Close()
	writes, lines, buf := 0, 0, make([]byte, 64<<10)
	for lines < n {
		got, err := r.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		writes++
		lines += strings.Count(string(buf[:got]), "\n")
	}
	if writes > n/10 {
		t.Errorf("%d lines took %d writes", n, writes)
	}
}

func TestJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scheduler")
	log, out, err := Open(Config{Applet: "scheduler", Path: path, Targets: targets(t, "file", "json", "debug")})
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("delivered", "spoolid", "A1", "delay", 1500*time.Millisecond, "err", errors.New("x\ny"))
	out.Close()
	var line map[string]any
	if err := json.Unmarshal([]byte(content(t, path)), &line); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{"level": "DEBUG", "msg": "delivered", "applet": "scheduler", "spoolid": "A1", "delay": 1.5, "err": "x\ny"} {
		if line[key] != want {
			t.Errorf("%s: %v, want %v", key, line[key], want)
		}
	}
}

// TestFull loses lines to a full disk, and says so when there is room.
func TestFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full:", err)
	}
	path := filepath.Join(t.TempDir(), "log")
	log, out, err := Open(Config{Applet: "router", Path: path, Targets: targets(t, "", "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	lf := out.files[0]
	lf.mu.Lock()
	room := lf.f
	lf.f = full
	lf.mu.Unlock()
	log.Error("lost")
	log.Error("lost, too")
	lf.mu.Lock()
	lf.f = room
	lf.mu.Unlock()
	full.Close()
	log.Error("seen")
	log.Error("seen, too")
	out.Close()
	if got := content(t, path); !strings.Contains(got, `msg="log lines lost" applet=router count=2`) {
		t.Errorf("log: %q", got)
	}
}

func TestAlso(t *testing.T) {
	var copy strings.Builder
	log, out, err := Open(Config{Applet: "router", Path: filepath.Join(t.TempDir(), "log"), Also: &copy})
	if err != nil {
		t.Fatal(err)
	}
	log.With("spoolid", "A1").WithGroup("g").Info("routed", "n", 1)
	out.Close()
	if !strings.Contains(copy.String(), "msg=routed applet=router spoolid=A1 g.n=1") {
		t.Errorf("copy: %q", copy.String())
	}
}

func BenchmarkFile(b *testing.B) {
	log, out, err := Open(Config{Applet: "router", Path: filepath.Join(b.TempDir(), "log")})
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "routed", slog.String("spoolid", "CR8HTQ22B6TWNW16"), slog.String("to", "joe@example.org"))
	}
}
