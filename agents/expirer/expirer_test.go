package expirer

import (
	"testing"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
)

func TestExpirer(t *testing.T) {
	s := protocoltest.NewSpool(t)
	for silent, want := range map[bool]dsn.Action{false: dsn.Failed, true: dsn.Expanded} {
		agent := &protocol.Agent{Spool: s, Capacity: 2, Deliver: deliver(silent, "gone\nfor good")}
		for _, r := range protocoltest.Deliver(t, s, agent, protocoltest.To("a@example.org", protocoltest.Rcpt("smtp", "h", "joe"), protocoltest.Rcpt("smtp", "h", "ann"))) {
			if r.Action != want || r.Text != "gone for good" {
				t.Errorf("silent %v: %+v", silent, r)
			}
		}
	}
}
