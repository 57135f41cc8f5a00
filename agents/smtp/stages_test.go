package smtp

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zmailer/spool/dsn"
)

// Replies of the kinds that every stage must bear.
var (
	longLine  = "220 " + strings.Repeat("x", 5000)
	manyLines = strings.Repeat("220-x\r\n", 200) + "220 x"
)

// kindOf says what kind of answer a row has: the classes 2 to 5 of replies, or
// what is none.
func kindOf(answer string) string {
	switch {
	case answer[0] == '!':
		return answer
	case answer == longLine, answer == manyLines:
		return "huge"
	case answer[0] < '2' || answer[0] > '5':
		return "garbage"
	}
	return answer[:1] + "xx"
}

// broken tells the kinds after which nobody knows where the conversation is.
func broken(answer string) bool {
	k := kindOf(answer)
	return k[0] == '!' || k == "huge" || k == "garbage"
}

// stageRows is what becomes of recipients a and b of one message when the only
// host answers a stage in this way. "b" stands for the second RCPT alone, HELO for
// that of a host that does not know EHLO.
var stageRows = []struct {
	stage, answer, want string
}{
	{"banner", "421 4.3.2 busy", "retryat 4.3.2, retryat 4.3.2"},
	{"banner", "450 4.7.1 later", "retryat 4.7.1, retryat 4.7.1"},
	{"banner", "554 5.7.1 go away", "error 5.7.1, error 5.7.1"},
	{"banner", "250 what", "retryat 4.5.0, retryat 4.5.0"},
	{"banner", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"banner", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"banner", "HTTP/1.1 400 Bad Request", "retryat 4.5.0, retryat 4.5.0"},
	{"banner", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"banner", manyLines, "retryat 4.5.0, retryat 4.5.0"},
	{"EHLO", "421 4.3.2 busy", "retryat 4.3.2, retryat 4.3.2"},
	{"EHLO", "451 later", "retryat 4.0.0, retryat 4.0.0"},
	{"EHLO", "502 5.5.1 unknown", "ok 2.0.0, ok 2.0.0"}, // by HELO
	{"EHLO", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"EHLO", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"EHLO", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"EHLO", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"EHLO", manyLines, "retryat 4.5.0, retryat 4.5.0"},
	{"HELO", "421 4.3.2 busy", "retryat 4.3.2, retryat 4.3.2"},
	{"HELO", "450 4.7.1 later", "retryat 4.7.1, retryat 4.7.1"},
	{"HELO", "550 5.7.1 not you", "error 5.7.1, error 5.7.1"},
	{"HELO", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"HELO", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"HELO", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"HELO", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"MAIL", "451 4.7.1 greylisted", "deferred 4.7.1, deferred 4.7.1"},
	{"MAIL", "421 4.3.2 closing", "retryat 4.3.2, retryat 4.3.2"},
	{"MAIL", "550 5.1.8 bad sender", "error 5.1.8, error 5.1.8"},
	{"MAIL", "550 4.1.8 classes differ", "error 5.1.8, error 5.1.8"},
	{"MAIL", "354 what", "deferred 4.5.0, deferred 4.5.0"},
	{"MAIL", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"MAIL", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"MAIL", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"MAIL", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"MAIL", manyLines, "retryat 4.5.0, retryat 4.5.0"},
	{"b", "550 5.1.1 no such user", "ok 2.0.0, error 5.1.1"},
	{"b", "550-5.1.1 no such\r\n550 5.1.1 user", "ok 2.0.0, error 5.1.1"},
	{"b", "450 4.2.1 busy", "ok 2.0.0, deferred 4.2.1"},
	{"b", "452 4.2.2 full", "ok 2.0.0, deferred 4.2.2"},
	{"b", "552 5.2.2 full", "ok 2.0.0, error 5.2.2"},
	{"b", "354 what", "ok 2.0.0, deferred 4.5.0"},
	{"b", "421 4.3.2 closing", "retryat 4.3.2, retryat 4.3.2"},
	{"b", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"b", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"b", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"b", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"b", manyLines, "retryat 4.5.0, retryat 4.5.0"},
	{"RCPT", "550 5.1.1 no such user", "error 5.1.1, error 5.1.1"},
	{"RCPT", "450 4.2.1 busy", "deferred 4.2.1, deferred 4.2.1"},
	{"RCPT", "452 4.5.3 too many", "deferred 4.5.3, deferred 4.5.3"},
	{"RCPT", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"RCPT", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"RCPT", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"RCPT", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"DATA", "451 4.3.0 no", "deferred 4.3.0, deferred 4.3.0"},
	{"DATA", "554 5.7.0 no", "error 5.7.0, error 5.7.0"},
	{"DATA", "250 ok", "deferred 4.5.0, deferred 4.5.0"},
	{"DATA", "421 4.3.2 closing", "retryat 4.3.2, retryat 4.3.2"},
	{"DATA", "!close", "retryat 4.4.2, retryat 4.4.2"},
	{"DATA", "!stall", "retryat 4.4.2, retryat 4.4.2"},
	{"DATA", "garbage", "retryat 4.5.0, retryat 4.5.0"},
	{"DATA", longLine, "retryat 4.5.0, retryat 4.5.0"},
	{"DATA", manyLines, "retryat 4.5.0, retryat 4.5.0"},
	{"DOT", "451 4.3.0 later", "deferred 4.3.0, deferred 4.3.0"},
	{"DOT", "554 5.6.0 spam", "error 5.6.0, error 5.6.0"},
	{"DOT", "354 what", "deferred 4.5.0, deferred 4.5.0"},
	{"DOT", "421 4.3.2 closing", "deferred 4.3.2, deferred 4.3.2"},
	{"DOT", "!close", "deferred 4.4.2, deferred 4.4.2"},
	{"DOT", "!stall", "deferred 4.4.2, deferred 4.4.2"},
	{"DOT", "garbage", "deferred 4.4.2, deferred 4.4.2"},
	{"DOT", longLine, "deferred 4.4.2, deferred 4.4.2"},
	{"DOT", manyLines, "deferred 4.4.2, deferred 4.4.2"},
	{"QUIT", "!stall", "ok 2.0.0, ok 2.0.0"},
	{"QUIT", "!close", "ok 2.0.0, ok 2.0.0"},
	{"QUIT", "500 5.5.1 what", "ok 2.0.0, ok 2.0.0"},
	{"QUIT", longLine, "ok 2.0.0, ok 2.0.0"},
}

