package policy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/resolver"
)

// TestFacts asks for everything that a policy may know about a message.
func TestFacts(t *testing.T) {
	files := stockFiles()
	files["router.cf"] = `. cf/router.cf
elsewhere() {
	local fact text=
	for fact in sender client helo tls authuser owner messageid spoolid priority size bodytype via envid ret notify orcpt; do
		text="$text $fact=$("$fact" || echo none)"
	done
	for fact in external errormsg smtputf8 requiretls; do
		if "$fact"; then text="$text $fact"; fi
	done
	discard "$text"
}
`
	p := newHost(t, files).load()
	all := func(m *policy.Message, r policy.Recipient) (out string) {
		s := p.Session(context.Background(), m)
		defer s.Close()
		s.Route(r, func(d *policy.Decision) bool { out = strings.TrimSpace(d.Text); return true })
		return out
	}
	got := all(&policy.Message{ID: "I", Sender: "s@x", Client: "192.0.2.1", Helo: "h", TLS: "TLS1.3", AuthUser: "ann", Owner: 7, MessageID: "<m>", Priority: "bulk", Size: 5,
		BodyType: "8BITMIME", Via: "hold", EnvID: "e", Ret: "HDRS", External: true, ErrorMsg: true, SMTPUTF8: true, RequireTLS: true},
		policy.Recipient{Addr: "x@far.example", Notify: "NEVER", ORcpt: "rfc822;x"})
	want := "sender=s@x client=192.0.2.1 helo=h tls=TLS1.3 authuser=ann owner=7 messageid=<m> spoolid=I priority=bulk size=5 bodytype=8BITMIME via=hold envid=e ret=HDRS notify=NEVER orcpt=rfc822;x external errormsg smtputf8 requiretls"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = all(&policy.Message{}, policy.Recipient{Addr: "x@far.example"})
	want = "sender=none client=none helo=none tls=none authuser=none owner=0 messageid=none spoolid=none priority=none size=0 bodytype=none via=none envid=none ret=none notify=none orcpt=none"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestWaits: delay and hold are of the address and what it expands to, or in crossbar
// of the delivery.
func TestWaits(t *testing.T) {
	files := stockFiles()
	files["router.cf"] = `. cf/router.cf
elsewhere() {
	delay 5
	delay 3
	case $1 in held@*) hold ;; esac
	deliver smtp "$2" "$1"
}
crossbar() {
	case $4 in
	*@cross.example) delay 60; hold ;;
	*@changed.example) deliver slow "$3" "$4" ;;
	esac
}
intercept() { case $1 in late@*) delay 9 ;; esac; }
`
	p := newHost(t, files).load()
	for addr, want := range map[string]string{
		"x@far.example":     "deliver smtp far.example x@far.example (after 5s)",
		"held@far.example":  "deliver smtp far.example held@far.example (after 5s) (held)",
		"x@cross.example":   "deliver smtp cross.example x@cross.example (after 1m0s) (held)",
		"x@changed.example": "deliver slow changed.example x@changed.example (after 5s)",
		"late@far.example":  "deliver smtp far.example late@far.example (after 9s)",
		"late@example.org":  "reject 5.1.1 late@example.org: no such user here",
		"joe":               "deliver local joe joe@example.org",
	} {
		s := p.Session(context.Background(), &policy.Message{})
		var got []string
		s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool { got = append(got, d.String()); return true })
		s.Close()
		if strings.Join(got, "; ") != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
	for _, call := range []string{"delay", "delay x", "delay -1", "delay 99999999", "delay 1 2", "hold 1", "setheader X-A 1", "runas 0", "runas x /bin/true", "runas 4000000 /bin/true", "tlsa", "tlsa a b"} {
		files["router.cf"] = ". cf/router.cf\nelsewhere() { " + call + "; deliver smtp x \"$1\"; }\n"
		if got := route(newHost(t, files).load(), "x@far.example"); len(got) != 1 || !strings.HasPrefix(got[0], "defer 4.3.5") || !strings.Contains(got[0], "router.cf:2:") {
			t.Errorf("%s: %q", call, got)
		}
	}
}

// TestRunAs runs a program with the rights of a user.
func TestRunAs(t *testing.T) {
	files := stockFiles()
	uid := os.Getuid()
	if uid == 0 {
		uid = 1234
		files["db/users"] += "kim 1234 4321 /nonexistent\n"
	}
	files["router.cf"] = `. cf/router.cf
elsewhere() {
	local out status
	out=$(runas ` + fmt.Sprint(uid) + ` /bin/sh -c 'id -u; id -G; printf "%s\n" "$1" "$SECRET"; exit 3' sh "$1" | tr '\n' ' ')
	runas ` + fmt.Sprint(uid) + ` /bin/sh -c 'exit 3'
	discard "$out$?"
}
tr() { local line text=; while read -r line; do text="$text$line "; done; echo "$text"; }
`
	p := newHost(t, files).load()
	got := route(p, "$(id)@far.example", "-n@far.example")
	want := fmt.Sprint("discard ", uid, " 4321 -n@far.example 3")
	if os.Getuid() != 0 {
		want = fmt.Sprint("discard ", uid, " ")
	}
	if len(got) != 2 || !strings.HasPrefix(strings.Join(strings.Fields(got[1]), " "), want) || !strings.HasPrefix(got[0], "reject 5.1.3") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestTLSA: only records that DNSSEC vouches for are said.
func TestTLSA(t *testing.T) {
	files := stockFiles()
	files["router.cf"] = ". cf/router.cf\nelsewhere() { discard \"$(tlsa \"_25._tcp.$2\") $?\"; }\n"
	h := newHost(t, files)
	fake, err := resolver.NewFake("_25._tcp.safe.example TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "_25._tcp.safe.example SECURE",
		"_25._tcp.plain.example TLSA 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "_25._tcp.down.example SERVFAIL")
	if err != nil {
		t.Fatal(err)
	}
	c := h.config()
	c.DNS = fake
	p, err := policy.Load(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got := strings.Join(route(p, "x@safe.example", "x@plain.example", "x@none.example", "x@down.example"), "; ")
	want := "discard 3 1 1 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef 0; discard 1; discard 1; defer 4.4.3 x@down.example: tlsa: "
	if !strings.HasPrefix(strings.ReplaceAll(got, "  ", " "), want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
