package smtp

import (
	"net"
	"testing"
)

func TestSource(t *testing.T) {
	var s sources
	if err := s.set("192.0.2.1,2001:db8::1,*.example.org=192.0.2.2,*@list.test=192.0.2.3"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ address, dest, name, sender, want string }{
		{"198.51.100.1:25", "x.test", "mx.x.test", "joe@us.test", "192.0.2.1"},
		{"198.51.100.1:25", "x.test", "mx.example.org", "joe@us.test", "192.0.2.2"},
		{"198.51.100.1:25", "a.example.org", "mx.x.test", "JOE@List.test", "192.0.2.3"},
		{"[2001:db8::99]:25", "a.example.org", "mx.x.test", "joe@list.test", "2001:db8::1"},
		{"198.51.100.1:25", "x.test", "mx.x.test", "", "192.0.2.1"},
	} {
		if got := s.of(&target{network: "tcp", address: tt.address, dest: tt.dest, name: tt.name}, tt.sender); got.String() != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
	}
	for _, bad := range []string{"", "x", "a=", "[=192.0.2.1", "=192.0.2.1", "192.0.2.1,"} {
		if (&sources{}).set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}

	k := newSink(t)
	peer := ""
	k.script = func(c *sinkConn, at, _ string) string {
		if at == "banner" {
			peer, _, _ = net.SplitHostPort(c.tcp.RemoteAddr().String())
		}
		return ""
	}
	d := start(t, func(o *options) {
		quick(o)
		if err := o.sources.set("127.0.0.3,*@us.test=127.0.0.2"); err != nil {
			t.Fatal(err)
		}
	})
	if res := d.deliver(simple("a@x.test"), k.host()); outcome(res) != "ok 2.0.0" || peer != "127.0.0.2" {
		t.Errorf("from %s: %+v", peer, res)
	}
}
