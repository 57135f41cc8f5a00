package smtp

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strconv"
	"strings"
	"testing"

	"zmailer/spool/rfc5322"
)

const plainHead = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"

var convertRows = []struct {
	name, header, body, wantHeader, wantBody string // without wantHeader: 5.6.3
}{
	{"plain", plainHead, "Grüße = x \n.\nlast", strings.Replace(plainHead, "8bit", "quoted-printable", 1), "Gr=C3=BC=C3=9Fe =3D x=20\n.\nlast\n"},
	{"no MIME", "Subject: x\n\n", "\xe4\n", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\nContent-Transfer-Encoding: quoted-printable\n\n", "=E4\n"},
	{"no MIME, UTF-8", "Subject: x\n\n", "ä\n", "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n", "=C3=A4\n"},
	{
		"multipart", "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n",
		"pr\xe4amble\n--b\n\nplain\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>ä</p>\n--b--\nepilogue\n",
		"Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\n",
		"pr?amble\n--b\n\nplain\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n<p>=C3=A4</p>\n--b--\nepilogue\n",
	},
	{
		"nested", "Content-Type: multipart/mixed; boundary=\"b\"\n\n",
		"--b\nContent-Type: multipart/alternative; boundary=c\nContent-Transfer-Encoding: 8BIT\n\n--c\n\nä\n--c--\n--b\nContent-Type: message/rfc822\n\nSubject: inner\nContent-Transfer-Encoding: 8bit\n\nö\n--b--\n",
		"Content-Type: multipart/mixed; boundary=\"b\"\n\n",
		"--b\nContent-Type: multipart/alternative; boundary=c\nContent-Transfer-Encoding: 7bit\n\n--c\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4\n--c--\n--b\nContent-Type: message/rfc822\n\nSubject: inner\nContent-Transfer-Encoding: quoted-printable\n\n=C3=B6\n--b--\n",
	},
	{
		"8-bit in quoted-printable", "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n", "a=3D\xe4=\n\n",
		"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\n", "a=3D=E4=\n\n",
	},
	{ // the label of a signed part is signed, too
		"signed beside", "Content-Type: multipart/mixed; boundary=a\n\n",
		"--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nascii\n--b\n\nsig\n--b--\n--a\n\nä\n--a--\n",
		"Content-Type: multipart/mixed; boundary=a\n\n",
		"--a\nContent-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: 8bit\n\nascii\n--b\n\nsig\n--b--\n--a\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4\n--a--\n",
	},
	{"signed", "Content-Type: multipart/signed; boundary=b\n\n", "--b\n\nä\n--b\n\nsig\n--b--\n", "", ""},
	{"base64", "Content-Transfer-Encoding: base64\n\n", "ä\n", "", ""},
	{"partial", "Content-Type: message/partial\n\n", "ä\n", "", ""},
	{"no boundary", "Content-Type: multipart/mixed\n\n", "ä\n", "", ""},
}

// Longer text that is mostly not ASCII becomes base64, in a part up to the line end
// that belongs to the delimiter.
func TestConvertBase64(t *testing.T) {
	const head = "From: a@us.test\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
	long := strings.Repeat("漢字かな交じり文。\n", 300)
	for _, text := range []string{long, long[:len(long)-1], strings.Repeat("漢", 40_000), "\n\n" + long + "\n\n", strings.Repeat("字\r\n", 200)} {
		out, err := convertString(head, text)
		if err != nil {
			t.Fatal(err)
		}
		gotHead, body, _ := strings.Cut(out, "\n\n")
		if !strings.HasSuffix(gotHead, "Content-Transfer-Encoding: base64") {
			t.Errorf("header %q", gotHead)
		}
		checkBase64(t, body, text)

		part, _, _ := strings.Cut(head, "\n\n")
		mixed := "pre\n--b\n\nascii\n--b\n" + part + "\n\n" + text + "\n--b\n\nGr\xc3\xbc\xc3\x9fe\n--b--\nend\n"
		if out, err = convertString("Content-Type: multipart/mixed; boundary=b\n\n", mixed); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(out, "base64\n\n")
		body, rest, _ = strings.Cut(rest, "--b\n")
		checkBase64(t, body, text)
		if want := "Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe\n--b--\nend\n"; rest != want {
			t.Errorf("then %q, want %q", rest, want)
		}
	}
}

func checkBase64(t *testing.T, body, text string) {
	t.Helper()
	for line := range strings.Lines(body) {
		if len(line) > 77 {
			t.Fatalf("line of %d octets", len(line))
		}
	}
	got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\n", ""))
	want := strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\n", "\r\n")
	if err != nil || string(got) != want {
		t.Fatalf("decodes to %.100q (%d octets), want %.100q (%d): %v", got, len(got), want, len(want), err)
	}
}

func TestConvert(t *testing.T) {
	s := newSink(t, "PIPELINING", "SIZE")
	d := start(t, quick)
	for _, tt := range convertRows {
		n := len(s.received())
		res := d.deliver(letterOf(tt.header, tt.body, "a@x.test"), s.host())
		if tt.wantHeader == "" {
			if got := outcome(res); got != "error 5.6.3" {
				t.Errorf("%s: got %+v", tt.name, res)
			}
			continue
		}
		mails := s.received()
		if outcome(res) != "ok 2.0.0" || len(mails) != n+1 {
			t.Errorf("%s: got %+v", tt.name, res)
			continue
		}
		m := mails[n]
		want := strings.ReplaceAll(tt.wantHeader+tt.wantBody, "\n", "\r\n")
		if m.data != want {
			t.Errorf("%s: got\n%q, want\n%q", tt.name, m.data, want)
		}
		if !strings.HasSuffix(m.from, " SIZE="+strconv.Itoa(len(m.data))) {
			t.Errorf("%s: %s, but the content has %d octets", tt.name, m.from, len(m.data))
		}
	}
	eight := newSink(t, "PIPELINING", "8BITMIME")
	d.deliver(letterOf(plainHead, "ä\n", "a@x.test"), eight.host())
	if m := eight.received(); len(m) != 1 || m[0].data != strings.ReplaceAll(plainHead, "\n", "\r\n")+"ä\r\n" || !strings.HasSuffix(m[0].from, " BODY=8BITMIME") {
		t.Errorf("to a host with 8BITMIME: %+v", m)
	}
}

func convertString(header, body string) (string, error) {
	m := &message{body: io.NewSectionReader(strings.NewReader(body), 0, int64(len(body))), size: int64(len(body))}
	if len(body)%2 == 0 {
		b := []byte(body)
		m.small = &b
	}
	cv, err := newConverter([]byte(header), m)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = cv.run(m, func(p []byte) error {
		out.Write(p)
		return nil
	})
	return out.String(), err
}

// A text part decodes to what it was, and what was converted needs no conversion.
func FuzzConvert(f *testing.F) {
	for _, tt := range convertRows {
		f.Add(tt.header, tt.body)
	}
	f.Add(plainHead, strings.Repeat("ä", 40_000))
	f.Fuzz(func(t *testing.T, header, body string) {
		if out, err := convertString("Subject: x\n\n", body); err != nil {
			t.Fatalf("plain text: %v", err)
		} else if hasEightBit([]byte(body)) {
			head, text, _ := strings.Cut(out, "\n\n")
			if strings.Contains(head, "base64") {
				text = strings.ReplaceAll(text, "\n", "")
				got, err := base64.StdEncoding.DecodeString(text)
				if want := strings.ReplaceAll(strings.ReplaceAll(body, "\r\n", "\n"), "\n", "\r\n"); err != nil || string(got) != want {
					t.Fatalf("%q becomes %q, which decodes to %q, %v", body, out, got, err)
				}
				return
			}
			got, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(text)))
			want := strings.ReplaceAll(body, "\r\n", "\n")
			if err != nil || string(got) != want || !strings.Contains(head, "quoted-printable") {
				t.Fatalf("%q becomes %q, which decodes to %q, %v", body, out, got, err)
			}
		}
		if _, end, err := rfc5322.ParseHeader([]byte(header + "\n\n")); err != nil || end != len(header)+2 {
			return // a control file has no such header
		}
		out, err := convertString(header+"\n\n", body)
		if err != nil {
			return
		}
		head, text, _ := strings.Cut(out, "\n\n")
		if again, err := convertString(head+"\n\n", text); err != nil || again != out {
			t.Fatalf("%q %q\nbecomes %q\nand then %q, %v", header, body, out, again, err)
		}
	})
}