// Every stage has a row for every kind of answer.
func TestStageRows(t *testing.T) {
	seen := make(map[string]bool)
	for _, row := range stageRows {
		seen[row.stage+" "+kindOf(row.answer)] = true
	}
	for _, stage := range []string{"banner", "EHLO", "HELO", "MAIL", "b", "RCPT", "DATA", "DOT"} {
		for _, kind := range []string{"4xx", "5xx", "!close", "!stall", "garbage", "huge"} {
			if !seen[stage+" "+kind] {
				t.Errorf("no row for %s at %s", kind, stage)
			}
		}
	}
}

// script makes a sink answer a stage of stageRows always in the same way.
func stageScript(stage, answer string) func(*sinkConn, string, string) string {
	return func(_ *sinkConn, at, arg string) string {
		switch {
		case at == "EHLO" && stage == "HELO":
			return "502 5.5.1 unknown"
		case at == stage, stage == "b" && at == "RCPT" && strings.Contains(arg, "b@"),
			stage == "DOT" && at == "BDAT", stage == "DATA" && at == "BDAT":
			return answer
		}
		return ""
	}
}

func TestStages(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		for _, row := range stageRows {
			if row.stage == "DATA" && len(ext) == 2 {
				continue // there is no DATA
			}
			t.Run(fmt.Sprintf("%s/%s/%.20s", strings.Join(ext, "+"), row.stage, kindOf(row.answer)+" "+row.answer), func(t *testing.T) {
				t.Parallel()
				s := newSink(t, ext...)
				s.script = stageScript(row.stage, row.answer)
				d := start(t, func(o *options) {
					quick(o)
					if row.answer == "!stall" {
						o.timeouts.commands(300 * time.Millisecond)
						o.timeouts.data, o.timeouts.dot = 300*time.Millisecond, 300*time.Millisecond
					}
				})
				res := d.deliver(simple("a@x.test", "b@x.test"), s.host())
				want := row.want
				if len(ext) == 2 && strings.Contains("MAIL RCPT b", row.stage) && broken(row.answer) {
					want = "deferred 4.4.2, deferred 4.4.2" // the content was in the flight
				}
				if got := outcome(res); got != want {
					t.Errorf("got %s, want %s: %+v", got, want, res)
				}
				for i, r := range res {
					if strings.ContainsAny(r.Text, "\r\n") || r.Text == "" {
						t.Errorf("text %q", r.Text)
					}
					if n := len(s.received()); (r.Action == dsn.OK) && n != 1 {
						t.Errorf("recipient %d is ok, but the sink took %d messages", i, n)
					}
				}
			})
		}
	}
}

