package smtp

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestLMTP(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	s := serveSink(t, ln, []string{"PIPELINING", "CHUNKING"})
	s.lmtp = true
	s.script = func(c *sinkConn, at, arg string) string {
		switch {
		case at == "RCPT" && strings.Contains(arg, "no@"):
			return "550 5.1.1 no such user"
		case at == "DOT" && strings.Contains(arg, "full@"):
			return "452 4.2.2 over quota"
		case at == "DOT" && strings.Contains(arg, "lost@"):
			return "!close"
		}
		return ""
	}
	s.host()
	d := start(t, func(o *options) {
		quick(o)
		o.lmtp = true
	})
	res := d.deliver(simple("a@x.test", "no@x.test", "full@x.test", "b@x.test"), sock)
	if got := outcome(res); got != "ok 2.0.0, error 5.1.1, deferred 4.2.2, ok 2.0.0" {
		t.Errorf("got %s: %+v", got, res)
	}
	if s.log(0)[0] != "LHLO us.test" || res[0].Relay != sock {
		t.Errorf("began with %s at %s", s.log(0)[0], res[0].Relay)
	}
	res = d.deliver(simple("a@x.test", "lost@x.test", "b@x.test"), sock)
	if got := outcome(res); got != "ok 2.0.0, deferred 4.4.2, deferred 4.4.2" {
		t.Errorf("connection lost between replies: %s", got)
	}
}

// An LMTP client that is led to an SMTP server has the wrong port: nothing to
// bounce mail for.
func TestNotLMTP(t *testing.T) {
	s := newSink(t)
	s.script = func(_ *sinkConn, at, _ string) string {
		if at == "EHLO" {
			return "500 5.5.1 what?"
		}
		return ""
	}
	d := start(t, func(o *options) {
		quick(o)
		o.lmtp = true
	})
	if got := outcome(d.deliver(simple("a@x.test"), s.host())); got != "retryat 4.5.1" {
		t.Errorf("got %s", got)
	}
}
