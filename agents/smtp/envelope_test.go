package smtp

import (
	"context"
	"crypto/sha256"
	"os"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/shellcfg"
	"zmailer/spool"
)

func TestParameters(t *testing.T) {
	l := simple("a@x.test", "b@x.test", "c@x.test")
	l.attr = spool.Attributes{EnvID: "QQ+2B1", Ret: "HDRS", BodyType: "8BITMIME"}
	r := l.groups[0].Rcpts
	r[0].Notify, r[0].ORcpt = "SUCCESS,FAILURE", "rfc822;a+2Bb@x.test"
	r[1].Notify, r[1].ORcpt = "NEVER", "rfc822;evil> NOTIFY=SUCCESS\r\nRSET"
	r[2].ORcpt = "utf-8;\\x{FC}@x.test"
	for _, tt := range []struct{ ext, from, a, b, c, want string }{
		{"DSN,8BITMIME,SIZE 100", "<from@us.test> SIZE=24 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1",
			"<a@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@x.test", "<b@x.test> NOTIFY=NEVER", "<c@x.test> ORCPT=utf-8;\\x{FC}@x.test",
			"ok 2.0.0, ok 2.0.0, ok 2.0.0"},
		{"SIZE", "<from@us.test> SIZE=24", "<a@x.test>", "<b@x.test>", "<c@x.test>", "ok 2.1.9, ok 2.0.0, ok 2.0.0"},
		{"SIZE 23", "", "", "", "", "error 5.3.4, error 5.3.4, error 5.3.4"},
	} {
		s := newSink(t, strings.Split(tt.ext, ",")...)
		d := start(t, quick)
		if got := outcome(d.deliver(l, s.host())); got != tt.want {
			t.Errorf("%s: got %s", tt.ext, got)
		}
		for _, m := range s.received() {
			if m.from != tt.from || m.rcpts[0] != tt.a || m.rcpts[1] != tt.b || m.rcpts[2] != tt.c {
				t.Errorf("%s: got %+v", tt.ext, m)
			}
		}
	}
}

func TestSMTPUTF8(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*letter)
		ext  string
		want string
		from string // argument of MAIL
		rcpt string
	}{
		{"header", func(l *letter) {
			l.attr.SMTPUTF8 = true
			l.groups[0].Header = []byte("Subject: ü\n\n")
		}, "SMTPUTF8,8BITMIME", "ok 2.0.0", "<from@us.test> BODY=8BITMIME SMTPUTF8", "<a@x.test>"},
		{"header", func(l *letter) {
			l.attr.SMTPUTF8 = true
			l.groups[0].Header = []byte("Subject: ü\n\n")
		}, "8BITMIME", "error 5.6.7", "", ""},
		{"not needed", func(l *letter) { l.attr.SMTPUTF8 = true }, "8BITMIME", "ok 2.0.0", "<from@us.test>", "<a@x.test>"},
		{"sender", func(l *letter) { l.groups[0].Sender.User = "jürgen@us.test" }, "SMTPUTF8", "ok 2.0.0", "<jürgen@us.test> SMTPUTF8", "<a@x.test>"},
		{"sender", func(l *letter) { l.groups[0].Sender.User = "jürgen@us.test" }, "8BITMIME", "error 5.6.7", "", ""},
		{"recipient", func(l *letter) { l.groups[0].Rcpts[0].User = "ä@x.test" }, "8BITMIME", "error 5.6.7", "", ""},
		{"domain", func(l *letter) { l.groups[0].Rcpts[0].User = "a@bücher.test" }, "8BITMIME", "ok 2.0.0", "<from@us.test>", "<a@xn--bcher-kva.test>"},
		{"quoted", func(l *letter) { l.groups[0].Rcpts[0].User = `"a b"@x.test` }, "8BITMIME", "ok 2.0.0", "<from@us.test>", `<"a b"@x.test>`},
		{"injection", func(l *letter) { l.groups[0].Rcpts[0].User = "a@x.test>\r\nRSET" }, "8BITMIME", "deferred 4.1.3", "", ""},
		{"no address", func(l *letter) { l.groups[0].Rcpts[0].User = "" }, "8BITMIME", "deferred 4.1.3", "", ""},
		{"sender injection", func(l *letter) { l.groups[0].Sender.User = "a@x.test> SIZE=1" }, "8BITMIME", "deferred 4.1.7", "", ""},
	} {
		s := newSink(t, strings.Split(tt.ext, ",")...)
		d := start(t, quick)
		l := simple("a@x.test")
		tt.set(&l)
		res := d.deliver(l, s.host())
		if got := outcome(res); got != tt.want {
			t.Errorf("%s: got %+v", tt.name, res)
		}
		if m := s.received(); tt.from != "" && (len(m) != 1 || m[0].from != tt.from || m[0].rcpts[0] != tt.rcpt) {
			t.Errorf("%s: received %+v", tt.name, m)
		}
	}
}