// Each time limit is that of its own stage: with all others long, the one that a
// host exceeds ends the wait.
func TestTimeLimits(t *testing.T) {
	for stage, set := range map[string]func(*timeouts, time.Duration){
		"banner": func(t *timeouts, d time.Duration) { t.greeting = d },
		"EHLO":   func(t *timeouts, d time.Duration) { t.command = d },
		"MAIL":   func(t *timeouts, d time.Duration) { t.mail = d },
		"RCPT":   func(t *timeouts, d time.Duration) { t.rcpt = d },
		"DATA":   func(t *timeouts, d time.Duration) { t.init = d },
		"DOT":    func(t *timeouts, d time.Duration) { t.dot = d },
	} {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			s := newSink(t)
			s.script = stageScript(stage, "!stall")
			d := start(t, func(o *options) {
				o.timeouts.connect, o.timeouts.data, o.timeouts.dot, o.timeouts.job = time.Hour, time.Hour, time.Hour, time.Hour
				o.timeouts.commands(time.Hour)
				set(&o.timeouts, 100*time.Millisecond)
			})
			if res := d.deliver(simple("a@x.test"), s.host()); res[0].Status != "4.4.2" || !strings.Contains(res[0].Text, "timeout") {
				t.Errorf("%+v", res)
			}
		})
	}
}

// A second host takes the mail whenever the first one did not decide over it.
func TestNextHost(t *testing.T) {
	for _, row := range stageRows {
		next := strings.HasPrefix(row.want, "retryat") || row.stage == "MAIL" && row.answer[0] != '5' || row.stage == "banner"
		if !next {
			continue
		}
		t.Run(fmt.Sprintf("%s/%.20s", row.stage, row.answer), func(t *testing.T) {
			t.Parallel()
			first, second := newSink(t, "PIPELINING"), newSink(t, "PIPELINING")
			first.script = stageScript(row.stage, row.answer)
			d := start(t, func(o *options) {
				quick(o)
				o.timeouts.commands(500 * time.Millisecond)
			})
			res := d.deliver(simple("a@x.test", "b@x.test"), first.host()+", "+second.host())
			if got := outcome(res); got != "ok 2.0.0, ok 2.0.0" {
				t.Errorf("got %s: %+v", got, res)
			}
			if n := len(second.received()); n != 1 {
				t.Errorf("the second host got %d messages", n)
			}
		})
	}
}

func TestTooManyRecipients(t *testing.T) {
	s := newSink(t, "PIPELINING")
	s.script = func(c *sinkConn, stage, arg string) string {
		if stage == "RCPT" && len(c.rcpts) >= 2 {
			return "452 4.5.3 too many recipients"
		}
		return ""
	}
	d := start(t, quick)
	res := d.deliver(simple("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"), s.host())
	if got := outcome(res); got != "ok 2.0.0, ok 2.0.0, ok 2.0.0, ok 2.0.0, ok 2.0.0" {
		t.Errorf("got %s", got)
	}
	if n := len(s.received()); n != 3 || s.connections() != 1 {
		t.Errorf("%d messages over %d connections, want 3 over 1", n, s.connections())
	}
}

