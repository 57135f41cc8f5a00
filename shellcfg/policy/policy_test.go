package policy_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/users"
)

// host is a configuration directory in a test.
type host struct {
	t    testing.TB
	dir  string
	conf *shellcfg.Conf
	log  *strings.Builder
}

// newHost makes an instance from files by their names below MAILVAR. %d in a
// file is the directory.
func newHost(t testing.TB, files map[string]string) *host {
	h := &host{t: t, dir: t.TempDir(), log: new(strings.Builder)}
	if files["zmailer.conf"] == "" {
		h.write("zmailer.conf", "POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nDEFAULTUSER=joe\n")
	}
	for name, text := range files {
		h.write(name, text)
	}
	conf, err := shellcfg.LoadConf(filepath.Join(h.dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	h.conf = conf
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "%d", h.dir)), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) config() policy.Config {
	interval := time.Nanosecond // changes count at once
	if _, ok := h.t.(*testing.B); ok {
		interval = 0
	}
	return policy.Config{
		Conf:  h.conf,
		Log:   slog.New(slog.NewTextHandler(h.log, nil)),
		Users: users.New(users.Sources{Virtual: h.conf.Path("db/users"), Interval: interval}),
	}
}

func (h *host) load() *policy.Policy {
	h.t.Helper()
	p, err := policy.Load(context.Background(), h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { p.Close() })
	return p
}

// text writes a decision the way the tests have it.
func text(d *policy.Decision) string {
	switch d.Action {
	case policy.Deliver:
		s := fmt.Sprintf("%s %s %s", d.Channel, d.Host, d.User)
		if d.HasSender {
			s += " from " + d.Sender
		}
		return s
	case policy.Reject, policy.Defer:
		return fmt.Sprintf("%s %s %s: %s", d.Action, d.Status, d.Address, d.Text)
	}
	return fmt.Sprintf("%s %s", d.Action, d.Text)
}

func route(p *policy.Policy, addrs ...string) []string {
	return routeMessage(p, &policy.Message{Sender: "ann@example.net"}, addrs...)
}

func routeMessage(p *policy.Policy, m *policy.Message, addrs ...string) []string {
	s := p.Session(context.Background(), m)
	defer s.Close()
	var out []string
	for _, a := range addrs {
		s.Route(policy.Recipient{Addr: a}, func(d *policy.Decision) bool {
			out = append(out, text(d))
			return true
		})
	}
	return out
}

// routePrivileges routes an address and tells the uid of each delivery.
func routePrivileges(p *policy.Policy, addr string) (out []string) {
	s := p.Session(context.Background(), &policy.Message{})
	defer s.Close()
	s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
		if d.Action == policy.Deliver {
			out = append(out, fmt.Sprintf("%s as %d", text(d), d.Privilege))
		} else {
			out = append(out, text(d))
		}
		return true
	})
	return out
}

// stockFiles are the tables that most tests use. The users have the uid of the
// test, so that their files can be his.
func stockFiles() map[string]string {
	id := fmt.Sprint(os.Getuid())
	return map[string]string{
		"db/users": "joe " + id + " " + id + " %d/home/joe\n" +
			"bob " + id + " " + id + " %d/home/bob\n" +
			"ann " + id + " " + id + " %d/home/ann\n" +
			"old " + id + " " + id + " %d/home/old\nroot 0 0 /nonexistent\n",
		"home/bob/.forward": "bob@elsewhere.example, \\bob\n",
		"db/aliases": `
root: joe
multi: joe, jane@remote.example.net, bob
prog: "|/path/prog -x"
file: /archive/dump
inc: :include:%d/list
self: self, joe
ann: ann, joe
a: b
b: a
list: joe, ann
owner-list: bob
esc: \bob
`,
		"list":            "# comment\njoe\nxavier@remote.example\n@@\n",
		"lists/mylist":    "joe\nzoe@remote.example\n",
		"db/localnames":   "example.org\n.dept.example.org\n",
		"db/otherservers": "peer.dept.example.org\n",
		"db/fqdnaliases":  "info@virtual.example: joe\n\"@virtual.example\": %1@catch.example\n",
		"db/virtual":      "sales@shop.example joe, ann\nno@shop.example error!gone away\n",
		"db/routes": `routed.example smtp!gw.example.net
.sub.example smtp![10.1.1.1]
.bad.example error!no mail for that domain
itself.example smtp!
joe@moved.example smtp!other.example!joe@new.example
`,
		"db/relays":       "partner.example\n",
		"db/expiredaccts": "old  left the company\n",
		"db/fullnames":    "joe.doe joe\n",
	}
}

