package smtpserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"zmailer/shellcfg/resolver"
	"zmailer/spool/rfc2045"
)

const binaryHead = "MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"

// convertRows have CR LF on both sides; of what is wanted it becomes LF.
var convertRows = []struct {
	name, in, want string
	err            error
}{
	{name: "no label", in: "Subject: x\r\n\r\n\xe4 line\r\n", want: "Subject: x\r\n\r\n\xe4 line\r\n"},
	{name: "no end of line", in: "Subject: x\r\n\r\nlast", want: "Subject: x\r\n\r\nlast\r\n"},
	{name: "no end of header", in: "Subject: x", want: "Subject: x\r\n"},
	{name: "header only", in: "Content-Transfer-Encoding: binary", want: "Content-Transfer-Encoding: base64\r\n"},
	{name: "nothing", in: "", want: ""},
	{name: "whole", in: binaryHead + "a\x00\r\n.\r\n\n\r", want: strings.Replace(binaryHead, "binary", "base64", 1) + "YQANCi4NCgoN\r\n"},
	{name: "ends with a line", in: binaryHead + "a\r\n", want: strings.Replace(binaryHead, "binary", "base64", 1) + "YQ0K\r\n"},
	{name: "comment", in: "content-transfer-encoding:\r\n BINARY (all of it)\r\n\r\n\n", want: "Content-Transfer-Encoding: base64\r\n\r\nCg==\r\n"},
	{
		name: "mixed",
		in: "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\npre\r\n--b\r\n\r\nplain\r\n" +
			"--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\r\n--bb\r\n--b\n\n--b\r\r\n\r\n--b \t\r\nContent-Transfer-Encoding: binary\r\n\r\n--b--\r\npost\r\n",
		want: "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npre\r\n--b\r\n\r\nplain\r\n" +
			"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n" + base64.StdEncoding.EncodeToString([]byte("\r\n--bb\r\n--b\n\n--b\r\r\n")) + "\r\n" +
			"--b \t\r\nContent-Transfer-Encoding: base64\r\n\r\n--b--\r\npost\r\n",
	},
	{
		name: "nested, the inner one open",
		in: "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=c\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
			"--c\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
			"Subject: y\r\nContent-Transfer-Encoding: binary\r\n\r\n\x01\n\r\n--b--\r\n",
		want: "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/related; boundary=c\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			"--c\r\nContent-Transfer-Encoding: base64\r\n\r\nAA==\r\n--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" +
			"Subject: y\r\nContent-Transfer-Encoding: base64\r\n\r\nAQo=\r\n--b--\r\n",
	},
	{
		name: "other languages", in: "Content-Type: message/global\r\nContent-Transfer-Encoding: binary\r\n\r\nA: ä\r\n\r\n\n",
		want: "Content-Type: message/global\r\nContent-Transfer-Encoding: base64\r\n\r\nQTogw6QNCg0KCg==\r\n",
	},
	{
		name: "signed lines",
		in:   "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\ntext\r\n--b--\r\n",
		want: "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\ntext\r\n--b--\r\n",
	},
	{name: "signed octets", in: "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\n--b--\r\n", err: errSealed},
	{name: "partial", in: "Content-Type: message/partial\r\nContent-Transfer-Encoding: binary\r\n\r\n\n", err: errSealed},
	{name: "no boundary", in: "Content-Type: multipart/mixed\r\nContent-Transfer-Encoding: binary\r\n\r\n\n", err: errSealed},
	{name: "bare LF", in: "Subject: x\r\n\r\na\nb\r\n", err: errBareCR},
	{name: "bare CR", in: "Subject: x\r\n\r\na\r", err: errBareCR},
	{name: "NUL", in: "Subject: x\r\n\r\n\x00", err: errBareCR},
	{name: "NUL in a header", in: "Subject: \x00\r\nContent-Transfer-Encoding: binary\r\n\r\n", err: errBareCR},
	{name: "LF in a header", in: "Subject: x\nContent-Transfer-Encoding: binary\r\n\r\n", err: errBareCR},
	{name: "LF in the text around", in: "Content-Type: multipart/mixed; boundary=b\r\n\r\n\n.\n--b--\r\n", err: errBareCR},
	{name: "LF in a delimiter", in: "Content-Type: multipart/mixed; boundary*=us-ascii''a%0Ab\r\n\r\n--a\nb\r\n", err: errBareCR},
	{name: "no field", in: "Content-Transfer-Encoding: binary\r\nwhat?\r\n\r\nx", err: errHeader},
	{name: "deep", in: strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 60), err: rfc2045.ErrStructure},
	{name: "large header", in: strings.Repeat("Subject: x\r\n", 30_000), err: rfc2045.ErrStructure},
}

