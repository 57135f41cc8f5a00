package smtpserver

import (
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/resolver"
)

// TestDMARCEvaded: messages that hide their author, or show several, do not get past
// the policy of his domain.
func TestDMARCEvaded(t *testing.T) {
	t.Parallel()
	dns, err := resolver.NewFake(`_dmarc.bank.test TXT "v=DMARC1; p=reject"`, `evil.test TXT "v=spf1 ip4:127.0.0.1 -all"`, `_dmarc.evil.test TXT "v=DMARC1; p=none"`)
	if err != nil {
		t.Fatal(err)
	}
	pad := strings.Repeat("X-Pad: "+strings.Repeat("x", 900)+"\r\n", 1300)
	for _, tt := range []struct {
		name, header string
		code         int
	}{
		{"good", "From: a@evil.test\r\n", 0},
		{"two fields", "From: a@evil.test\r\nFrom: boss@bank.test\r\n", 550},
		{"two fields, other order", "From: boss@bank.test\r\nFrom: a@evil.test\r\n", 550},
		{"two authors", "From: a@evil.test, boss@bank.test\r\n", 550},
		{"folded", "From: a@evil.test,\r\n boss@bank.test\r\n", 550},
		{"broken", "From: <boss@bank.test <a@evil.test>\r\n", 550},
		{"in a group", "From: x: boss@bank.test;\r\n", 550},
		{"behind a long header", pad + "From: boss@bank.test\r\n", 552},
		{"no author", "Subject: x\r\n", 0},
	} {
		ts := start(t, "verify dmarc=enforce\n")
		ts.names = dns
		c, err := smtp.Dial(ts.addr)
		if err != nil {
			t.Fatal(err)
		}
		err = c.SendMail("a@evil.test", []string{"joe@example.org"}, strings.NewReader(tt.header+"\r\nx\r\n"))
		c.Close()
		var e *smtp.SMTPError
		if tt.code == 0 && err != nil || tt.code != 0 && (!errors.As(err, &e) || e.Code != tt.code) {
			t.Errorf("%s: %v, want %d", tt.name, err, tt.code)
		}
	}
}
