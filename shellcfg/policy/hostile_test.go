package policy_test

import (
	"context"
	"strings"
	"testing"

	"zmailer/shellcfg/policy"
	"zmailer/spool/rfc5322"
)

// hostileLocals are local parts that have been something else than a name to some
// mailer at some time.
var hostileLocals = []string{
	"$(touch /tmp/x)", "`touch /tmp/x`", "${a}", "${IFS}", "$HOME", "*", "?", "[a-z]", "~root", "~", "-n", "--", "-p",
	"a b", "a\tb", `"`, `'`, `\`, `\joe`, "|/bin/sh", "|id>/tmp/x", "/etc/passwd", "/tmp/file", ":include:/etc/passwd",
	"a;b", "a&b", "a|b", "a>b", "a<b", "(a)", "{a,b}", "a,b", "a:b", "../../etc/passwd", ".", "..", "/", "+", "++", "+joe", "joe+", "joe+/../x",
	"real-", "real-|x", "owner-", "owner-/", "-owner", "-request", "mylist-owner/..", "!", "%", "a!b%c", "ümläut", "漢字", "\u202eevil",
	"error!x", "smtp!host!user", "%1", "%0", "&", "=", "a=b", "0", "joe.", ".joe", "joe..doe",
	strings.Repeat("a", 255), strings.Repeat("+", 200), strings.Repeat("-owner", 30), "IFS", "PATH", "1", "#", "#joe", "!!", "^", "@", "joe@",
}

// TestHostile sends such local parts through every step of the stock policy. Each
// must end in one place and as the name that it is.
func TestHostile(t *testing.T) {
	files := stockFiles()
	files["lists/x"] = "joe\n"
	p := newHost(t, files).load()
	for _, local := range hostileLocals {
		for _, domain := range []string{"example.org", "virtual.example", "shop.example", "a.sub.example", "remote.example", ""} {
			addr := rfc5322.Address{Local: local, Domain: domain}
			in := addr.String()
			if parsed, err := rfc5322.ParseAddress(in); err != nil || parsed.Local != local {
				continue // what no address can carry
			}
			got := route(p, in)
			if len(got) != 1 && local != "joe+" {
				t.Errorf("%q: %d decisions %q", in, len(got), got)
				continue
			}
			for _, d := range got {
				if strings.HasPrefix(d, "defer") || strings.HasPrefix(d, "local pipe") || strings.HasPrefix(d, "local file") {
					t.Errorf("%q: %s", in, d)
				}
				if domain == "remote.example" && d != "smtp remote.example "+in {
					t.Errorf("%q: %s", in, d)
				}
			}
		}
	}
}

// TestHuge sends what is no address.
func TestHuge(t *testing.T) {
	p := newHost(t, stockFiles()).load()
	for _, in := range []string{strings.Repeat("a", 64<<10), strings.Repeat("a", 64<<10) + "@example.org", "joe\nann@x", "joe\r\n", "joe\x00", "\x00", "joe@exa mple.org", "@", "a@b@c", strings.Repeat("\"", 2001), "joe@" + strings.Repeat("x.", 2000)} {
		got := route(p, in)
		if len(got) != 1 || !strings.HasPrefix(got[0], "reject 5.1.3") {
			t.Errorf("%.40q: %.100q", in, got)
		}
	}
}

// TestHostileMembers puts such texts into an alias: they are the administrator's
// own doing there, but still must not do anything else.
func TestHostileMembers(t *testing.T) {
	files := stockFiles()
	files["list"] = strings.Join(hostileLocals, "\n") + "\n"
	p := newHost(t, files).load()
	for _, d := range route(p, "inc") {
		if strings.HasPrefix(d, "defer") && !strings.Contains(d, "list cannot be read") {
			t.Error(d)
		}
	}
}

func FuzzRoute(f *testing.F) {
	for _, tt := range stockTests {
		f.Add(tt.in)
	}
	for _, local := range hostileLocals {
		f.Add(rfc5322.Address{Local: local, Domain: "example.org"}.String())
	}
	p := newHost(f, stockFiles()).load()
	f.Fuzz(func(t *testing.T, addr string) {
		s := p.Session(context.Background(), &policy.Message{})
		defer s.Close()
		n := 0
		s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
			n++
			if d.Action == policy.Defer {
				t.Errorf("%q: %s", addr, d)
			}
			if d.Action == policy.Deliver && d.Channel == policy.LocalChannel && (d.User[0] == '|' && d.User != "|/path/prog -x" || d.User[0] == '/' && d.User != "/archive/dump") {
				t.Errorf("%q: %s", addr, d)
			}
			return true
		})
		if n == 0 {
			t.Errorf("%q: no decision", addr)
		}
	})
}

func FuzzItems(f *testing.F) {
	for _, s := range []string{`joe, "|prog a,b", /file`, `|"prog x"`, ":include:/x", `\joe`, `"\\joe"`, "Joe Doe <joe@x>, ann (comment)", "# c\njoe"} {
		f.Add(s)
	}
	files := stockFiles()
	files["router.cf"] = ". cf/router.cf\nintercept() { expand -- \"$(header X)\" || discard; }\n"
	p := newHost(f, files).load()
	f.Fuzz(func(t *testing.T, text string) {
		h, _, err := rfc5322.ParseHeader([]byte("X: " + strings.ReplaceAll(text, "\n", "\n ") + "\n"))
		if err != nil || len(h) != 1 {
			return
		}
		s := p.Session(context.Background(), &policy.Message{Header: h})
		defer s.Close()
		s.Route(policy.Recipient{Addr: "start"}, func(d *policy.Decision) bool { return true })
	})
}