// toLines converts a message that comes in pieces of a size.
func toLines(text string, size int) (string, error) {
	var out strings.Builder
	c := newConverter(&out)
	for p := []byte(text); len(p) > 0; {
		n := min(size, len(p))
		if _, err := c.Write(p[:n]); err != nil {
			return "", err
		}
		p = p[n:]
	}
	err := c.Close()
	return out.String(), err
}

func TestConverter(t *testing.T) {
	for _, tt := range convertRows {
		for _, size := range []int{1, 2, 7, 1 << 20} {
			got, err := toLines(tt.in, size)
			if !errors.Is(err, tt.err) || tt.err == nil && err != nil {
				t.Errorf("%s: error %v, want %v", tt.name, err, tt.err)
			} else if want := strings.ReplaceAll(tt.want, "\r\n", "\n"); err == nil && got != want {
				t.Errorf("%s, by %d:\ngot  %q\nwant %q", tt.name, size, got, want)
			}
		}
	}
}

// A leaf of a message that a test has made.
type leafText struct{ encoding, text string }

// A composer makes a message of octets that decide what is in it.
type composer struct {
	in     []byte
	depth  int
	leaves []leafText
}

func (c *composer) next() (n byte) {
	if len(c.in) > 0 {
		n, c.in = c.in[0], c.in[1:]
	}
	return n
}

// entity writes a header and a content.
func (c *composer) entity(w *bytes.Buffer, bounds []string) {
	c.depth++
	defer func() { c.depth-- }()
	switch kind := c.next() % 5; {
	case kind == 0 && c.depth < 6:
		bound := fmt.Sprintf("b%d", c.depth)
		bounds = append(bounds, bound)
		fmt.Fprintf(w, "Content-Type: multipart/mixed; boundary=%s\r\nContent-Transfer-Encoding: binary\r\n\r\n", bound)
		for range c.next()%4 + 1 {
			fmt.Fprintf(w, "\r\n--%s\r\n", bound)
			c.entity(w, bounds)
		}
		fmt.Fprintf(w, "\r\n--%s--\r\n", bound)
	case kind == 1 && c.depth < 6:
		w.WriteString("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: binary\r\n\r\n")
		c.entity(w, bounds)
	case kind == 2:
		c.leaf(w, "8bit", strings.Repeat("Gr\xc3\xbc\xc3\x9fe\r\n--b\r\n", int(c.next()%8)))
	default:
		n := min(int(binary.BigEndian.Uint16([]byte{c.next(), c.next()})), len(c.in))
		text := string(c.in[:n])
		c.in = c.in[n:]
		if kind == 3 {
			text = strings.Repeat(text, 9) // long lines
		}
		for _, b := range bounds {
			text = strings.ReplaceAll(text, "--"+b, "--"+b+"x")
		}
		c.leaf(w, "binary", text)
	}
}

func (c *composer) leaf(w *bytes.Buffer, encoding, text string) {
	fmt.Fprintf(w, "Content-Transfer-Encoding: %s\r\n\r\n%s", encoding, text)
	c.leaves = append(c.leaves, leafText{encoding, text})
}

// leavesOf reads a message that was converted, with the library's MIME.
func leavesOf(t *testing.T, head map[string][]string, body io.Reader) (list []leafText) {
	h := mail.Header(head)
	media, params, _ := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case media == "message/rfc822":
		m, err := mail.ReadMessage(body)
		if err != nil {
			t.Fatal(err)
		}
		return leavesOf(t, m.Header, m.Body)
	case params["boundary"] != "":
		for r := multipart.NewReader(body, params["boundary"]); ; {
			p, err := r.NextRawPart()
			if errors.Is(err, io.EOF) {
				return list
			}
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, leavesOf(t, p.Header, p)...)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	encoding := h.Get("Content-Transfer-Encoding")
	if encoding == "base64" {
		encoding = "binary"
		if text, err = base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\r\n", "")); err != nil {
			t.Fatal(err)
		}
	}
	return append(list, leafText{encoding, string(text)})
}

