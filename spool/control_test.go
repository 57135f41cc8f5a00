package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"zmailer/spool/dsn"
)

func sampleControl(rcpts int) *Control {
	c := &Control{
		ID: "01K4ZQ8F3T7XYAB0", Size: 5000, HeaderOffset: 100, BodyOffset: 900, Arrival: time.UnixMicro(1795573200123456),
		MessageID: "<m1@example.net>", Config: "c0ffee",
		Attr: Attributes{EnvID: "LUNCH42", Ret: "HDRS", BodyType: "8BITMIME", SMTPUTF8: true, RequireTLS: true, Ours: true, ErrorMsg: true, AuthUser: "ann", Owner: "1001", Priority: "bulk"},
		Groups: []Group{
			{Sender: Hop{"smtp", "client.example.net", "ada@example.net", 99}, By: DeliverBy{At: time.Unix(1795573999, 0), Return: true, Trace: true}, Header: []byte("Subject: x\n\n")},
			{Sender: Hop{"error", "", "", -2}, Header: []byte("Subject: nul \x00 and z\nz\n\n")},
		},
	}
	for i := range rcpts {
		g := &c.Groups[min(i, 1)]
		g.Rcpts = append(g.Rcpts, Rcpt{N: i, Hop: Hop{"smtp", "partner.example", fmt.Sprintf("u%d tab\there\nnl@partner.example", i), 99},
			Notify: "SUCCESS", ORcpt: "rfc822;x", Why: "router.cf:12", NotBefore: time.Unix(1795580000+int64(i), 0), Kept: i%2 == 1})
	}
	return c
}