// Bodies that do not fit in memory arrive whole.
func TestLargeBody(t *testing.T) {
	var b strings.Builder
	for i := 0; b.Len() < 3*pieceSize+12345; i++ {
		b.WriteString(strings.Repeat(".x", i%37))
		b.WriteString("\n")
	}
	for _, body := range []string{b.String(), strings.Repeat("y", pieceSize) + "\n.\r", strings.Repeat(".\n", pieceSize)} {
		s := newSink(t, "PIPELINING", "CHUNKING", "SIZE")
		d := start(t, nil)
		res := d.deliver(letterOf("Subject: x\n\n", body, "a@x.test"), s.host())
		m := s.received()
		if outcome(res) != "ok 2.0.0" || len(m) != 1 {
			t.Fatalf("got %+v", res)
		}
		if want := canonical("Subject: x\n\n" + body); sha256.Sum256([]byte(want)) != sha256.Sum256([]byte(m[0].data)) {
			t.Errorf("%d octets arrived, want %d", len(m[0].data), len(want))
		}
	}
}

// A message file that shrinks while it is sent must not arrive cut short.
func TestShortBody(t *testing.T) {
	s := newSink(t, "PIPELINING")
	var d *driver
	s.script = func(c *sinkConn, at, _ string) string {
		if at == "MAIL" {
			if err := os.Truncate(d.spool.QueuePath(d.last), pieceSize+100); err != nil {
				t.Error(err)
			}
		}
		return ""
	}
	d = start(t, quick)
	res := d.deliver(letterOf("Subject: x\n\n", strings.Repeat("line\n", pieceSize), "a@x.test"), s.host())
	if got := outcome(res); got != "deferred 4.3.0" || len(s.received()) != 0 {
		t.Errorf("got %+v", res)
	}
}

// When the process is told to end, a job that waits for its host is given back,
// and one that waits for the last reply still hears it.
func TestShutdown(t *testing.T) {
	for _, tt := range []struct{ stage, want string }{{"MAIL", "deferred 4.3.2"}, {"DOT", "ok 2.0.0"}} {
		s := newSink(t, "PIPELINING")
		reached, goOn := make(chan struct{}), make(chan struct{})
		s.script = func(c *sinkConn, at, _ string) string {
			if at == tt.stage {
				close(reached)
				<-goOn
			}
			return ""
		}
		ctx, cancel := context.WithCancel(t.Context())
		d := startContext(t, ctx, quick)
		go func() {
			<-reached
			cancel()
			if tt.stage == "MAIL" {
				time.AfterFunc(time.Second, func() { close(goOn) })
			} else {
				close(goOn)
			}
		}()
		if got := outcome(d.deliver(simple("a@x.test"), s.host())); got != tt.want {
			t.Errorf("stopped in %s: %s", tt.stage, got)
		}
	}
}

