package protocol

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

func TestParseSaid(t *testing.T) {
	for _, tt := range []struct {
		line    string
		kind    SaidKind
		credits int
	}{
		{"#hungry", Hungry, 1},
		{"#hungry 20", Hungry, 20},
		{"#hungry 0", Garbage, 0},
		{"#hungry -1", Garbage, 0},
		{"#hungry 99999999", Garbage, 0},
		{"#hungry x", Garbage, 0},
		{"#log spoolid=X something", Log, 0},
		{"# a remark", Remark, 0},
		{"", Garbage, 0},
		{"hello", Garbage, 0},
		{"result\t1\t0\tok\t2.0.0\t\tl\tfine", Result, 0},
		{"result\t1\t0\tok\t2.0.0\tmx\tr\tfine\t60", Result, 0},
		{"result\t1\t0\tmaybe\t2.0.0\t\tl\tfine", Garbage, 0},
		{"result\t1\t-1\tok\t2.0.0\t\tl\tfine", Garbage, 0},
		{"result\t1\t0\tok\t2\t\tl\tfine", Garbage, 0},
		{"result\t1", Garbage, 0},
		{"result 1 0 ok", Garbage, 0},
	} {
		if got := ParseSaid(tt.line); got.Kind != tt.kind || got.Credits != tt.credits {
			t.Errorf("%q: %+v, want kind %d, %d credits", tt.line, got, tt.kind, tt.credits)
		}
	}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// hear has a peer with the given jobs listen to text.
func hear(t testing.TB, text string, jobs ...*Job) (events []Event, p *Peer) {
	t.Helper()
	p = NewPeer(nopCloser{io.Discard})
	for _, j := range jobs {
		p.Send(j)
	}
	if err := p.Read(strings.NewReader(text), func(batch []Event) { events = append(events, batch...) }); err != nil {
		t.Fatal(err)
	}
	p.CloseInput()
	return events, p
}

func TestPeerAccount(t *testing.T) {
	job := &Job{Number: 7, ID: spool.NewID(), Channel: "smtp", Host: "b.test", Rcpts: []int{1, 4}}
	events, p := hear(t, "#hungry 1\n"+ // one too many with the job that the test has slipped in
		"result\t7\t4\tok\t2.0.0\t\tl\tfine\n"+
		"result\t7\t4\tok\t2.0.0\t\tl\ttwice\n"+
		"result\t7\t2\tok\t2.0.0\t\tl\tnot asked for\n"+
		"result\t8\t1\tok\t2.0.0\t\tl\tnever given\n"+
		"result\t7\t1\tdeferred\t4.2.2\t\tl\tfull\n"+
		"result\t7\t1\tok\t2.0.0\t\tl\tafter the end\n"+
		strings.Repeat("x", MaxLine+100)+"\n"+
		"result\t7\t1\tok", job)
	var done, garbage int
	for _, ev := range events {
		switch ev.Kind {
		case Result:
			done++
			if ev.Job != job || ev.Results[0].Action != dsn.Deferred || ev.Results[1].Text != "fine" {
				t.Errorf("%+v", ev)
			}
		case Garbage:
			garbage++
		}
	}
	if done != 1 || garbage != 6 {
		t.Errorf("%d jobs done, %d lines of garbage, want 1 and 6: %+v", done, garbage, events)
	}
	if n := len(p.Outstanding()); n != 0 {
		t.Errorf("%d jobs outstanding", n)
	}
}

func TestPeerCredits(t *testing.T) {
	events, _ := hear(t, "#hungry 2\n"+strings.Repeat("#hungry\n", 1000))
	n := 0
	for _, ev := range events {
		if ev.Kind == Hungry {
			n += ev.Credits
		}
	}
	if n != 2 {
		t.Errorf("%d credits of an agent that takes 2 jobs at once", n)
	}
}

func TestPeerAbandon(t *testing.T) {
	job := &Job{Number: 7, ID: spool.NewID(), Rcpts: []int{0, 1}}
	_, p := hear(t, "result\t7\t0\tok\t2.0.0\t\tl\tfine\n", job)
	events := p.Abandon(dsn.Temp("4.3.0", "died"))
	if len(events) != 1 || events[0].Results[0].Action != dsn.OK || events[0].Results[1].Text != "died" {
		t.Errorf("%+v", events)
	}
}

// TestBothEnds has a peer and an agent talk about jobs for which there are no
// files: each recipient is deferred.
func TestBothEnds(t *testing.T) {
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	go func() {
		a := &Agent{Spool: &spool.Spool{Root: t.TempDir()}, Capacity: 3, Deliver: func(context.Context, *Delivery) {}}
		if err := Serve(context.Background(), a, inR, outW); err != nil {
			t.Error(err)
		}
		outW.Close()
	}()
	p := NewPeer(inW)
	const jobs = 100
	sent, done, credits := 0, 0, 0
	err := p.Read(outR, func(batch []Event) {
		for _, ev := range batch {
			switch ev.Kind {
			case Hungry:
				credits += ev.Credits
			case Result:
				done++
				for _, r := range ev.Results {
					if r.Action != dsn.Deferred {
						t.Errorf("%+v", r)
					}
				}
			case Garbage:
				t.Error(ev.Text)
			}
		}
		for ; credits > 0 && sent < jobs; credits-- {
			sent++
			p.Send(&Job{Number: uint64(sent), ID: spool.NewID(), Channel: "x", Host: "y", Rcpts: []int{0, 1, 2}})
		}
		if sent == jobs && done == jobs {
			p.CloseInput()
		}
	})
	if err != nil || done != jobs {
		t.Errorf("%d jobs done, %v", done, err)
	}
}

func FuzzParseSaid(f *testing.F) {
	for _, s := range []string{"#hungry", "#hungry 7", "#log x", "result\t1\t0\tok\t2.0.0\tmx\tr\tfine\t60", "result\t1\t0\tretryat\t4.4.1\t\tl\t\\x00\t5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		said := ParseSaid(line)
		if said.Kind != Result {
			return
		}
		// What was understood survives being said again.
		again := strings.TrimSuffix(string(said.Report.Append(nil)), "\n")
		if len(said.Report.Result.Text) > MaxText {
			return
		}
		if b := ParseSaid(again); b.Kind != Result || *b.Report != *said.Report {
			t.Errorf("%q: %+v became %+v", line, said.Report, b.Report)
		}
	})
}

