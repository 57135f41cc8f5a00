package queue

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
	"zmailer/spool/proc"
)

func logDir(in *instance) string { return filepath.Dir(os.Getenv("ZCONFIG")) }

func TestTrace(t *testing.T) {
	in := newInstance(t)
	id, report, other := string(spool.NewID()), string(spool.NewID()), string(spool.NewID())
	write := func(name string, lines ...string) {
		t.Helper()
		text := []byte(strings.Join(lines, "\n") + "\n")
		if strings.HasSuffix(name, ".gz") {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			if _, err := w.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			text = b.Bytes()
		}
		if err := os.WriteFile(filepath.Join(logDir(in), name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("scheduler.1",
		"time=2026-11-25T04:00:02.000Z level=INFO msg=deferred applet=scheduler spoolid="+id+` to=joe@b.test text="said \"later\""`,
		"time=2026-11-25T04:00:02.500Z level=INFO msg=delivered applet=scheduler spoolid="+other+" to=x@b.test")
	write("router.2.gz", "time=2026-11-25T04:00:01.000Z level=INFO msg=message applet=router spoolid="+id+" msgid=<m1@a.test> size=10")
	write("scheduler",
		"time=2026-11-25T04:00:03.000Z level=INFO msg=report applet=scheduler spoolid="+id+" action=failure msgid="+report+" to=ann@a.test",
		strings.Repeat("x", 3*maxLogLine), "\x00garbage")
	write("smtpserver", "time=2026-11-25T04:00:00.000Z level=WARN msg=accepted applet=smtpserver spoolid="+id)
	write("router", "time=2026-11-25T04:00:04.000Z level=INFO msg=message applet=router spoolid="+report+" msgid=<r1@mx.test>")
	write("broken.gz", "x")
	if err := os.WriteFile(filepath.Join(logDir(in), "broken.gz"), []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arg := range []string{id, strings.ToLower(id), "<m1@a.test>", "m1@a.test"} {
		out, err := in.run("trace", arg)
		if err != nil {
			t.Fatalf("trace %s: %v", arg, err)
		}
		last := -1
		for _, want := range []string{"smtpserver WARN accepted", "router     message", `text=said "later"`, "action=failure", "msgid=<r1@mx.test>"} {
			at := strings.Index(out, want)
			if at <= last {
				t.Errorf("trace %s: %q is missing or not in order:\n%s", arg, want, out)
			}
			last = at
		}
		if strings.Contains(out, other) {
			t.Errorf("trace %s: a line of another message:\n%s", arg, out)
		}
		if !strings.Contains(out, "broken.gz") {
			t.Errorf("trace %s: a file that cannot be read is not named", arg)
		}
	}
	out, err := in.run("trace", "--json", id)
	n := 0
	for line := range strings.Lines(out) {
		var l LogLine
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg != "" && !l.Time.IsZero() {
			n++
		}
	}
	if err != nil || n != 5 {
		t.Errorf("%d lines of JSON, %v:\n%s", n, err, out)
	}
	if _, err := in.run("trace", string(spool.NewID())); proc.Code(err) != proc.NoInput {
		t.Errorf("unknown message: %v", err)
	}
	for _, arg := range []string{"nonsense", "<>"} {
		if _, err := in.run("trace", arg); proc.Code(err) != proc.Usage {
			t.Errorf("trace %s: %v", arg, err)
		}
	}
}

// TestTraceSkips: logs that ended before the message came are not read.
func TestTraceSkips(t *testing.T) {
	in := newInstance(t)
	id := spool.NewID()
	path := filepath.Join(logDir(in), "old")
	if err := os.WriteFile(path, []byte("time=2026-11-25T04:00:00Z msg=x spoolid="+string(id)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	tr, err := newTracer(string(id))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.search(context.Background(), logDir(in)); err != nil || len(tr.lines) != 0 {
		t.Errorf("%d lines, %v", len(tr.lines), err)
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add(`time=2026-11-25T04:00:02.000Z level=INFO msg="a b" spoolid=CR8H6M22HBRX5RRA text="x\"y" =`)
	f.Add("a=\"\\\x00 =b")
	f.Fuzz(func(t *testing.T, line string) {
		tr, err := newTracer("x@y")
		if err != nil {
			t.Fatal(err)
		}
		tr.enter("log", line)
	})
}
