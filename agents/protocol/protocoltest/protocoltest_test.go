package protocoltest

import (
	"context"
	"io"
	"testing"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

func TestDeliver(t *testing.T) {
	s := NewSpool(t)
	agent := &protocol.Agent{Spool: s, Capacity: 2, Deliver: func(_ context.Context, d *protocol.Delivery) {
		body, err := io.ReadAll(d.Body())
		if err != nil || string(body) != "hello\n" {
			t.Errorf("body %q: %v", body, err)
		}
		for _, g := range d.Groups() {
			for _, r := range g.Rcpts {
				d.Report(r.N, dsn.Success("2.1.5", "%s to %s", g.Sender.User, r.User))
			}
		}
	}}
	got := Deliver(t, s, agent, To("a@example.org", Rcpt("local", "-", "joe"), Rcpt("smtp", "h", "ann"), Rcpt("local", "-", "bob")))
	for i, want := range []string{"a@example.org to joe", "a@example.org to ann", "a@example.org to bob"} {
		if i >= len(got) || got[i].Text != want || got[i].Action != dsn.OK {
			t.Errorf("recipient %d: %+v", i, got)
		}
	}
	if c, err := spool.ReadControl(s.ControlPath(Route(t, s, To("", Rcpt("a", "b", "c"))))); err != nil || !c.Groups[0].NullSender() {
		t.Errorf("control %+v: %v", c, err)
	}
}