func FuzzPeer(f *testing.F) {
	f.Add("#hungry 2\nresult\t1\t0\tok\t2.0.0\t\tl\tfine\n#hungry\n")
	f.Fuzz(func(t *testing.T, text string) {
		job := &Job{Number: 1, ID: spool.NewID(), Rcpts: []int{0, 3}}
		events, p := hear(t, text, job)
		done := 0
		for _, ev := range events {
			if ev.Kind == Result {
				done++
			}
		}
		if done+len(p.Outstanding()) != 1 {
			t.Errorf("job is done %d times and outstanding %d times", done, len(p.Outstanding()))
		}
	})
}

func BenchmarkPeer(b *testing.B) {
	p := NewPeer(nopCloser{io.Discard})
	r, w := io.Pipe()
	var wg sync.WaitGroup
	done := 0
	wg.Go(func() {
		if err := p.Read(r, func(batch []Event) {
			for _, ev := range batch {
				if ev.Kind == Result {
					done++
				}
			}
		}); err != nil {
			b.Error(err)
		}
	})
	fmt.Fprintf(w, "#hungry 100\n")
	id := spool.NewID()
	var out []byte
	for i := 0; b.Loop(); i++ {
		p.Send(&Job{Number: uint64(i), ID: id, Channel: "smtp", Host: "b.test", Rcpts: []int{0}})
		rep := Report{Job: uint64(i), Rcpt: 0, Result: dsn.Success("2.0.0", "queued as 12345")}
		out = append(rep.Append(out), "#hungry\n"...)
		if len(out) > 4<<10 {
			w.Write(out)
			out = out[:0]
		}
	}
	w.Close()
	p.CloseInput()
	wg.Wait()
}

// A text that is too long is cut between characters.
func TestLongText(t *testing.T) {
	for shift := range 3 {
		r := Report{Result: dsn.Temp("4.0.0", "%s", strings.Repeat("x", shift)+strings.Repeat("€", MaxText))}
		line := strings.TrimSuffix(string(r.Append(nil)), "\n")
		got, err := ParseReport(line)
		if err != nil || !utf8.ValidString(got.Result.Text) || len(got.Result.Text) > MaxText || len(got.Result.Text) < MaxText-4 {
			t.Errorf("%d bytes, %v: ends in %q", len(got.Result.Text), err, got.Result.Text[len(got.Result.Text)-4:])
		}
	}
}
