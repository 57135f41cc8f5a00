package smtpserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/d--j/go-milter"
)

// A testMilter notes what it is told. Words in the subject say what it is to do
// with the message, and those in addresses what to do with the step.
type testMilter struct {
	milter.NoOpMilter
	log     func(format string, args ...any)
	subject string
	body    bytes.Buffer
}

func (m *testMilter) step(word, arg string, mod milter.Modifier) (*milter.Response, error) {
	m.log("%s %s", word, arg)
	switch {
	case strings.Contains(arg, word+"-reject"):
		return milter.RespReject, nil
	case strings.Contains(arg, word+"-later"):
		return milter.RespTempFail, nil
	case strings.Contains(arg, word+"-accept"):
		return milter.RespAccept, nil
	case strings.Contains(arg, word+"-discard"):
		return milter.RespDiscard, nil
	case strings.Contains(arg, word+"-code"):
		return milter.RejectWithCodeAndReason(552, "5.7.9 two\nlines of 100% text")
	case strings.Contains(arg, word+"-bye"):
		return milter.RejectWithCodeAndReason(421, "4.3.2 go away")
	case strings.Contains(arg, word+"-die"):
		return nil, fmt.Errorf("asked to")
	}
	return milter.RespContinue, nil
}

func (m *testMilter) Connect(host, family string, port uint16, addr string, mod milter.Modifier) (*milter.Response, error) {
	return m.step("connect", fmt.Sprintf("%s %s %s %v j=%s daemon=%s client=%s", host, family, addr, port > 0, mod.Get("j"), mod.Get("{daemon_name}"), mod.Get("{client_addr}")), mod)
}

func (m *testMilter) Helo(name string, mod milter.Modifier) (*milter.Response, error) {
	return m.step("helo", name, mod)
}

func (m *testMilter) MailFrom(from, args string, mod milter.Modifier) (*milter.Response, error) {
	m.subject = ""
	m.body.Reset()
	return m.step("mail", from+" "+args+fmt.Sprintf(" i=%d", len(mod.Get("i"))), mod)
}

func (m *testMilter) RcptTo(to, args string, mod milter.Modifier) (*milter.Response, error) {
	return m.step("rcpt", to+" "+args+" "+mod.Get("{rcpt_addr}")+" "+mod.Get("{rcpt_host}"), mod)
}

func (m *testMilter) Data(mod milter.Modifier) (*milter.Response, error) {
	return m.step("data", "", mod)
}

func (m *testMilter) Header(name, value string, mod milter.Modifier) (*milter.Response, error) {
	if name == "Subject" {
		m.subject = value
	}
	return m.step("header", name+":"+value, mod)
}

func (m *testMilter) BodyChunk(chunk []byte, mod milter.Modifier) (*milter.Response, error) {
	m.body.Write(chunk)
	return m.step("body", string(chunk), mod)
}

func (m *testMilter) Abort(milter.Modifier) error {
	m.log("abort")
	return nil
}

func (m *testMilter) EndOfMessage(mod milter.Modifier) (*milter.Response, error) {
	var err error
	for word := range strings.FieldsSeq(m.subject) {
		switch word {
		case "add":
			err = mod.AddHeader("X-Added", "first\n\tfolded")
		case "insert":
			err = mod.InsertHeader(0, "X-Top", "inserted")
		case "change":
			err = mod.ChangeHeader(2, "X-Twice", "changed")
		case "delete":
			err = mod.ChangeHeader(1, "x-twice", "")
		case "beyond":
			err = mod.ChangeHeader(7, "X-Twice", "another")
		case "bad-name":
			err = mod.AddHeader("X Bad", "x")
		case "body":
			err = mod.ReplaceBody(strings.NewReader(strings.Repeat("new body\r\n", 20_000)))
		case "bare":
			err = mod.ReplaceBodyRawChunk([]byte("a\rb"))
		case "rcpt":
			err = mod.AddRecipient("<more@example.org>", "NOTIFY=NEVER")
		case "unrcpt":
			err = mod.DeleteRecipient("<joe@example.org>")
		case "from":
			err = mod.ChangeFrom("<other@example.net>", "")
		case "quarantine":
			err = mod.Quarantine("looks odd")
		}
		if err != nil {
			return nil, err
		}
	}
	return m.step("end", m.subject, mod)
}

