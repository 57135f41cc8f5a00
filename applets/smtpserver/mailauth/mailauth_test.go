package mailauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/emersion/go-msgauth/authres"
	"github.com/emersion/go-msgauth/dkim"

	"zmailer/shellcfg/resolver"
)

func fake(t testing.TB, lines ...string) DNS {
	t.Helper()
	f, err := resolver.NewFake(lines...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSPF(t *testing.T) {
	d := fake(t,
		`example.org TXT "v=spf1 ip4:192.0.2.1 a:mx.example.org -all"`,
		"mx.example.org A 192.0.2.2",
		`soft.example TXT "v=spf1 ~all"`,
		`bad.example TXT "v=spf1 nonsense -all"`,
		`slow.example TXT "v=spf1 a:host.slow.example -all"`,
		"host.slow.example SERVFAIL",
		"down.example SERVFAIL",
	)
	for _, tt := range []struct{ ip, helo, sender, want string }{
		{"192.0.2.1", "x", "a@example.org", "pass"},
		{"192.0.2.2", "x", "a@EXAMPLE.org", "pass"},
		{"192.0.2.3", "x", "a@example.org", "fail"},
		{"2001:db8::1", "x", "a@example.org", "fail"},
		{"192.0.2.3", "x", `"a@b"@example.org`, "fail"},
		{"192.0.2.3", "x", "a@soft.example", "softfail"},
		{"192.0.2.3", "x", "a@nothing.example", "none"},
		{"192.0.2.3", "x", "a@bad.example", "permerror"},
		{"192.0.2.3", "x", "a@down.example", "temperror"},
		{"192.0.2.3", "x", "a@slow.example", "temperror"},
		{"192.0.2.1", "example.org", "", "pass"},
		{"192.0.2.1", "[192.0.2.1]", "", "none"},
		{"192.0.2.1", "localhost", "", "none"},
	} {
		got := SPF(context.Background(), d, netip.MustParseAddr(tt.ip), tt.helo, tt.sender)
		if string(got.Value) != tt.want {
			t.Errorf("%s %s <%s>: %s, want %s", tt.ip, tt.helo, tt.sender, got.Value, tt.want)
		}
	}
}

func pass(domain string) SPFResult { return SPFResult{Value: authres.ResultPass, Domain: domain} }

func signed(domain string) []DKIMResult {
	return []DKIMResult{{Value: authres.ResultFail, Domain: "x.example"}, {Value: authres.ResultPass, Domain: domain}}
}

func TestDMARC(t *testing.T) {
	d := fake(t,
		`_dmarc.example.com TXT "v=DMARC1; p=reject; sp=quarantine; np=reject; rua=mailto:d@example.com"`,
		"sub.example.com A 192.0.2.1",
		`_dmarc.strict.example TXT "v=DMARC1;p=quarantine;adkim=s;aspf=s"`,
		`_dmarc.test.example TXT "v=DMARC1; p=reject; t=y"`,
		`_dmarc.bank TXT "v=DMARC1; p=reject; psd=y; np=reject"`,
		"one.bank A 192.0.2.1",
		`_dmarc.big.example TXT "v=DMARC1; p=reject"`,
		`_dmarc.unit.big.example TXT "v=DMARC1; p=none; psd=n"`,
		`_dmarc.two.example TXT "v=DMARC1; p=none"`,
		`_dmarc.two.example TXT "v=DMARC1; p=reject"`,
		`_dmarc.report.example TXT "v=DMARC1; rua=mailto:x@report.example"`,
		`_dmarc.broken.example TXT "v=DMARC1; p=rejct"`,
		"_dmarc.down.example SERVFAIL",
		`_dmarc.c.b.a.deep.example TXT "v=DMARC1; p=reject"`,
		`_dmarc.a.deep.example TXT "v=DMARC1; p=quarantine"`,
		`_dmarc.gov.test TXT "v=DMARC1; p=reject; psd=y"`,
		`_dmarc.test TXT "v=DMARC1; p=none"`,
		`_dmarc.bare.example TXT "v=DMARC1; psd=n"`,
		`_dmarc.sub.big.example TXT "v=DMARC1; p=rejct"`,
		`_dmarc.halftwo.example TXT "v=DMARC1; p=reject"`,
		`_dmarc.halftwo.example TXT "v=DMARC1; p=rejct"`,
		`_dmarc.halftwo.example TXT "v=spf1 -all"`,
		`_dmarc.badsp.example TXT "v=DMARC1; p=reject; sp=some; rua=https://r.example/"`,
		`_dmarc.order.example TXT "p=reject; v=DMARC1"`,
		`_dmarc.case.example TXT "v=dmarc1; p=reject"`,
		`_dmarc.loose.example TXT " V = DMARC1 ; P = Reject ; x=y ; adkim = S; "`,
		`_dmarc.mid.org.example TXT "v=DMARC1; p=none; sp=none"`,
		`_dmarc.org.example TXT "v=DMARC1; p=quarantine; sp=reject; np=none"`,
		"a.mid.org.example A 192.0.2.1",
		"b.org.example MX 10 mx.org.example",
		"slow.org.example SERVFAIL",
		`_dmarc.q.example TXT "v=DMARC1; p=quarantine; t=y"`,
		"_dmarc.lost.org.example SERVFAIL",
	)
	temp := SPFResult{Value: authres.ResultTempError}
	for _, tt := range []struct {
		name, from   string
		spf          SPFResult
		dkim         []DKIMResult
		want, policy string
	}{
		{"own domain", "a@example.com", pass("example.com"), nil, "pass", "reject"},
		{"relaxed by SPF", "a@example.com", pass("bounce.example.com"), nil, "pass", "reject"},
		{"relaxed by DKIM", "a@sub.example.com", SPFResult{}, signed("example.com"), "pass", "quarantine"},
		{"other domain", "a@example.com", pass("example.net"), signed("example.net"), "fail", "reject"},
		{"look-alike", "a@example.com", pass("notexample.com"), nil, "fail", "reject"},
		{"subdomain", "a@sub.example.com", SPFResult{}, nil, "fail", "quarantine"},
		{"no such subdomain", "a@ghost.example.com", SPFResult{}, nil, "fail", "reject"},
		{"strict, subdomain", "a@strict.example", pass("x.strict.example"), signed("x.strict.example"), "fail", "quarantine"},
		{"strict, exact", "a@strict.example", pass("STRICT.example."), nil, "pass", "quarantine"},
		{"testing", "a@test.example", SPFResult{}, nil, "fail", "quarantine"},
		{"below a public suffix", "a@one.bank", pass("one.bank"), nil, "pass", "reject"},
		{"neighbours below a public suffix", "a@one.bank", pass("two.bank"), nil, "fail", "reject"},
		{"unit of its own", "a@unit.big.example", pass("big.example"), nil, "fail", "none"},
		{"unit's own", "a@unit.big.example", pass("x.unit.big.example"), nil, "pass", "none"},
		{"two records", "a@two.example", SPFResult{}, nil, "none", ""},
		{"reports only", "a@report.example", SPFResult{}, nil, "fail", "none"},
		{"not a policy", "a@broken.example", SPFResult{}, nil, "none", ""},
		{"no record", "a@nothing.example", pass("nothing.example"), nil, "none", ""},
		{"no answer", "a@down.example", pass("down.example"), nil, "temperror", ""},
		{"SPF unknown", "a@example.com", temp, nil, "temperror", "reject"},
		{"SPF unknown, DKIM good", "a@example.com", temp, signed("example.com"), "pass", "reject"},
		{"deep: the nearest record that is asked", "a@9.8.7.6.5.4.c.b.a.deep.example", SPFResult{}, nil, "fail", "quarantine"},
		{"several of one domain", "a@example.com, b@example.com", pass("example.com"), nil, "pass", "reject"},
		{"several domains", "a@example.com, b@example.net", pass("example.com"), nil, "permerror", ""},
		{"nobody", "undisclosed:;", SPFResult{}, nil, "permerror", ""},
		{"the suffix itself stops the walk", "a@gov.test", pass("test"), nil, "fail", "reject"},
		{"the suffix itself", "a@gov.test", pass("gov.test"), nil, "pass", "reject"},
		{"below the suffix", "a@x.y.gov.test", pass("y.gov.test"), nil, "pass", "reject"},
		{"neighbours below the suffix", "a@x.gov.test", pass("gov.test"), nil, "fail", "reject"},
		{"no policy, no reports", "a@bare.example", pass("x.bare.example"), nil, "pass", "none"},
		{"broken record hides that above", "a@sub.big.example", SPFResult{}, nil, "none", ""},
		{"two records, one broken", "a@halftwo.example", SPFResult{}, nil, "none", ""},
		{"bad sp with reports", "a@badsp.example", SPFResult{}, nil, "fail", "none"},
		{"version is not first", "a@order.example", SPFResult{}, nil, "none", ""},
		{"version in lower case", "a@case.example", SPFResult{}, nil, "none", ""},
		{"white space", "a@loose.example", pass("x.loose.example"), nil, "pass", "reject"},
		{"white space, strict", "a@loose.example", SPFResult{}, signed("x.loose.example"), "fail", "reject"},
		{"own record in the middle", "a@mid.org.example", pass("org.example"), nil, "pass", "none"},
		{"record of the organization, not the nearest", "a@a.mid.org.example", SPFResult{}, nil, "fail", "reject"},
		{"there is an MX", "a@b.org.example", SPFResult{}, nil, "fail", "reject"},
		{"there is nothing", "a@c.org.example", SPFResult{}, nil, "fail", "none"},
		{"nobody knows whether it is there", "a@slow.org.example", SPFResult{}, nil, "temperror", "reject"},
		{"quarantine in test", "a@q.example", SPFResult{}, nil, "fail", "none"},
		{"no answer on the way", "a@x.lost.org.example", pass("org.example"), nil, "temperror", ""},
		{"alignment without an answer", "a@org.example", pass("lost.org.example"), nil, "temperror", "quarantine"},
		{"several domains, one wants no forgery", "a@evil.example, b@example.com", pass("evil.example"), nil, "permerror", "reject"},
		{"several domains, both verified", "a@example.com, b@big.example", pass("example.com"), signed("big.example"), "permerror", ""},
		{"cannot be read", "<a@example.com <b@evil.example>", pass("evil.example"), nil, "permerror", "reject"},
		{"too many domains", "a@a, a@b, a@c, a@d, a@e, a@f, a@g, a@h, a@example.com", SPFResult{}, nil, "permerror", "reject"},
		{"U-labels", "a@bücher.example", SPFResult{}, nil, "none", ""},
	} {
		got := DMARC(context.Background(), d, []string{tt.from}, tt.spf, tt.dkim)
		if string(got.Value) != tt.want || got.Policy != tt.policy {
			t.Errorf("%s: %s, policy %q (%s), want %s, %q", tt.name, got.Value, got.Policy, got.Reason, tt.want, tt.policy)
		}
	}
	for _, from := range [][]string{nil, {"a@example.com", "a@example.com"}} {
		// A field that was added to a message that was signed is no author of it.
		want := ""
		if from != nil {
			want = "reject"
		}
		if got := DMARC(context.Background(), d, from, pass("example.com"), nil); got.Value != authres.ResultPermError || got.Policy != want {
			t.Errorf("%q: %+v", from, got)
		}
	}
}

// TestWalk checks that the longest name costs few questions: RFC 9989 §4.10.
func TestWalk(t *testing.T) {
	n, name := 0, strings.Repeat("a.", 100)+"example"
	for ; name != ""; name = parent(name) {
		n++
	}
	if n != 8 {
		t.Errorf("%d questions", n)
	}
}

func TestDKIM(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := fake(t,
		`s._domainkey.example.org TXT "v=DKIM1; k=ed25519; p=`+base64.StdEncoding.EncodeToString(pub)+`"`,
		"s._domainkey.down.example SERVFAIL",
	)
	sign := func(domain, msg string) string {
		var b bytes.Buffer
		if err := dkim.Sign(&b, strings.NewReader(msg), &dkim.SignOptions{Domain: domain, Selector: "s", Signer: key}); err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(b.String(), "\r\n", "\n")
	}
	const msg = "From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n\r\nmore\r\n"
	good := sign("example.org", msg)
	for _, tt := range []struct {
		name, msg string
		want      []string
	}{
		{"none", "From: a@b\n\nx\n", []string{"none"}},
		{"good", good, []string{"pass"}},
		{"changed", good + "x\n", []string{"fail"}},
		{"no answer", sign("down.example", msg), []string{"temperror"}},
		{"no key", sign("example.net", msg), []string{"permerror"}},
		{"nonsense", "DKIM-Signature: ;;;\n" + good, []string{"permerror", "pass"}},
		{"no empty line", "From: a@b\n", []string{"none"}},
		{"too many", strings.Repeat("DKIM-Signature: v=2\n", 20) + good, strings.Fields(strings.Repeat("permerror ", 10))},
	} {
		for _, r := range []io.Reader{strings.NewReader(tt.msg), iotest.OneByteReader(strings.NewReader(tt.msg))} {
			var got []string
			for _, res := range DKIM(context.Background(), d, CRLF(r)) {
				got = append(got, string(res.Value))
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}

// TestCRLF checks the line ends against a buffer of every size.
func TestCRLF(t *testing.T) {
	const in = "\na\n\nbc\nd"
	want := strings.ReplaceAll(in, "\n", "\r\n")
	for size := 1; size < 16; size++ {
		c, got, buf := &crlf{r: iotest.HalfReader(strings.NewReader(in))}, "", make([]byte, size)
		for {
			n, err := c.Read(buf)
			got += string(buf[:n])
			if err != nil {
				break
			}
		}
		if got != want {
			t.Errorf("size %d: %q", size, got)
		}
	}
}

func TestField(t *testing.T) {
	r := Results{
		SPF:   SPFResult{Value: "pass", From: "a@b.example"},
		DKIM:  []DKIMResult{{Value: "fail", Domain: "c.example", Selector: "s1", Reason: "evil\r\nX: \"y; dmarc=pass"}},
		DMARC: DMARCResult{Value: "fail", Domain: "b.example", Policy: "reject"},
	}
	const want = `Authentication-Results: mx.example.org; spf=pass smtp.mailfrom=a@b.example; dkim=fail reason="evil??X: ?y; dmarc=pass" header.d=c.example header.s=s1; dmarc=fail header.from=b.example policy.dmarc=reject`
	if got := r.Field("mx.example.org"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("v=DMARC1; p=reject; psd=y; t=y")
	f.Fuzz(func(t *testing.T, text string) {
		if r := parseRecord(text); r != nil && (r.p == "" || r.sp == "" || r.np == "") {
			t.Errorf("%q: %+v", text, r)
		}
	})
}
