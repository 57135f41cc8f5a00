package resubmit

import (
	"io"
	"os"
	"strings"
	"testing"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

func TestAll(t *testing.T) {
	s := protocoltest.NewSpool(t)
	m := protocoltest.To("new@example.org", protocoltest.Rcpt("smtp", "h", "joe@example.net"), protocoltest.Rcpt("local", "ann", "ann"))
	m.Env = spool.Envelope{HasFrom: true, From: "old@example.org", To: []spool.Recipient{{Addr: "first@example.org"}}, EnvID: "e1",
		External: true, MayRelay: true, RcvdFrom: "x ([192.0.2.1])", SMTPUTF8: true, For: "first@example.org"}
	m.Attr.Owner = "1234"
	m.Groups[0].Rcpts[0].Notify = "NEVER"
	m.Groups[0].Rcpts[1].ORcpt = "rfc822;ann@example.com"
	m.Groups[0].Header = []byte("X-Rewritten: yes\n\n")
	r := &Resubmitter{Spool: s, Hostname: "mx.example.org", Via: "reroute"}
	got := protocoltest.Deliver(t, s, &protocol.Agent{Spool: s, Capacity: 1, Deliver: r.All}, m)
	var to []spool.Recipient
	for i, res := range got {
		id, err := spool.ParseID(strings.TrimPrefix(res.Text, "reroute: submitted again as "))
		if res.Action != dsn.Expanded || err != nil {
			t.Fatalf("recipient %d: %+v %v", i, res, err)
		}
		msg, err := spool.OpenMessage(s.Path(spool.RouterDir, id), id)
		if err != nil {
			t.Fatal(err)
		}
		defer msg.Close()
		e := msg.Env
		if e.From != "new@example.org" || e.EnvID != "e1" || !e.External || !e.MayRelay || !e.SMTPUTF8 || e.RcvdFrom != "x ([192.0.2.1])" || e.Via != "reroute" || e.Owner != "1234" || e.For != "" {
			t.Errorf("envelope %+v", e)
		}
		to = append(to, e.To...)
		text, err := io.ReadAll(io.NewSectionReader(msg.File, msg.Header, msg.Size-msg.Header))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), "Received: by mx.example.org (reroute)\n\tid ") || !strings.HasSuffix(string(text), "+0000\n"+m.Header+m.Body) && !strings.HasSuffix(string(text), m.Header+m.Body) {
			t.Errorf("message:\n%s", text)
		}
	}
	if len(to) != 2 || to[0] != (spool.Recipient{Addr: "joe@example.net", Notify: "NEVER"}) || to[1] != (spool.Recipient{Addr: "ann@example.com", ORcpt: "rfc822;ann@example.com"}) {
		t.Errorf("recipients %+v", to)
	}
}

// Mail that was kept, and released, is not kept again; mail that is rerouted while it
// is kept stays so.
func TestHold(t *testing.T) {
	for _, kept := range []bool{false, true} {
		s := protocoltest.NewSpool(t)
		m := protocoltest.To("a@example.org", protocoltest.Rcpt("smtp", "h", "joe@example.net"))
		m.Env.Hold = "a filter asked for it"
		m.Groups[0].Rcpts[0].Kept = kept
		r := &Resubmitter{Spool: s, Hostname: "h", Via: "reroute"}
		got := protocoltest.Deliver(t, s, &protocol.Agent{Spool: s, Capacity: 1, Deliver: r.All}, m)
		id, err := spool.ParseID(strings.TrimPrefix(got[0].Text, "reroute: submitted again as "))
		if err != nil {
			t.Fatal(err)
		}
		msg, err := spool.OpenMessage(s.Path(spool.RouterDir, id), id)
		if err != nil {
			t.Fatal(err)
		}
		defer msg.Close()
		if (msg.Env.Hold != "") != kept {
			t.Errorf("kept %v, and hold is %q", kept, msg.Env.Hold)
		}
	}
}

func TestSubmitFails(t *testing.T) {
	s := protocoltest.NewSpool(t)
	m := protocoltest.To("a@example.org", protocoltest.Rcpt("smtp", "h", "joe@example.net"))
	id := protocoltest.Route(t, s, m)
	if err := os.RemoveAll(s.Root + "/" + spool.RouterDir); err != nil {
		t.Fatal(err)
	}
	r := &Resubmitter{Spool: s, Hostname: "h", Via: "hold"}
	for _, rcpts := range protocoltest.Run(t, &protocol.Agent{Spool: s, Capacity: 1, Deliver: r.All}, protocoltest.Jobs(t, s, id, 1)...) {
		if rcpts[0].Action != dsn.Deferred {
			t.Errorf("%+v", rcpts[0])
		}
	}
}