var stockTests = []struct {
	in   string
	want string // decisions, separated by "; "
}{
	{"joe", "local joe joe@example.org"},
	{"joe@example.org", "local joe joe@example.org"},
	{"JOE@Example.ORG.", "local joe joe@example.org"},
	{"joe@mail.example.org", "local joe joe@mail.example.org"},
	{"joe@localhost", "local joe joe@localhost"},
	{"joe@x.dept.example.org", "local joe joe@x.dept.example.org"},
	{"joe@peer.dept.example.org", "smtp peer.dept.example.org joe@peer.dept.example.org"},
	{"root", "local joe joe@example.org"},
	{"postmaster", "local joe joe@example.org"},
	{"Postmaster@example.org", "local joe joe@example.org"},
	{"", "local joe joe@example.org"},
	{"multi", "local joe joe@example.org; smtp remote.example.net jane@remote.example.net; smtp elsewhere.example bob@elsewhere.example; local bob bob@example.org"},
	{"prog", "local pipe./path/prog |/path/prog -x"},
	{"file", "local file./archive/dump /archive/dump"},
	{"inc", "local joe joe@example.org; smtp remote.example xavier@remote.example; reject 5.1.3 @@: bad address syntax"},
	{"self", "reject 5.1.1 self: no such user here; local joe joe@example.org"},
	{"ann", "local ann ann@example.org; local joe joe@example.org"},
	{"a", "reject 5.1.1 a: no such user here"},
	{"list", "local joe joe@example.org from owner-list@example.org; local ann ann@example.org from owner-list@example.org"},
	{"esc", "local bob bob@example.org"},
	{"mylist", "local joe joe@example.org from mylist-owner@example.org; smtp remote.example zoe@remote.example from mylist-owner@example.org"},
	{"joe+detail", "local joe joe+detail@example.org"},
	{"real-bob", "local bob bob@example.org"},
	{"bob+x", "smtp elsewhere.example bob@elsewhere.example; local bob bob@example.org"},
	{"joe.doe@example.org", "local joe joe@example.org"},
	{"old@example.org", "reject 5.2.1 old@example.org: left the company"},
	{"info@virtual.example", "local joe joe@example.org"},
	{"info+x@virtual.example", "local joe joe+x@example.org"},
	{"any@virtual.example", "smtp catch.example any@catch.example"},
	{"sales@shop.example", "local joe joe@example.org; local ann ann@example.org"},
	{"no@shop.example", "reject 5.1.1 no@shop.example: gone away"},
	{"x@routed.example", "smtp gw.example.net x@routed.example"},
	{"x@a.sub.example", "smtp [10.1.1.1] x@a.sub.example"},
	{"x@b.bad.example", "reject 5.1.2 x@b.bad.example: no mail for that domain"},
	{"x@itself.example", "smtp itself.example x@itself.example"},
	{"joe@moved.example", "smtp other.example joe@new.example"},
	{"x@remote.example.com", "smtp remote.example.com x@remote.example.com"},
	{"x@[10.9.9.9]", "smtp [10.9.9.9] x@[10.9.9.9]"},
	{"joe@[127.0.0.1]", "local joe joe@[127.0.0.1]"},
	{"joe@[IPv6:::1]", "local joe joe@[IPv6:::1]"},
	{"host!user", "reject 5.7.1 host!user: no such user here, and no routing by % or ! either"},
	{"user%remote@example.org", "reject 5.7.1 user%remote@example.org: no such user here, and no routing by % or ! either"},
	{"@a,@b:u@c", "smtp c u@c"},
	{"nosuch", "reject 5.1.1 nosuch: no such user here"},
	{"nosuch@example.org", "reject 5.1.1 nosuch@example.org: no such user here"},
	{"x@münchen.example", "smtp xn--mnchen-3ya.example x@münchen.example"},
}

func TestStock(t *testing.T) {
	h := newHost(t, stockFiles())
	p := h.load()
	for _, tt := range stockTests {
		if got := strings.Join(route(p, tt.in), "; "); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.in, got, tt.want)
		}
	}
	if h.log.Len() > 0 {
		t.Errorf("log:\n%s", h.log)
	}
}
