package protocol

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// FuzzServe is the agent's end: whatever the scheduler says, every recipient of every
// job that can be read gets one answer, and the first line that cannot be read is the
// end.
func FuzzServe(f *testing.F) {
	id := string(spool.NewID())
	f.Add("job\t1\t" + id + "\tsmtp\tb.test\t0\n")
	f.Add("job\t1\t" + id + "\tsmtp\tb.test\t0,3,3\njob\t2\t" + id + "\tlocal\t\t1\nnonsense\n")
	f.Add("job\t1\t" + id + "\tsmtp\tb.test\t0")
	f.Add("job\t18446744073709551616\t" + id + "\t\\x00\t\\t\t-1\n")
	s := &spool.Spool{Root: f.TempDir()}
	f.Fuzz(func(t *testing.T, text string) {
		want := make(map[Report]bool)
		jobs := 0
		for line := range strings.Lines(text) {
			line, whole := strings.CutSuffix(line, "\n")
			job, err := ParseJob(line)
			if !whole || err != nil || len(line) >= MaxLine {
				break
			}
			jobs++
			for _, n := range job.Rcpts {
				want[Report{Job: job.Number, Rcpt: n}] = true
			}
		}
		var out bytes.Buffer
		a := &Agent{Spool: s, Capacity: 3, Deliver: func(_ context.Context, d *Delivery) { d.ReportAll(dsn.Success("2.0.0", "ok")) }}
		_ = Serve(t.Context(), a, strings.NewReader(text), &out) // what cannot be read is an error
		hungry := 0
		for line := range strings.Lines(out.String()) {
			switch said := ParseSaid(strings.TrimSuffix(line, "\n")); said.Kind {
			case Hungry:
				hungry++
			case Result:
				delete(want, Report{Job: said.Report.Job, Rcpt: said.Report.Rcpt})
			default:
				t.Errorf("the agent said %q", line)
			}
		}
		if len(want) > 0 || hungry != jobs+1 {
			t.Errorf("no answer for %v; hungry %d times after %d jobs", want, hungry, jobs)
		}
	})
}

// What a job has decided is told while it goes on: an agent that is killed then has
// not done it for nothing.
func TestReportsInTime(t *testing.T) {
	s := &spool.Spool{Root: t.TempDir()}
	id := spool.NewID()
	c := &spool.Control{ID: id, Groups: []spool.Group{{Header: []byte("\n"), Rcpts: []spool.Rcpt{{Hop: spool.Hop{Channel: "x"}}, {Hop: spool.Hop{Channel: "x"}}}}}}
	for path, text := range map[string]string{s.ControlPath(id): string(c.Append(nil)), s.QueuePath(id): ""} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(chan struct{})
	a := &Agent{Spool: s, Capacity: 1, Deliver: func(_ context.Context, d *Delivery) {
		d.Report(0, dsn.Success("2.0.0", "first"))
		<-seen
		d.Report(1, dsn.Success("2.0.0", "second"))
	}}
	outR, outW := io.Pipe()
	go func() {
		defer outW.Close()
		job := Job{Number: 1, ID: id, Channel: "x", Rcpts: []int{0, 1}}
		if err := Serve(t.Context(), a, bytes.NewReader(job.Append(nil)), outW); err != nil {
			t.Error(err)
		}
	}()
	var texts []string
	for lines := bufio.NewScanner(outR); lines.Scan(); {
		if said := ParseSaid(lines.Text()); said.Kind == Result {
			if texts = append(texts, said.Report.Result.Text); len(texts) == 1 {
				close(seen)
			}
		}
	}
	if got := strings.Join(texts, " "); got != "first second" {
		t.Errorf("results %q", got)
	}
}

// FuzzParseJob: a job that was understood survives being given on.
func FuzzParseJob(f *testing.F) {
	id := string(spool.NewID())
	f.Add("job\t1\t" + id + "\tsmtp\tb.test\t0,3")
	f.Add("job\t7\t" + id + "\tlocal\t\t0")
	f.Fuzz(func(t *testing.T, line string) {
		job, err := ParseJob(line)
		if err != nil {
			return
		}
		again, err := ParseJob(strings.TrimSuffix(string(job.Append(nil)), "\n"))
		if err != nil || again.Number != job.Number || again.ID != job.ID || again.Host != job.Host || len(again.Rcpts) != len(job.Rcpts) {
			t.Errorf("%q: %+v became %+v, %v", line, job, again, err)
		}
	})
}
