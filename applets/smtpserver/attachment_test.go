package smtpserver

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var mimeMessages = []struct {
	name, text, want string
}{
	{"no header", "\nhello\n", "text/plain() 6"},
	{"empty", "", "text/plain() 0"},
	{"plain", "Subject: x\n\nhello\n", "text/plain() 6"},
	{"type", "Content-Type: Application/PDF; name=\"a.pdf\"\nContent-Transfer-Encoding: BASE64\n\nAAAA\nAAAA\n", "application/pdf(a.pdf) 6"},
	{"mixed", "Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\nContent-Disposition: attachment;\n filename=run.exe\n\nMZ\n--b--\nepilogue --b\n",
		"text/plain() 4 text/plain(run.exe) 3"},
	{"nested", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=bb\n\n--bb\n\none\n--bb\nContent-Type: text/html\n\n<p>\n--bb--\n--b\nContent-Type: image/png; name=x.png\n\n\n--b--\n",
		"text/plain() 4 text/html() 4 image/png(x.png) 1"},
	{"inner not closed", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\none\n--b\nContent-Type: image/png\n\n--b--\n",
		"text/plain() 4 image/png() 0"},
	{"outer not closed", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: inline; filename=a.js\n\nx\n", "text/plain(a.js) 2"},
	{"message in message", "Content-Type: message/rfc822\n\nSubject: inner\nContent-Type: application/x-dosexec\n\nMZ\n", "application/x-dosexec() 3"},
	{"encoded word", "Content-Disposition: attachment; filename=\"=?utf-8?B?cnVuLmV4ZQ==?=\"\n\nx\n", "text/plain(run.exe) 2"},
	{"RFC 2231", "Content-Disposition: attachment; filename*0*=utf-8''r%75; filename*1=n.exe\n\nx\n", "text/plain(run.exe) 2"},
	{"folder and dot", "Content-Type: application/zip; name=\"C:\\\\x\\\\run.exe.\"\n\n", "application/zip(run.exe) 0"},
	{"broken parameters", "Content-Type: application/zip; name=a b.exe; ; =x\n\n", "application/zip(a b.exe) 0"},
	{"no boundary", "Content-Type: multipart/mixed\n\nx\n", "multipart/mixed() 2"},
	{"long line", "\n" + strings.Repeat("x", 50_000) + "\n", "text/plain() 50001"},
	{"delimiter inside a line", "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx--b--\n--bx\n--b--\n", "text/plain() 12"},
}

func parts(text string) (string, error) {
	var list []string
	err := eachPart(strings.NewReader(text), func(p *mimePart) bool {
		list = append(list, fmt.Sprintf("%s(%s) %d", p.kind, p.name, p.size))
		return true
	})
	return strings.Join(list, " "), err
}

func TestParts(t *testing.T) {
	for _, tc := range mimeMessages {
		if got, err := parts(tc.text); got != tc.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", tc.name, got, err, tc.want)
		}
	}
	deep := ""
	for i := range 100 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	many := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", 2000)
	for _, text := range []string{deep, many} {
		if got, err := parts(text); !errors.Is(err, errManyParts) {
			t.Errorf("%.100s: %v", got, err)
		}
	}
}

func FuzzParts(f *testing.F) {
	for _, tc := range mimeMessages {
		f.Add(tc.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		begun, total := time.Now(), int64(0)
		err := eachPart(strings.NewReader(text), func(p *mimePart) bool {
			if p.size < 0 || len(p.name) > 255 {
				t.Fatalf("%+v", p)
			}
			total += p.size
			return true
		})
		if total > int64(len(text)) || time.Since(begun) > 30*time.Second {
			t.Fatalf("%d octets of %d, %v", total, len(text), err)
		}
	})
}

func TestAttachment(t *testing.T) {
	ts := start(t, `smtp_message() {
	if attachment '*.exe' 'application/x-msdownload' 'image/*'; then reject 552 5.7.0 "no $attachment here"; return 0; fi
	attachment -s 100 && reject 552 5.3.4 "$attachment is too large"
	st=$?
	[ "$st" = 1 ] || return "$st"
}`)
	for body, want := range map[string]string{
		"Content-Disposition: attachment; filename=RUN.Exe\n\nx\n": "552 5.7.0 no RUN.Exe here\n",
		"Content-Type: image/gif\n\nx\n":                           "552 5.7.0 no image/gif here\n",
		"\n" + strings.Repeat("x\n", 60):                           "552 5.3.4 text/plain is too large\n",
		"\nfine\n":                                                 "250 2.0.0 Ok",
		"Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\n", 2000): "451 4.3.0 ",
	} {
		if got := ts.converse("EHLO c\n" + milterMail + "DATA\n" + body + ".\nQUIT\n"); !strings.Contains(got, want) {
			t.Errorf("%.80q: got %s", body, got)
		}
	}
}