// FuzzBinary converts messages of every structure: each part decodes to the octets
// that it was made of.
func FuzzBinary(f *testing.F) {
	f.Add([]byte("\x00\x03\x04\x00\x05ab\r\nc\x02\x02\x01\x03\x00\x05\r\n--b\x04\x00\x03\r\n\r"), 3)
	f.Add([]byte("\x00\x00\x01\x04\x00\xff--b1--\r\n--b\n\x00\r\n--b1"), 1)
	f.Add(bytes.Repeat([]byte("\x03\x10\x00no line end "), 400), 4096)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		c := composer{in: in}
		var text bytes.Buffer
		text.WriteString("MIME-Version: 1.0\r\n")
		c.entity(&text, nil)
		out, err := toLines(text.String(), max(size, 1))
		if err != nil {
			t.Fatalf("%q: %v", text.String(), err)
		}
		if strings.ContainsAny(out, "\r\x00") || !strings.HasSuffix(out, "\n") {
			t.Fatalf("%q is not made of lines", out)
		}
		m, err := mail.ReadMessage(strings.NewReader(strings.ReplaceAll(out, "\n", "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		got := leavesOf(t, m.Header, m.Body)
		if len(got) != len(c.leaves) {
			t.Fatalf("%q\nbecomes\n%q\nof %d parts, want %d", text.String(), out, len(got), len(c.leaves))
		}
		for i, want := range c.leaves {
			// The end of the last line of text is the message's own.
			if got[i] != want && (want.encoding == "binary" || strings.TrimSuffix(got[i].text, "\r\n") != strings.TrimSuffix(want.text, "\r\n")) {
				t.Fatalf("part %d of\n%q\nis %q, was %q", i, text.String(), got[i], want)
			}
		}
	})
}

// FuzzConverter converts anything: what comes out is lines, however it was cut, and
// once converted it needs no conversion.
func FuzzConverter(f *testing.F) {
	for _, tt := range convertRows {
		if len(tt.in) < 10_000 {
			f.Add(tt.in, 5)
		}
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		out, err := toLines(text, max(size, 1))
		whole, err2 := toLines(text, len(text)+1)
		if (err == nil) != (err2 == nil) || out != whole {
			t.Fatalf("%q by %d: %q, %v; at once: %q, %v", text, size, out, err, whole, err2)
		}
		if err != nil {
			return
		}
		if strings.ContainsAny(out, "\r\x00") || out != "" && !strings.HasSuffix(out, "\n") {
			t.Fatalf("%q becomes %q", text, out)
		}
		if again, err := toLines(strings.ReplaceAll(out, "\n", "\r\n"), 1<<20); err != nil || again != out {
			t.Fatalf("%q becomes %q, and that %q, %v", text, out, again, err)
		}
	})
}

// TestBinarySignature: a signature is verified on the octets that came, not on those
// that were made of them.
func TestBinarySignature(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := "From: ann@example.net\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\ntext\r\nas it is\r\n"
	var signed bytes.Buffer
	err = dkim.Sign(&signed, strings.NewReader(text), &dkim.SignOptions{Domain: "example.net", Selector: "s", Signer: private})
	if err != nil {
		t.Fatal(err)
	}
	ts := start(t, "verify dkim")
	if ts.names, err = resolver.NewFake("s._domainkey.example.net TXT \"v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public) + "\""); err != nil {
		t.Fatal(err)
	}
	c := ts.dial()
	fmt.Fprintf(c, "EHLO c\r\nMAIL FROM:<ann@example.net> BODY=BINARYMIME\r\nRCPT TO:<joe@example.org>\r\nBDAT %d LAST\r\n%sQUIT\r\n", signed.Len(), signed.String())
	reply, err := io.ReadAll(c)
	list := ts.messages()
	if err != nil || len(list) != 1 {
		t.Fatalf("%q, %v", reply, err)
	}
	if fields := strings.Join(list[0].env.Header, "\n"); !strings.Contains(fields, "dkim=pass") || !strings.Contains(list[0].text, "\ndGV4dA0KYXMgaXQgaXMNCg==\n") {
		t.Errorf("%s\n%s", fields, list[0].text)
	}
}