func TestRecipientLimit(t *testing.T) {
	s := newSink(t, "PIPELINING", "LIMITS RCPTMAX=2 MAILMAX=2")
	d := start(t, quick)
	res := d.deliver(simple("a@x.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test"), s.host())
	if got := outcome(res); strings.Count(got, "ok") != 5 {
		t.Errorf("got %s", got)
	}
	if n := len(s.received()); n != 3 || s.connections() != 2 {
		t.Errorf("%d messages over %d connections, want 3 over 2", n, s.connections())
	}
}

// A host may bound how many domains a transaction has: RFC 9422 §4.3.
func TestDomainLimit(t *testing.T) {
	s := newSink(t, "PIPELINING", "LIMITS RCPTDOMAINMAX=1 RCPTMAX=2 FUTURE=x MAILMAX=")
	d := start(t, quick)
	res := d.deliver(simple("a@x.test", "b@y.test", "c@X.test", "d@x.test", "e@z.test"), s.host())
	if got := outcome(res); strings.Count(got, "ok") != 5 {
		t.Errorf("got %s", got)
	}
	var got []string
	for _, m := range s.received() {
		got = append(got, strings.Join(m.rcpts, " "))
	}
	if want := "<a@x.test> <c@X.test>|<b@y.test>|<d@x.test>|<e@z.test>"; strings.Join(got, "|") != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestGroups(t *testing.T) {
	s := newSink(t, "PIPELINING", "CHUNKING")
	d := start(t, quick)
	l := letterOf("Subject: one\n\n", "body\n", "a@x.test")
	l.groups = append(l.groups, letterOf("Subject: two\n\n", "", "b@x.test").groups...)
	l.groups[1].Sender.User = ""
	if got := outcome(d.deliver(l, s.host())); got != "ok 2.0.0, ok 2.0.0" {
		t.Errorf("got %s", got)
	}
	m := s.received()
	if len(m) != 2 || s.connections() != 1 || m[0].data != "Subject: one\r\n\r\nbody\r\n" || m[1].data != "Subject: two\r\n\r\nbody\r\n" || m[1].from != "<>" {
		t.Errorf("received %+v over %d connections", m, s.connections())
	}
}

// A kept connection that the peer closed meanwhile costs nothing but another one.
func TestStaleConnection(t *testing.T) {
	for _, ext := range [][]string{nil, {"PIPELINING"}, {"PIPELINING", "CHUNKING"}} {
		t.Run(strings.Join(ext, "+"), func(t *testing.T) {
			s := newSink(t, ext...)
			s.script = func(c *sinkConn, stage, arg string) string {
				if stage == "MAIL" && c.number == 0 && len(c.commands) > 4 {
					return "!close"
				}
				return ""
			}
			d := start(t, quick)
			for range 2 {
				if got := outcome(d.deliver(simple("a@x.test"), s.host())); got != "ok 2.0.0" {
					t.Fatalf("got %s", got)
				}
			}
			if n := len(s.received()); n != 2 || s.connections() != 2 {
				t.Errorf("%d messages over %d connections, want 2 over 2", n, s.connections())
			}
		})
	}
}

// What the peer says while nobody listens is no reply to what comes next.
func TestUnsolicited(t *testing.T) {
	for _, words := range []string{"421 4.4.2 idle too long\r\n", "250 2.0.0 ok\r\n", ""} {
		s := newSink(t, "PIPELINING", "CHUNKING")
		d := start(t, quick)
		d.deliver(simple("a@x.test"), s.host())
		s.mu.Lock()
		nc := s.conns[0].tcp
		s.mu.Unlock()
		if words == "" {
			nc.Close()
		} else if _, err := io.WriteString(nc, words); err != nil {
			t.Fatal(err)
		}
		if got := outcome(d.deliver(simple("a@x.test"), s.host())); got != "ok 2.0.0" {
			t.Errorf("%q: %s", words, got)
		}
		if n := len(s.received()); n != 2 || s.connections() != 2 {
			t.Errorf("%q: %d messages over %d connections", words, n, s.connections())
		}
	}
}

// After a refused message the connection serves the next one.
func TestReset(t *testing.T) {
	for _, tt := range []struct{ stage, ext string }{
		{"RCPT", "X-NONE"}, {"DATA", "X-NONE"}, {"DOT", "X-NONE"},
		{"RCPT", "PIPELINING"}, {"DATA", "PIPELINING"}, {"DOT", "PIPELINING"},
		{"RCPT", "PIPELINING,CHUNKING"}, {"BDAT", "PIPELINING,CHUNKING"},
	} {
		s := newSink(t, strings.Split(tt.ext, ",")...)
		var n atomic.Int32
		s.script = func(c *sinkConn, at, arg string) string {
			if at == tt.stage && n.Add(1) == 1 {
				return "550 5.7.1 not now"
			}
			return ""
		}
		d := start(t, quick)
		first, second := d.deliver(simple("a@x.test"), s.host()), d.deliver(simple("a@x.test"), s.host())
		if got := outcome(append(first, second...)); got != "error 5.7.1, ok 2.0.0" {
			t.Errorf("%s: got %s", tt.stage, got)
		}
		if s.connections() != 1 {
			t.Errorf("%s: %d connections", tt.stage, s.connections())
		}
	}
}

// A host that does not understand RSET gets the next message anew.
func TestResetRefused(t *testing.T) {
	s := newSink(t, "PIPELINING")
	s.script = func(c *sinkConn, at, arg string) string {
		if at == "RSET" || at == "RCPT" && c.number == 0 {
			return "550 5.5.1 no"
		}
		return ""
	}
	d := start(t, quick)
	first, second := d.deliver(simple("a@x.test"), s.host()), d.deliver(simple("a@x.test"), s.host())
	if got := outcome(append(first, second...)); got != "error 5.5.1, ok 2.0.0" || s.connections() != 2 {
		t.Errorf("got %s over %d connections", got, s.connections())
	}
}

func TestIdleQuit(t *testing.T) {
	s := newSink(t)
	quit := make(chan struct{})
	s.script = func(_ *sinkConn, at, _ string) string {
		if at == "QUIT" {
			close(quit)
		}
		return ""
	}
	d := start(t, func(o *options) {
		quick(o)
		o.idleTime = 20 * time.Millisecond
	})
	d.deliver(simple("a@x.test"), s.host())
	select {
	case <-quit:
	case <-time.After(5 * time.Second):
		t.Error("an idle connection is not ended")
	}
}

func TestOneMessagePerConnection(t *testing.T) {
	s := newSink(t)
	d := start(t, func(o *options) {
		quick(o)
		o.reuseMax = 1
	})
	for range 2 {
		d.deliver(simple("a@x.test"), s.host())
	}
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections for 2 messages", n)
	}
}

