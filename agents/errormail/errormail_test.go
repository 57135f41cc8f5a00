package errormail

import (
	"testing"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
)

func TestSplit(t *testing.T) {
	for _, tt := range []struct{ in, address, text string }{
		{"joe@x no such user", "joe@x", "no such user"},
		{"joe@x", "joe@x", ""},
		{`"a b"@x gone away`, `"a b"@x`, "gone away"},
		{`"a\" b"@x gone`, `"a\" b"@x`, "gone"},
		{`"open quote`, `"open quote`, ""},
		{`"\`, `"\`, ""},
		{"", "", ""},
	} {
		if a, text := Split(tt.in); a != tt.address || text != tt.text {
			t.Errorf("%q: %q %q", tt.in, a, text)
		}
	}
}

func TestErrormail(t *testing.T) {
	s := protocoltest.NewSpool(t)
	got := protocoltest.Deliver(t, s, &protocol.Agent{Spool: s, Capacity: 1, Deliver: deliver}, protocoltest.To("a@example.org",
		protocoltest.Rcpt("error", "5.1.1", "joe@x no such user"),
		protocoltest.Rcpt("error", "bounce", "ann@x"),
		protocoltest.Rcpt("error", "4.1.1", "bob@x later")))
	for i, want := range []dsn.Result{dsn.Perm("5.1.1", "no such user"), dsn.Perm("5.0.0", "the address was refused"), dsn.Perm("5.0.0", "later")} {
		if got[i] != want {
			t.Errorf("recipient %d: %+v, want %+v", i, got[i], want)
		}
	}
}