// milterServer runs a milter and returns its milter line and its notes.
func milterServer(t *testing.T) (decl string, notes func() string) {
	t.Helper()
	var mu sync.Mutex
	var list strings.Builder
	log := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&list, format+"\n", args...)
	}
	sock := filepath.Join(t.TempDir(), "milter")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	srv := milter.NewServer(milter.WithMilter(func() milter.Milter { return &testMilter{log: log} }),
		milter.WithActions(milter.AllClientSupportedActionMasks))
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "milter unix:" + sock, func() string {
		mu.Lock()
		defer mu.Unlock()
		return list.String()
	}
}

// converse sends lines to the server and returns its replies.
func (ts *testServer) converse(text string) string {
	ts.t.Helper()
	c := ts.dial()
	io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n"))
	b, _ := io.ReadAll(c)
	return strings.ReplaceAll(string(b), "\r\n", "\n")
}

const milterMail = "MAIL FROM:<ann@example.net> SIZE=10 BODY=8BITMIME\nRCPT TO:<joe@example.org> NOTIFY=NEVER\n"

func letter(subject string) string {
	return "EHLO c.example\n" + milterMail + "DATA\nX-Twice: one\nSubject: " + subject + "\nx-twice: two\n\nbody\n..dot\n.\nQUIT\n"
}