// The envelope is one flight with PIPELINING, and waits for each reply without.
func TestFlight(t *testing.T) {
	for _, pipelined := range []bool{true, false} {
		s := newSink(t, "PIPELINING")
		waiting := make(map[string]int) // octets that were there when a command was read
		s.script = func(c *sinkConn, at, _ string) string {
			waiting[at] += c.br.Buffered()
			return ""
		}
		d := start(t, func(o *options) {
			quick(o)
			o.pipelining = pipelined
		})
		d.deliver(simple("a@x.test", "b@x.test"), s.host())
		d.stop()
		if (waiting["MAIL"] > 0) != pipelined || (waiting["RCPT"] > 0) != pipelined {
			t.Errorf("pipelining %v: octets waiting behind commands: %v", pipelined, waiting)
		}
		want := "EHLO us.test|MAIL FROM:<from@us.test>|RCPT TO:<a@x.test>|RCPT TO:<b@x.test>|DATA|QUIT"
		if got := strings.Join(s.log(0), "|"); got != want {
			t.Errorf("commands %s", got)
		}
	}
}

func TestConnectFailure(t *testing.T) {
	s := newSink(t)
	host := s.host()
	s.stop()
	d := start(t, quick)
	res := d.deliver(simple("a@x.test"), host)
	if got := outcome(res); got != "retryat 4.4.1" || res[0].RetryAfter <= 0 || res[0].Remote {
		t.Errorf("got %+v", res)
	}
}