func TestControlRoundTrip(t *testing.T) {
	want := sampleControl(3)
	got, err := ParseControl(want.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	want.Complete = true
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for n := range 3 {
		if r := got.Rcpt(n); r == nil || r.N != n {
			t.Errorf("Rcpt(%d) = %+v", n, r)
		}
		if g := got.GroupOf(n); g != &got.Groups[min(n, 1)] {
			t.Errorf("GroupOf(%d) = %+v", n, g)
		}
	}
	if got.Rcpt(3) != nil || got.Rcpt(-1) != nil {
		t.Error("recipients that do not exist were found")
	}
}

func TestFold(t *testing.T) {
	at, next := time.Unix(1795573300, 0), time.Unix(1795573400, 0)
	b := sampleControl(4).Append(nil)
	var events []byte
	deferred := Event{Rcpts: []int{0, 1, 2}, At: at, Next: next, Result: dsn.Result{Action: dsn.Deferred, Status: "4.2.2", Relay: "mx[192.0.2.1]:25", Remote: true, Text: "full\nof\tit"}}
	events = deferred.Append(events)
	ok := Event{Rcpts: []int{1}, At: at, Result: dsn.Success("2.0.0", "queued")}
	events = ok.Append(events)
	bad := Event{Rcpts: []int{2}, At: at, Result: dsn.Perm("5.1.1", "no such user")}
	events = bad.Append(events)
	gone := Event{Rcpts: []int{3}, At: at, Result: dsn.Result{Action: dsn.Expanded}}
	events = gone.Append(events)
	events = AppendReport(events, []int{2}, at, ReportFailure, "01K4ZQ8F3T7XYAB1")
	events = AppendHold(events, true, at)
	const id = "01K4ZQ8F3T7XYAB0"
	b = append(b, Stamp(events, id)...)
	b = append(b, Stamp(gone.Append(nil), "01K4ZQ8F3T7XYAB1")...) // of another life of the file
	c, err := ParseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range []struct {
		state    RcptState
		attempts int
		status   string
	}{{Pending, 1, "4.2.2"}, {Done, 2, "2.0.0"}, {Bounced, 2, "5.1.1"}, {Dropped, 1, "2.0.0"}} {
		r := c.Rcpt(n)
		if r.State != want.state || r.Attempts != want.attempts || r.Last.Status != want.status {
			t.Errorf("recipient %d: %+v", n, r)
		}
	}
	if r := c.Rcpt(0); !r.Next.Equal(next) || r.Last.Text != "full\nof\tit" || !r.Last.Remote {
		t.Errorf("deferred: %+v", r)
	}
	if c.Rcpt(2).Reported != "f" || !c.Held || !c.Rcpt(1).Kept || c.Rcpt(0).Kept || c.Finished() {
		t.Errorf("reported %q held %v finished %v", c.Rcpt(2).Reported, c.Held, c.Finished())
	}
	c, err = ParseControl(append(append(b, Stamp(AppendHold(nil, false, at), id)...), "+\t0\t179"...))
	if err != nil || c.Held || !c.Torn || !c.Released.Equal(at) || c.Rcpt(1).Kept || c.Rcpt(3).Kept {
		t.Errorf("released and torn: %+v, %v", c, err)
	}
}

// TestEveryPrefix cuts a control file after every byte: before the closing line it
// is incomplete, after it every cut is a state that was true once.
func TestEveryPrefix(t *testing.T) {
	b := sampleControl(3).Append(nil)
	closed := len(b)
	ev := Event{Rcpts: []int{0}, At: time.Unix(1, 0), Result: dsn.Success("2.0.0", "ok")}
	b = append(b, Stamp(ev.Append(nil), "01K4ZQ8F3T7XYAB0")...)
	for n := range b {
		c, err := ParseControl(b[:n])
		switch {
		case n < closed && !errors.Is(err, ErrIncomplete):
			t.Fatalf("cut at %d of %d: %v", n, closed, err)
		case n >= closed && (err != nil || c.Rcpt(0).State != Pending):
			t.Fatalf("cut at %d of %d: %v", n, closed, err)
		}
	}
}

// TestFlippedBytes flips bytes at random: each result is read or refused, and a
// recipient is never taken for finished by an accident that parses.
func TestFlippedBytes(t *testing.T) {
	b := sampleControl(3).Append(nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		d := bytes.Clone(b)
		d[rnd.IntN(len(d))] ^= byte(1 << rnd.IntN(8))
		if c, err := ParseControl(d); err == nil && c.Finished() {
			t.Fatalf("finished: %q", d)
		}
	}
}

// seal gives records a closing line that fits them.
func seal(records string) []byte { return appendClosing([]byte(records), 0) }

func TestParseControlRefuses(t *testing.T) {
	whole := string(sampleControl(2).Append(nil))
	good := whole[:strings.LastIndex(whole, "z\t")]
	for _, tt := range []struct{ name, old, new string }{
		{"other version", "v\t1\n", "v\t2\n"},
		{"bad id", "01K4ZQ8F3T7XYAB0", "../../../etc/pas"},
		{"offset behind the end", "\t900\n", "\t90000\n"},
		{"time of nobody", "l\t<m1", "y\t1795573999 R\nl\t<m1"},
		{"unknown record", "l\t<m1", "Q\t<m1"},
		{"unknown attribute", "f\tenvid", "f\tenwid"},
		{"recipient number", "r\t1\t", "r\t7\t"},
		{"privilege", "\t-2\n", "\troot\n"},
		{"bad escape", "\\t", "\\q"},
	} {
		i := strings.LastIndex(good, tt.old)
		if i < 0 {
			t.Fatalf("%s: %q is not in the sample", tt.name, tt.old)
		}
		changed := good[:i] + tt.new + good[i+len(tt.old):]
		if _, err := ParseControl(seal(changed)); err == nil || errors.Is(err, ErrIncomplete) {
			t.Errorf("%s: %v", tt.name, err)
		}
		// The same change by accident does not fit the closing line.
		if _, err := ParseControl([]byte(changed + whole[len(good):])); !errors.Is(err, ErrIncomplete) {
			t.Errorf("%s by accident: %v", tt.name, err)
		}
	}
	const id = "01K4ZQ8F3T7XYAB0"
	for _, event := range []string{"+\t9\t1\t0\t2.0.0\t\tl\tok\n", "?\t0\t1\t0\t2.0.0\t\tl\tok\n", "r\t2\tsmtp\tx\ty\t1\n", "+\t0\n", "d\t0\t1\tff\tx\n"} {
		if _, err := ParseControl(append([]byte(whole), Stamp([]byte(event), id)...)); err == nil {
			t.Errorf("event %q: accepted", event)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(sampleControl(3).Append(nil))
	f.Add([]byte("v\t1\nz\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseControl(b)
		if err != nil {
			return
		}
		again, err := ParseControl(c.Append(nil))
		if err != nil || len(again.Groups) != len(c.Groups) {
			t.Fatalf("written form is refused: %v", err)
		}
	})
}

func BenchmarkControlFold(b *testing.B) {
	for _, rcpts := range []int{1, 1000} {
		file := sampleControl(rcpts).Append(nil)
		if rcpts == 1 {
			c := sampleControl(1)
			c.Groups = c.Groups[:1]
			c.Groups[0].Header = bytes.Repeat([]byte("Received: from somewhere by somewhere else\n"), 20)
			file = c.Append(nil)
		}
		for i := range rcpts {
			ev := Event{Rcpts: []int{i}, At: time.Unix(1, 0), Next: time.Unix(2, 0), Result: dsn.Temp("4.4.1", "connection refused")}
			file = append(file, Stamp(ev.Append(nil), "01K4ZQ8F3T7XYAB0")...)
		}
		b.Run(fmt.Sprintf("rcpts=%d", rcpts), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if _, err := ParseControl(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