func TestOptions(t *testing.T) {
	conf := &shellcfg.Conf{Hostname: "us.test"}
	for _, tt := range []struct {
		args string
		ok   func(*options) bool // nil: an error
	}{
		{"", func(o *options) bool {
			return o.hello == "us.test" && o.port == 25 && o.self != nil && o.pipelining && o.chunking
		}},
		{"-PBx1 -h me -n 7 -m 5 -p 2525", func(o *options) bool {
			return !o.pipelining && !o.chunking && o.noMX && o.reuseMax == 1 && o.hello == "me" && o.capacity == 7 && o.rcptMax == 5 && o.port == 2525 && o.self == nil
		}},
		{"-T 60 -T conn=5,dot=1h", func(o *options) bool {
			return o.timeouts.command == time.Minute && o.timeouts.connect == 5*time.Second && o.timeouts.dot == time.Hour && o.timeouts.init == time.Minute
		}},
		{"-T cmd=9,greeting=1,mail=2,rcpt=3,init=4,data=5", func(o *options) bool {
			t, s := o.timeouts, time.Second
			return t.command == 9*s && t.greeting == s && t.mail == 2*s && t.rcpt == 3*s && t.init == 4*s && t.data == 5*s && t.dot == 10*time.Minute
		}},
		{"-S must,a.test=off -S b.*=verify", func(o *options) bool {
			return modeOf(o, &target{dest: "a.test"}) == tlsOff && modeOf(o, &target{dest: "x", name: "b.test"}) == tlsVerify && modeOf(o, &target{}) == tlsMust
		}},
		{"-M -F /run/lmtp.sock", func(o *options) bool { return o.lmtp && o.forced == "/run/lmtp.sock" }},
		{"-M -p 24", func(o *options) bool { return o.lmtp && o.port == 24 }},
		{"-M", nil}, {"-M -F x", nil}, {"-p 0", nil}, {"-p x", nil}, {"-n 0", nil}, {"-T x", nil}, {"-T a=1", nil}, {"-T conn=-1s", nil},
		{"-S x", nil}, {"-S [=off", nil}, {"-F [", nil}, {"-Z", nil}, {"extra", nil}, {"-h", nil}, {"-l /nonexistent/file", nil},
	} {
		o, err := parseOptions(conf, strings.Fields(tt.args))
		if (err == nil) != (tt.ok != nil) || err == nil && !tt.ok(&o) {
			t.Errorf("%q: %+v, %v", tt.args, o, err)
		}
	}
}

func TestTranscript(t *testing.T) {
	s := newSink(t, "PIPELINING", "AUTH PLAIN")
	path, creds := t.TempDir()+"/log", t.TempDir()+"/creds"
	if err := os.WriteFile(creds, []byte("* joe secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, func(o *options) {
		quick(o)
		o.credFile = creds
		var err error
		if o.transcript, err = openTranscript(path); err != nil {
			t.Fatal(err)
		}
	})
	d.deliver(simple("a@x.test"), s.host())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"r 220 sink.test ESMTP\n", "w EHLO us.test\n", "w AUTH PLAIN (secret)\n", "w RCPT TO:<a@x.test>\n", "# content sent\n", "r 250 2.0.0 queued"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("transcript without %q:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "AGpvZQ") || strings.Contains(string(b), "hello\n") {
		t.Errorf("transcript with what it must not hold:\n%s", b)
	}
}

func TestManyJobs(t *testing.T) {
	s := newSink(t, "PIPELINING", "CHUNKING")
	d := start(t, quick)
	const jobs = 50
	c := d.put(simple("a@x.test"), s.host())
	var lines []byte
	for n := range jobs {
		lines = (&protocol.Job{Number: uint64(n), ID: c.ID, Channel: "smtp", Host: s.host(), Rcpts: []int{0}}).Append(lines)
	}
	if _, err := d.in.Write(lines); err != nil {
		t.Fatal(err)
	}
	seen := make(map[uint64]bool)
	for len(seen) < jobs && d.out.Scan() {
		if said := protocol.ParseSaid(d.out.Text()); said.Kind == protocol.Result {
			if seen[said.Report.Job] || outcome1(said) != "ok" {
				t.Errorf("report %+v", said.Report)
			}
			seen[said.Report.Job] = true
		}
	}
	if n := len(s.received()); n != jobs {
		t.Errorf("%d messages, want %d", n, jobs)
	}
}

func outcome1(said protocol.Said) string { return said.Report.Result.Action.String() }

// modeOf is the mode of the policy for a target.
func modeOf(o *options, t *target) tlsMode {
	r, err := o.tls.of(context.Background(), t)
	if err != nil {
		panic(err)
	}
	return r.mode
}
