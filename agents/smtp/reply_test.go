package smtp

import (
	"bufio"
	"strings"
	"testing"

	"zmailer/agents/protocol"
	"zmailer/spool/dsn"
)

var replyRows = []struct {
	in   string
	code int // 0: no reply
	str  string
	stat string
}{
	{"250 ok\r\n", 250, "250 ok", "2.0.0"},
	{"250 2.1.5 ok\n", 250, "250 2.1.5 ok", "2.1.5"},
	{"250\r\n", 250, "250", "2.0.0"},
	{"250-\r\n250 \r\n", 250, "250", "2.0.0"},
	{"550-5.1.1 The user\r\n550-5.1.1 is\tnot\r\n550 5.1.1 here\r\n", 550, "550 5.1.1 The user is not here", "5.1.1"},
	{"550-one\r\n550 two\r\n", 550, "550 one two", "5.0.0"},
	{"550 4.2.2 odd\r\n", 550, "550 4.2.2 odd", "5.2.2"},
	{"550 5.1.1000 odd\r\n", 550, "550 5.1.1000 odd", "5.0.0"},
	{"450 4.7.1\r\n", 450, "450 4.7.1", "4.7.1"},
	{"550 bell\x07 \x1b[31m\r\n", 550, "550 bell? ?[31m", "5.0.0"},
	{"250 a\rb\r\n", 250, "250 a b", "2.0.0"},
	{"25 ok\r\n", 0, "", ""},
	{"250ok\r\n", 0, "", ""},
	{"650 ok\r\n", 0, "", ""},
	{"\r\n", 0, "", ""},
	{"250-ok\r\nHTTP\r\n", 0, "", ""},
	{"250 ok", 0, "", ""},
	{"250 " + strings.Repeat("x", maxReplyLine) + "\r\n", 0, "", ""},
	{strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n", 0, "", ""},
}

func readReply(in string) (reply, error) {
	rr := replyReader{br: bufio.NewReaderSize(strings.NewReader(in), maxReplyLine)}
	return rr.read()
}

func TestReply(t *testing.T) {
	for _, tt := range replyRows {
		r, err := readReply(tt.in)
		if tt.code == 0 {
			if err == nil {
				t.Errorf("%.40q: got %v, want an error", tt.in, r)
			}
			continue
		}
		if err != nil || r.code != tt.code || r.String() != tt.str || r.status() != tt.stat {
			t.Errorf("%.40q: got %d %q %q, %v", tt.in, r.code, r.String(), r.status(), err)
		}
	}
}

func FuzzReply(f *testing.F) {
	for _, tt := range replyRows {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := readReply(in)
		if err != nil {
			return
		}
		res := r.result("mx.test[192.0.2.1]:25")
		if r.code < 200 || r.code > 599 || !dsn.ValidStatus(res.Status) || strings.ContainsAny(res.Text, "\r\n\x00") || len(res.Text) > protocol.MaxText {
			t.Fatalf("%q: %+v", in, res)
		}
		if (res.Action == dsn.OK) != (r.code/100 == 2) || (res.Action == dsn.Failed) != (r.code/100 == 5) {
			t.Fatalf("%q: %+v", in, res)
		}
		parseExtensions(r.text)
	})
}
