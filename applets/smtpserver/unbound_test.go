package smtpserver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg/resolver"
	"zmailer/testdata/peers"
)

// TestUnbound: lists of the DNS, names of clients and senders' domains by way of a
// real resolver.
func TestUnbound(t *testing.T) {
	unbound := peers.Program(t, "unbound", "usr/sbin/unbound")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String() // free, most likely still when unbound takes it
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	dir := t.TempDir()
	conf := fmt.Sprintf(`server:
	interface: 127.0.0.1
	port: %s
	username: ""
	chroot: ""
	directory: "%s"
	pidfile: ""
	use-syslog: no
	do-daemonize: no
	do-not-query-localhost: no
	module-config: "iterator"
	local-zone: "." static
	local-data: "1.2.0.192.list.example. A 127.0.0.2"
	local-data: "1.2.0.192.friends.example. A 127.0.0.1"
	local-data: "2.2.0.192.list.example. A 127.0.0.2"
	local-data: "3.2.0.192.list.example. A 127.255.255.254"
	local-data: "mail.example. MX 10 host.mail.example."
	local-data: "null.example. MX 0 ."
`, port, dir)
	if err := os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	runPeer(t, dir, addr, unbound+" -d -c "+dir+"/conf")
	names, err := resolver.New(resolver.Config{Servers: []string{addr}})
	if err != nil {
		t.Fatal(err)
	}
	ts := start(t, `proxy_from 127.0.0.1
smtp_connect() {
	dnsbl list.example friends.example=-1; case $? in 0) reject 554 5.7.1 "listed by $dnsbl_lists";; 75) return 75;; esac
}
smtp_mail() { takes_mail; case $? in 1) reject 550 5.1.8 "no mail to you";; 75) return 75;; esac; }
`)
	ts.server.names = names
	for client, want := range map[string]string{
		"192.0.2.1": "220 ", "192.0.2.2": "554 5.7.1 listed by list.example", "192.0.2.3": "451 4.3.0 ", "192.0.2.4": "220 ",
	} {
		if got := ts.converse("PROXY TCP4 " + client + " 192.0.2.25 1024 25\nQUIT\n"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", client, got)
		}
	}
	for sender, want := range map[string]string{"x@mail.example": "250 ", "x@null.example": "550 5.1.8 ", "x@nothing.example": "550 5.1.8 "} {
		if got := ts.converse("PROXY TCP4 192.0.2.4 192.0.2.25 1024 25\nHELO c\nMAIL FROM:<" + sender + ">\nQUIT\n"); !strings.Contains(got, "\n"+want) {
			t.Errorf("%s: %s", sender, got)
		}
	}
}
