package sendmail

import (
	"errors"
	"strings"
	"testing"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// headerTests are headers and whom -t finds in them.
var headerTests = []struct {
	name, header, args string
	want               string
	code               int
}{
	{"to", "To: joe\n", "", "joe", 0},
	{"to cc bcc", "To: a\nCc: b\nBcc: c\n", "", "a b c", 0},
	{"case", "TO: a\ncC: b\nbCC : c\n", "", "a b c", 0},
	{"twice", "To: a\nTo: b\n", "", "a b", 0},
	{"same twice", "To: a, b\nCc: b, a\n", "", "a b", 0},
	{"same domain twice", "To: a@X.example\nCc: a@x.example\n", "", "a@X.example", 0},
	{"names", "To: Joe Doe <joe@x.example>, \"Doe, Ann\" <ann@x.example>\n", "", "joe@x.example ann@x.example", 0},
	{"folded", "To: joe@x.example,\n\tann@x.example,\n  bob@x.example\n", "", "joe@x.example ann@x.example bob@x.example", 0},
	{"folded crlf", "To: joe@x.example,\r\n ann@x.example\r\n", "", "joe@x.example ann@x.example", 0},
	{"comments", "To: joe@x.example (Joe (the) Doe, really), (no one) ann@x.example\n", "", "joe@x.example ann@x.example", 0},
	{"group", "To: friends: joe@x.example, Ann <ann@x.example>;, bob\n", "", "joe@x.example ann@x.example bob", 0},
	{"empty group", "To: undisclosed-recipients:;\nBcc: joe\n", "", "joe", 0},
	{"encoded words", "To: =?utf-8?q?J=C3=B6rg=2C?= <joerg@x.example>\n", "", "joerg@x.example", 0},
	{"raw utf-8 name", "To: Jörg <joerg@x.example>\n", "", "joerg@x.example", 0},
	{"utf-8 address", "To: jörg@x.example\n", "", "jörg@x.example", 0},
	{"route", "To: <@a.example,@b.example:joe@x.example>\n", "", "joe@x.example", 0},
	{"quoted local", "To: \"joe doe\"@x.example\n", "", "\"joe doe\"@x.example", 0},
	{"empty to", "To:\nCc: joe\n", "", "joe", 0},
	{"empty bcc", "To: joe\nBcc:\n", "", "joe", 0},
	{"empty elements", "To: ,, joe,,\n", "", "joe", 0},
	{"null", "To: <>, joe\n", "", "joe", 0},
	{"arguments too", "To: a\n", "b c@x.example", "b c@x.example a", 0},
	{"argument is in the header", "To: a, b\n", "b", "b a", 0},
	{"arguments alone", "Subject: s\n", "b", "b", 0},
	{"resent", "To: a\nResent-To: b\nResent-Cc: c\nResent-Bcc: d\n", "", "b c d", 0},
	{"resent-bcc alone", "To: a\nCc: b\nResent-Bcc: d\n", "", "d", 0},
	{"resent-from alone", "To: a\nResent-From: b\n", "", "a", 0},
	{"resent and arguments", "To: a\nResent-To: b\n", "c", "c b", 0},
	{"apparently", "Apparently-To: a\nTo: b\n", "", "b", 0},
	{"not in the body", "To: a\n\nTo: b\n", "", "a", 0},
	{"broken", "To: a@b@c, joe\n", "", "", 65},
	{"broken, by mail", "To: a@b@c, joe\n", "-oem", `joe "a@b@c"`, 0},
	{"nobody", "Subject: s\n", "", "", 64},
	{"nobody in an empty group", "To: undisclosed-recipients:;\n", "", "", 64},
	{"no header", "hello\nTo: joe\n", "", "", 64},
	{"nothing", "", "", "", 64},
}

func TestHeaderRecipients(t *testing.T) {
	in := newInstance(t)
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			in.t = t
			_, err := sendmail(tt.header+"\nbody\n", append([]string{"-t"}, strings.Fields(tt.args)...)...)
			list := in.take()
			if proc.Code(err) != tt.code {
				t.Fatalf("%v, want status %d", err, tt.code)
			}
			if tt.code != 0 {
				if len(list) > 0 {
					t.Fatalf("stored in spite of %v", err)
				}
				return
			}
			if got := list[0].to(); got != tt.want {
				t.Errorf("to %s, want %s", got, tt.want)
			}
			h, _, err := rfc5322.ParseHeader([]byte(list[0].msg))
			if err != nil || h.Has("Bcc") || h.Has("Resent-Bcc") {
				t.Errorf("%v, stored header:\n%s", err, h.Bytes())
			}
		})
	}
}

func TestManyRecipients(t *testing.T) {
	to := new(addressees)
	var text strings.Builder
	for i := range spool.MaxRecipients {
		text.WriteString("u")
		for n := i; n > 0; n /= 26 {
			text.WriteByte(byte('a' + n%26))
		}
		text.WriteString(",")
		if i%1000 == 0 {
			if err := to.addList(text.String()); err != nil {
				t.Fatal(err)
			}
			text.Reset()
		}
	}
	err := to.addList(text.String())
	if err == nil {
		err = to.addList("one@more")
	}
	if err == nil {
		err = to.addList("two@more")
	}
	if proc.Code(err) != proc.DataErr || len(to.list) != spool.MaxRecipients {
		t.Errorf("%d recipients, %v", len(to.list), err)
	}
}

func FuzzHeader(f *testing.F) {
	for _, tt := range headerTests {
		f.Add(tt.header + "\nbody\n")
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := readMessage(newSource(t.Context(), strings.NewReader(text), false))
		if err != nil {
			if proc.Code(err) != proc.DataErr {
				t.Fatal(err)
			}
			return
		}
		to := &addressees{report: true}
		if err := to.addHeader(m.header); err != nil && !errors.Is(err, rfc5322.ErrTooLarge) && proc.Code(err) != proc.DataErr {
			t.Fatal(err)
		}
		m.hideBcc()
		var out strings.Builder
		if err := m.writeTo(&out); err != nil {
			t.Fatal(err)
		}
		if _, err := (&options{}).envelope(to.list).Append(nil); err != nil {
			t.Fatal(err)
		}
		h, offset, err := rfc5322.ParseHeader([]byte(out.String()))
		if err != nil || h.Has("Bcc") || h.Has("Resent-Bcc") || offset == h.Len() {
			t.Fatalf("%v: stored %q", err, out.String())
		}
		if !strings.HasSuffix(out.String(), "\n") {
			t.Fatalf("stored %q", out.String())
		}
	})
}
