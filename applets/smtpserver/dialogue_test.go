package smtpserver

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

// logBuffer is a log that several goroutines write to.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestDialogues plays the files testdata/*.txt. Each line of a file is one of
//
//	CONF: line        of smtpserver.conf, at the beginning of the file
//	DNS: line         of what the DNS says, a line of resolver.NewFake
//	C: text           the client sends the line
//	R: "text"         the client sends just this, a Go string
//	X: n "text"       the client sends the string n times
//	S: pattern        the server sends such a line; * stands for anything
//	M: pattern        the server sends a reply of any number of lines, the last like this
//	CLOSED            the server closes the connection
//	CUT               the client closes the connection
//	SPOOL: n          so many messages have been accepted by now
//	TEXT: "text"      header and body of the last one
//	ENV: pattern      a line of its envelope
//	LOG: pattern      a line of the log
//
// Lines that the server is expected to send may follow the commands in groups:
// that is how pipelining is tested.
func TestDialogues(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			play(t, file)
		})
	}
}

type player struct {
	t    *testing.T
	ts   *testServer
	conn net.Conn
	r    *bufio.Reader
	at   string
}

func play(t *testing.T, file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var config strings.Builder
	var names []string
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	for _, line := range lines {
		if text, ok := strings.CutPrefix(line, "CONF: "); ok {
			config.WriteString(text + "\n")
		}
		if text, ok := strings.CutPrefix(line, "DNS: "); ok {
			names = append(names, text)
		}
	}
	p := &player{t: t, ts: start(t, config.String())}
	if names != nil {
		d, err := resolver.NewFake(names...)
		if err != nil {
			t.Fatal(err)
		}
		p.ts.server.names = d
	}
	p.conn = p.ts.dial()
	p.r = bufio.NewReader(p.conn)
	for i, line := range lines {
		p.at = filepath.Base(file) + ":" + strconv.Itoa(i+1)
		p.step(line)
	}
}

func (p *player) fatalf(format string, args ...any) {
	p.t.Helper()
	p.t.Fatalf(p.at+": "+format, args...)
}

func (p *player) step(line string) {
	word, arg, _ := strings.Cut(line, " ")
	switch word {
	case "", "#", "CONF:", "DNS:":
	case "C:":
		p.send(arg + "\r\n")
	case "R:":
		p.send(p.unquote(arg))
	case "X:":
		n, text, _ := strings.Cut(arg, " ")
		k, err := strconv.Atoi(n)
		if err != nil {
			p.fatalf("%v", err)
		}
		p.send(strings.Repeat(p.unquote(text), k))
	case "S:":
		p.expect(p.line(), arg)
	case "M:":
		got := p.line()
		for len(got) > 3 && got[3] == '-' {
			got = p.line()
		}
		p.expect(got, arg)
	case "CLOSED":
		if b, err := io.ReadAll(p.r); len(b) > 0 || os.IsTimeout(err) {
			p.fatalf("server sends %q, error %v", b, err)
		}
	case "CUT":
		p.conn.Close()
		p.ts.tasks.Wait()
	default:
		p.inspect(word, arg)
	}
}

func (p *player) inspect(word, arg string) {
	switch word {
	case "SPOOL:":
		if got := len(p.ts.messages()); strconv.Itoa(got) != arg {
			p.fatalf("%d messages accepted, want %s", got, arg)
		}
	case "TEXT:":
		if got, want := p.last().text, p.unquote(arg); got != want {
			p.fatalf("message is\n%q, want\n%q", got, want)
		}
	case "ENV:":
		env, err := p.last().env.Append(nil)
		if err != nil {
			p.fatalf("%v", err)
		}
		p.find(string(env), arg)
	case "LOG:":
		// The line may be on its way: the session ends after the client.
		for range 200 {
			if matchLine(p.ts.log.String(), arg) {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		p.find(p.ts.log.String(), arg)
	default:
		p.fatalf("what is %s?", word)
	}
}

func (p *player) last() stored {
	list := p.ts.messages()
	if len(list) == 0 {
		p.fatalf("no message accepted")
	}
	return list[len(list)-1]
}

func (p *player) send(s string) {
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.fatalf("send: %v", err)
	}
}

func (p *player) line() string {
	s, err := p.r.ReadString('\n')
	if err != nil || !strings.HasSuffix(s, "\r\n") {
		p.fatalf("got %q, %v", s, err)
	}
	return strings.TrimSuffix(s, "\r\n")
}

func (p *player) unquote(s string) string {
	out, err := strconv.Unquote(s)
	if err != nil {
		p.fatalf("%s: %v", s, err)
	}
	return out
}

func (p *player) expect(got, pattern string) {
	p.t.Helper()
	if !glob(pattern, got) {
		p.fatalf("got  %s\nwant %s", got, pattern)
	}
}

func (p *player) find(text, pattern string) {
	if !matchLine(text, pattern) {
		p.fatalf("no line %s in\n%s", pattern, text)
	}
}

func matchLine(text, pattern string) bool {
	for line := range strings.Lines(text) {
		if glob(pattern, strings.TrimSuffix(line, "\n")) {
			return true
		}
	}
	return false
}

// glob matches a pattern in which * stands for anything.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}
