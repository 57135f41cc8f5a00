package hold

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/agents/resubmit"
	"zmailer/spool/dsn"
)

func TestHold(t *testing.T) {
	s := protocoltest.NewSpool(t)
	h := &holder{resubmit: &resubmit.Resubmitter{Spool: s, Hostname: "h", Via: "hold"}, dial: new(net.Dialer).DialContext}
	agent := &protocol.Agent{Spool: s, Capacity: 2, Deliver: h.deliver}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	defer l.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := closed.Addr().String()
	closed.Close()
	there := filepath.Join(t.TempDir(), "lock")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	for _, tt := range []struct {
		host string
		want dsn.Action
	}{
		{fmt.Sprintf("until:%d", now-1), dsn.Expanded},
		{fmt.Sprintf("until:%d", now+100), dsn.RetryAt},
		{"until:tomorrow", dsn.Deferred},
		{"host:" + open, dsn.Expanded},
		{"host:" + dead, dsn.Deferred},
		{"host:", dsn.Deferred},
		{"gone:" + there, dsn.Deferred},
		{"gone:" + there + ".other", dsn.Expanded},
		{"gone:" + there + "/below", dsn.Deferred},
		{"gone:relative", dsn.Deferred},
		{"ns:x/a", dsn.Deferred},
		{"", dsn.Deferred},
	} {
		got := protocoltest.Deliver(t, s, agent, protocoltest.To("a@example.org", protocoltest.Rcpt("hold", tt.host, "joe@example.net")))
		if got[0].Action != tt.want {
			t.Errorf("%s: %+v, want %v", tt.host, got[0], tt.want)
		}
		if tt.want == dsn.RetryAt && (got[0].RetryAfter < 99*time.Second || got[0].RetryAfter > 101*time.Second) {
			t.Errorf("%s: retry after %v", tt.host, got[0].RetryAfter)
		}
	}
}