func TestMilterSteps(t *testing.T) {
	decl, notes := milterServer(t)
	ts := start(t, decl)
	ts.converse("EHLO c.example\n" + milterMail + "RSET\n" + strings.TrimPrefix(letter("hello"), "EHLO c.example\n"))
	want := `connect localhost tcp4 127.0.0.1 true j=mx.example.org daemon=mx client=127.0.0.1
helo c.example
mail ann@example.net SIZE=10 BODY=8BITMIME i=16
rcpt joe@example.org NOTIFY=NEVER joe@example.org example.org
abort
mail ann@example.net SIZE=10 BODY=8BITMIME i=16
rcpt joe@example.org NOTIFY=NEVER joe@example.org example.org
data 
header X-Twice:one
header Subject:hello
header x-twice:two
body body
.dot

end hello
`
	got := strings.ReplaceAll(notes(), "\r", "")
	got = strings.TrimSuffix(strings.ReplaceAll(got, "\x00", " "), "abort\n") // at the end of the session, by the library
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if n := len(ts.messages()); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestMilterChanges(t *testing.T) {
	decl, _ := milterServer(t)
	ts := start(t, decl)
	const plain = "X-Twice: one\nSubject: %s\nx-twice: two\n\nbody\n.dot\n"
	for _, tc := range []struct {
		subject, text, env string
	}{
		{"nothing", plain, "from <ann@example.net>"},
		{"add", "X-Twice: one\nSubject: %s\nx-twice: two\nX-Added: first\n\tfolded\n\nbody\n.dot\n", ""},
		{"insert", "X-Top: inserted\n" + plain, ""},
		{"change", "X-Twice: one\nSubject: %s\nX-Twice: changed\n\nbody\n.dot\n", ""},
		{"delete", "Subject: %s\nx-twice: two\n\nbody\n.dot\n", ""},
		{"beyond", "X-Twice: one\nSubject: %s\nx-twice: two\nX-Twice: another\n\nbody\n.dot\n", ""},
		{"body add", "X-Twice: one\nSubject: %s\nx-twice: two\nX-Added: first\n\tfolded\n\n" + strings.Repeat("new body\n", 20_000), ""},
		{"rcpt", plain, "todsn NOTIFY=NEVER\nto <more@example.org>"},
		{"rcpt unrcpt", plain, "from <ann@example.net>\ntodsn NOTIFY=NEVER\nto <more@example.org>\nenv-end"},
		{"from", plain, "from <other@example.net>"},
		{"quarantine", plain, "hold quarantine: looks odd"},
	} {
		before := len(ts.messages())
		reply := ts.converse(letter(tc.subject))
		list := ts.messages()
		if len(list) != before+1 {
			t.Fatalf("%s: not accepted:\n%s", tc.subject, reply)
		}
		m := list[before]
		if want := strings.Replace(tc.text, "%s", tc.subject, 1); m.text != want {
			t.Errorf("%s: got\n%.300q\nwant\n%.300q", tc.subject, m.text, want)
		}
		if env, err := m.env.Append(nil); err != nil || !strings.Contains(string(env), tc.env) {
			t.Errorf("%s: %v, no %q in\n%s", tc.subject, err, tc.env, env)
		}
	}
}

func TestMilterVerdicts(t *testing.T) {
	decl, _ := milterServer(t)
	ts := start(t, decl)
	good := "250 2.0.0 Ok: queued as "
	for _, tc := range []struct {
		text, want string
		accepted   int
	}{
		{strings.Replace(letter("x"), "c.example", "helo-reject.example", 1), "\n550 5.7.1 Command rejected\n503 5.5.1 ", 0},
		{strings.Replace(letter("x"), "ann@", "mail-reject@", 1), "\n550 5.7.1 Command rejected\n503 5.5.1 ", 0},
		{strings.Replace(letter("x"), "ann@", "mail-later@", 1), "\n451 4.7.1 Service unavailable", 0},
		{strings.Replace(letter("x"), "ann@", "mail-code@", 1), "\n552-5.7.9 two\n552 5.7.9 lines of 100% text\n503 ", 0},
		{strings.Replace(letter("x"), "ann@", "mail-bye@", 1), "\n421 4.3.2 go away\n", 0},
		{strings.Replace(letter("end-reject"), "ann@", "mail-accept@", 1), good, 1},
		{strings.Replace(letter("x"), "ann@", "mail-discard@", 1), good, 0},
		{strings.Replace(letter("x"), "joe@", "rcpt-reject@", 1), "\n550 5.7.1 Command rejected\n554 5.5.1 ", 0},
		{strings.Replace(letter("x"), "RCPT", "RCPT TO:<rcpt-later@example.org>\nRCPT", 1), "\n451 4.7.1 Service unavailable - try again later\n250 2.1.5 Ok\n354 ", 1},
		{letter("header-code"), "\n552-5.7.9 two\n", 0},
		{strings.Replace(letter("x"), "\nbody", "\nbody-reject", 1), "\n550 5.7.1 Command rejected\n221 ", 0},
		{letter("end-reject"), "\n550 5.7.1 Command rejected\n221 ", 0},
		{letter("end-later"), "\n451 4.7.1 Service unavailable - try again later\n221 ", 0},
		{letter("end-discard add"), good, 0},
		{letter("unrcpt"), good, 0},
		{letter("end-die"), "\n451 4.7.1 Service unavailable, try again later\n221 ", 0},
		{letter("bare"), "\n451 4.7.1 Service unavailable, try again later\n221 ", 0},
		{strings.Replace(letter("end-die"), "QUIT\n", "", 1) + strings.TrimPrefix(letter("again"), "EHLO c.example\n"), good, 1},
	} {
		before := len(ts.messages())
		reply := ts.converse(tc.text)
		if !strings.Contains(reply, tc.want) {
			t.Errorf("%q: got\n%s\nwant %q", tc.text, reply, tc.want)
		}
		if n := len(ts.messages()) - before; n != tc.accepted {
			t.Errorf("%q: %d messages accepted, want %d", tc.text, n, tc.accepted)
		}
	}
}

// TestMilterOrder: the second milter sees what the first one has made, and not what
// it has refused.
func TestMilterOrder(t *testing.T) {
	first, _ := milterServer(t)
	second, notes := milterServer(t)
	ts := start(t, first+"\n"+second+"\nverify spf")
	ts.converse(letter("body insert change rcpt"))
	for _, want := range []string{"header Authentication-Results:mx.example.org; ", "header X-Top:inserted\n", "body new body\r\n"} {
		if !strings.Contains(notes(), want) {
			t.Errorf("no %q in\n%.2000s", want, notes())
		}
	}
	list := ts.messages()
	if len(list) != 1 || len(list[0].env.Header) != 1 || strings.Count(list[0].text, "X-Top") != 2 || len(list[0].env.To) != 2 {
		t.Errorf("got %+v", list)
	}
	ts.converse(strings.Replace(letter("x"), "ann@", "mail-reject@", 1))
	if strings.Contains(notes(), "mail-reject") {
		t.Error("the second milter was asked about what the first had refused")
	}
}

// TestMilterAway: a milter that is not there, hangs, or talks nonsense defers mail,
// or is passed over if that is wanted, and no session waits longer than was said.
func TestMilterAway(t *testing.T) {
	packet := func(n uint32, b string) string { return string(binary.BigEndian.AppendUint32(nil, n)) + b }
	opt := packet(13, "O\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00")
	for name, say := range map[string]string{
		"hangs": "", "ends": "END", "huge": packet(1<<31, "x"), "empty": packet(0, ""), "nonsense": "what do you want? what do you want?",
		"old": packet(13, "O\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"), "empty answer": opt + packet(0, ""),
		"progress": opt + strings.Repeat(packet(1, "p"), 100_000), "forged reply": opt + packet(6, "y99 x\x00"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						if say != "END" {
							io.WriteString(c, say)
							io.Copy(io.Discard, c)
						}
					}()
				}
			}()
			decl := "milter inet:" + l.Addr().String() + " timeout=300ms content=300ms"
			ts := start(t, decl)
			begun := time.Now()
			if got := ts.converse(letter("x")); !strings.Contains(got, "\n451 4.7.1 Service unavailable, try again later\n") || len(ts.messages()) != 0 {
				t.Errorf("got %s", got)
			}
			if took := time.Since(begun); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
			ts = start(t, decl+" fail=accept")
			if got := ts.converse(letter("x")); !strings.Contains(got, "queued as") || len(ts.messages()) != 1 {
				t.Errorf("fail=accept: got %s", got)
			}
		})
	}
	ts := start(t, "milter unix:/nonexistent/socket")
	if got := ts.converse(letter("x")); !strings.Contains(got, "\n451 4.7.1 ") {
		t.Errorf("no socket: got %s", got)
	}
}

