package smtp

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// Each message of a job goes from the address, and with the login, of its own sender.
func TestBySender(t *testing.T) {
	s := newSink(t, "PIPELINING", "AUTH PLAIN")
	var mu sync.Mutex
	peers := make(map[int]string) // by connection
	s.script = func(c *sinkConn, at, _ string) string {
		if at == "banner" {
			mu.Lock()
			peers[c.number], _, _ = net.SplitHostPort(c.tcp.RemoteAddr().String())
			mu.Unlock()
		}
		return ""
	}
	file := filepath.Join(t.TempDir(), "creds")
	if err := os.WriteFile(file, []byte("*,ann@us.test ann secret\n*,@list.test list secret\n* other secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, func(o *options) {
		quick(o)
		o.credFile = file
		if err := o.sources.set("127.0.0.1,*@list.test=127.0.0.2"); err != nil {
			t.Fatal(err)
		}
	})
	l := letter{body: "x\n"}
	for i, sender := range []string{"ann@us.test", "l1@list.test", "", "ann@us.test", "l2@list.test"} {
		one := letterOf(fmt.Sprintf("Subject: %d\n\n", i), "", fmt.Sprintf("r%d@x.test", i))
		one.groups[0].Sender.User = sender
		one.groups[0].Rcpts[0].N = i
		l.groups = append(l.groups, one.groups...)
	}
	for _, r := range d.deliver(l, s.host()) {
		if r.Status != "2.0.0" {
			t.Fatalf("%+v", r)
		}
	}
	want := map[string]string{"<ann@us.test>": "ann 127.0.0.1", "<l1@list.test>": "list 127.0.0.2", "<l2@list.test>": "list 127.0.0.2", "<>": "other 127.0.0.1"}
	mails := s.received()
	for _, m := range mails {
		s.mu.Lock()
		login, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s.conns[m.conn].auth, "PLAIN "))
		s.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		user, _, _ := strings.Cut(strings.TrimPrefix(string(login), "\x00"), "\x00")
		if got := user + " " + peers[m.conn]; got != want[m.from] {
			t.Errorf("%s as %s, want %s", m.from, got, want[m.from])
		}
	}
	if len(mails) != 5 || s.connections() != 3 {
		t.Errorf("%d messages over %d connections, want 5 over 3", len(mails), s.connections())
	}
}
