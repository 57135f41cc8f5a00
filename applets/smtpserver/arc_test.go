package smtpserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"zmailer/agents/arc"
	"zmailer/shellcfg/resolver"
)

// TestARC takes what fails DMARC when a trusted handler says that it passed.
func TestARC(t *testing.T) {
	t.Parallel()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	record := ` TXT "v=DKIM1; k=ed25519; p=` + base64.StdEncoding.EncodeToString(pub) + `"`
	dns, err := resolver.NewFake(`_dmarc.a.test TXT "v=DMARC1; p=reject"`, `a.test TXT "v=spf1 -all"`,
		"s._domainkey.list.test"+record, "s._domainkey.other.test"+record, "s._domainkey.down.test SERVFAIL")
	if err != nil {
		t.Fatal(err)
	}
	const message = "From: ann@a.test\r\nTo: joe@example.org\r\nSubject: x\r\n\r\nhello\r\n"
	seal := func(domain, results, msg string) string {
		fields, err := arc.Seal(&arc.Key{Domain: domain, Selector: "s", Signer: key}, results, arc.Pass, func(w io.Writer) error {
			_, err := io.WriteString(w, msg)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(bytes.ReplaceAll(fields, []byte("\n"), []byte("\r\n"))) + msg
	}
	const passed = "mx.list.test; dmarc=pass header.from=a.test"
	sealed := seal("list.test", passed, message)
	for _, tt := range []struct {
		name, msg string
		code      int
		field     string
	}{
		{"no chain", message, 550, ""},
		{"trusted", sealed, 0, "arc=pass smtp.remote-ip=127.0.0.1"},
		{"trusted, above another", seal("list.test", passed, seal("other.test", "mx.other.test; spf=none", message)), 0, "dmarc=fail reason=\"passed before, says list.test\""},
		{"not trusted", seal("other.test", passed, message), 550, ""},
		{"not trusted, above a trusted one", seal("other.test", "mx.other.test; arc=pass", sealed), 550, ""},
		{"did not pass there", seal("list.test", "mx.list.test; dmarc=fail header.from=a.test", message), 550, ""},
		{"another author", seal("list.test", "mx.list.test; dmarc=pass header.from=b.test", message), 550, ""},
		{"changed", sealed + "more\r\n", 550, ""},
		{"no answer", seal("down.test", passed, message), 451, ""},
	} {
		ts := start(t, "verify dmarc=enforce\narc_trust list.test down.test\n"+
			"smtp_message() { add_header X-ARC \"$arc $arc_domains $arc_vouched\"; }\n")
		ts.names = dns
		c, err := smtp.Dial(ts.addr)
		if err != nil {
			t.Fatal(err)
		}
		err = c.SendMail("bounce@a.test", []string{"joe@example.org"}, strings.NewReader(tt.msg))
		c.Close()
		var e *smtp.SMTPError
		if tt.code == 0 && err != nil || tt.code != 0 && (!errors.As(err, &e) || e.Code != tt.code) {
			t.Errorf("%s: %v, want %d", tt.name, err, tt.code)
		}
		if m := ts.messages(); tt.code == 0 && (len(m) != 1 || !strings.Contains(strings.Join(m[0].env.Header, "\n"), tt.field) ||
			!strings.HasPrefix(m[0].env.Header[1], "X-ARC: pass ") || !strings.HasSuffix(m[0].env.Header[1], " list.test")) {
			t.Errorf("%s: %+v", tt.name, m)
		}
	}
}