func TestMilterDeclared(t *testing.T) {
	decl, notes := milterServer(t)
	ts := start(t, "listen 127.0.0.1:0 submission\nlisten 127.0.0.1:2525\nrelay_for 127.0.0.1\n"+decl+" for=mx")
	if got := ts.converse(letter("x")); !strings.Contains(got, "queued as") || notes() != "" {
		t.Errorf("got %s; milter of another port hears %s", got, notes())
	}
	for in, want := range map[string]string{
		"/run/x": "unix /run/x", "unix:/run/x": "unix /run/x", "local:/run/x": "unix /run/x", "inet:localhost:8891": "tcp localhost:8891",
		"inet:8891@localhost": "tcp localhost:8891", "inet6:[::1]:8891": "tcp [::1]:8891", "inet6:8891@[::1]": "tcp [::1]:8891",
		"inet:8891": "", "udp:x:1": "", "unix:x": "", "x": "",
	} {
		network, addr, err := milterSocket(in)
		if got := strings.TrimSpace(network + " " + addr); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

// TestMilterLMTP: the client gets one reply for each of the recipients it gave.
func TestMilterLMTP(t *testing.T) {
	decl, _ := milterServer(t)
	ts := start(t, "listen 127.0.0.1:0 lmtp\n"+decl)
	text := strings.Replace(strings.Replace(letter("unrcpt rcpt"), "EHLO", "LHLO", 1), "DATA", "RCPT TO:<ann@example.org>\nDATA", 1)
	if got := ts.converse(text); strings.Count(got, "queued as") != 2 {
		t.Errorf("got %s", got)
	}
	if m := ts.messages(); len(m) != 1 || len(m[0].env.To) != 2 || m[0].env.To[0].Addr != "ann@example.org" {
		t.Errorf("got %+v", m)
	}
}

// TestMilterReply: whatever a milter says, it is a refusal of some lines.
func TestMilterReply(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"550 5.7.9 no", "550 5.7.9 no\r\n"},
		{"550-5.7.9 no\r\n550 5.7.9 never", "550-5.7.9 no\r\n550 5.7.9 never\r\n"},
		{"550 100%% bad\x00\x1b[2Jtext\r250 ok", "550 5.7.1 100% bad"},
		{"550", "550 5.7.1 Refused by a filter\r\n"},
		{"", "550 5.7.1 Refused by a filter\r\n"},
		{"550 4.7.1 of another class", "550 5.7.1 4.7.1 of another class\r\n"},
		{strings.Repeat("550-x\r\n", 10_000) + "550 x", strings.Repeat("550-5.7.1 x\r\n", maxMilterLines-1) + "550 5.7.1 x\r\n"},
	} {
		e := milterReply(&milter.Action{Type: milter.ActionRejectWithCode, SMTPCode: 550, SMTPReply: tt.in})
		got := string(appendReply(nil, e.Code, e.EnhancedCode, e.Message))
		if !strings.HasPrefix(got, tt.want) || strings.ContainsAny(got, "\x00\x1b") || strings.Count(got, "\r") != strings.Count(got, "\r\n") {
			t.Errorf("%.60q: %.200q", tt.in, got)
		}
	}
}
