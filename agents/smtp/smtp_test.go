package smtp

import (
	"strings"
	"testing"
)

func TestDeliver(t *testing.T) {
	for _, ext := range [][]string{
		nil,
		{"PIPELINING"},
		{"PIPELINING", "CHUNKING", "8BITMIME", "SIZE 1000000", "ENHANCEDSTATUSCODES"},
		{"CHUNKING"},
	} {
		t.Run(strings.Join(ext, "+"), func(t *testing.T) {
			s := newSink(t, ext...)
			d := start(t, quick)
			for range 3 {
				res := d.deliver(letterOf("Subject: dots\n\n", ".\n..a\nb\n.", "a@x.test", "b@x.test"), s.host())
				if got := outcome(res); got != "ok 2.0.0, ok 2.0.0" {
					t.Fatalf("got %s: %+v", got, res)
				}
				if res[0].Relay != s.host() || !res[0].Remote || !strings.HasPrefix(res[0].Text, "250 2.0.0 queued as ") {
					t.Errorf("result %+v", res[0])
				}
			}
			for _, m := range s.received() {
				if m.data != "Subject: dots\r\n\r\n.\r\n..a\r\nb\r\n.\r\n" {
					t.Errorf("content %q", m.data)
				}
				if !strings.HasPrefix(m.from, "<from@us.test>") || len(m.rcpts) != 2 {
					t.Errorf("envelope %+v", m)
				}
			}
			log := strings.Join(d.logs, "\n")
			for _, want := range []string{"msg=transaction ", " relay=\"" + s.host() + "\" ", " tls=none ", " size=31 nrcpt=2 accepted=2 ", " action=ok dsn=2.0.0 "} {
				if !strings.Contains(log, want) {
					t.Errorf("log without %q: %s", want, log)
				}
			}
			if n := s.connections(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
			d.stop()
			if log := s.log(0); log[len(log)-1] != "QUIT" {
				t.Errorf("the last command is %s", log[len(log)-1])
			}
		})
	}
}
