package smtp

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A sink is an SMTP or LMTP server of a test. Its answers come from a script.
type sink struct {
	tb   testing.TB
	ln   net.Listener
	lmtp bool
	ext  []string // EHLO keywords
	cert *tls.Certificate
	old  bool // fails at key exchanges it does not know

	clients *x509.CertPool                                 // not nil: a client must have a certificate from here
	login   func(c *sinkConn, mech, initial string) string // not nil: goes through AUTH and returns the last reply

	// script returns the answer for a stage (banner, EHLO, HELO, STARTTLS, AUTH,
	// MAIL, RCPT, DATA, DOT, BDAT, RSET, QUIT, NOOP); "" is the usual one. "!close"
	// closes, "!stall" says nothing more, "!inject" appends a reply that nobody
	// asked for, anything else is sent as it is with CRLF.
	script func(c *sinkConn, stage, arg string) string

	began sync.Once
	mu    sync.Mutex
	mails []sinkMail
	conns []*sinkConn
	wg    sync.WaitGroup
}

// A sinkMail is a message that the sink accepted.
type sinkMail struct {
	conn  int
	from  string   // argument of MAIL with its parameters
	rcpts []string // arguments of RCPT
	data  string   // dots undone, CRLF kept
	tls   bool
}

// A sinkConn is one connection.
type sinkConn struct {
	sink     *sink
	number   int
	nc       net.Conn
	tcp      net.Conn // below TLS
	br       *bufio.Reader
	commands []string
	tls      bool
	sni      string
	auth     string

	from  string
	rcpts []string
}

// newSink starts a sink on loopback; the caller may set fields before the first
// connection.
func newSink(tb testing.TB, ext ...string) *sink {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return serveSink(tb, ln, ext)
}

func serveSink(tb testing.TB, ln net.Listener, ext []string) *sink {
	s := &sink{tb: tb, ln: ln, ext: ext}
	tb.Cleanup(s.stop)
	return s
}

// accept begins to serve, once the fields are set.
func (s *sink) accept() {
	s.wg.Go(func() {
		for {
			nc, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			c := &sinkConn{sink: s, number: len(s.conns), nc: nc, tcp: nc, br: bufio.NewReaderSize(nc, 64<<10)}
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() {
				defer nc.Close()
				c.serve()
			})
		}
	})
}

func (s *sink) stop() {
	s.ln.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.tcp.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// host is the sink as the host of a job. From now on it serves.
func (s *sink) host() string {
	s.began.Do(s.accept)
	a := s.ln.Addr()
	if a.Network() == "unix" {
		return a.String()
	}
	return "[127.0.0.1]:" + strconv.Itoa(a.(*net.TCPAddr).Port)
}

func (s *sink) port() int {
	s.began.Do(s.accept)
	return s.ln.Addr().(*net.TCPAddr).Port
}

// received returns the messages so far.
func (s *sink) received() []sinkMail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sinkMail(nil), s.mails...)
}

func (s *sink) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// log returns the commands of connection n.
func (s *sink) log(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.conns[n].commands...)
}

// answer sends the scripted or the usual reply. ok says that it was a success,
// or 3xx; more that the conversation goes on.
func (c *sinkConn) answer(stage, arg, usual string) (ok, more bool) {
	text := ""
	if c.sink.script != nil {
		text = c.sink.script(c, stage, arg)
	}
	switch text {
	case "":
		text = usual
	case "!close":
		return false, false
	case "!stall":
		io.Copy(io.Discard, c.nc)
		return false, false
	case "!inject":
		text = usual + "\r\n250 injected"
	}
	if _, err := io.WriteString(c.nc, text+"\r\n"); err != nil {
		return false, false
	}
	return text[0] == '2' || text[0] == '3', true
}

func (c *sinkConn) serve() {
	if _, more := c.answer("banner", "", "220 sink.test ESMTP"); !more {
		return
	}
	for {
		line, err := c.br.ReadString('\n')
		if err != nil {
			return
		}
		text, crlf := strings.CutSuffix(line, "\r\n")
		if !crlf || strings.ContainsAny(text, "\r\x00") {
			c.sink.tb.Errorf("command is not one clean line: %q", line)
		}
		c.sink.mu.Lock()
		c.commands = append(c.commands, text)
		c.sink.mu.Unlock()
		verb, arg, _ := strings.Cut(text, " ")
		if !c.command(strings.ToUpper(verb), arg) {
			return
		}
	}
}

func (c *sinkConn) command(verb, arg string) (more bool) {
	switch verb {
	case "EHLO", "LHLO":
		_, more = c.answer("EHLO", arg, c.hello())
	case "HELO":
		_, more = c.answer("HELO", arg, "250 sink.test")
	case "STARTTLS":
		return c.startTLS()
	case "AUTH":
		return c.login(arg)
	case "MAIL":
		ok := false
		usual := "250 2.1.0 sender ok"
		if c.from != "" {
			usual = "503 5.5.1 nested MAIL"
		}
		if ok, more = c.answer("MAIL", arg, usual); ok {
			c.from = strings.TrimPrefix(arg, "FROM:")
		}
	case "RCPT":
		ok := false
		usual := "250 2.1.5 recipient ok"
		if c.from == "" {
			usual = "503 5.5.1 MAIL first"
		}
		if ok, more = c.answer("RCPT", arg, usual); ok {
			c.rcpts = append(c.rcpts, strings.TrimPrefix(arg, "TO:"))
		}
	case "DATA":
		usual := "354 go on"
		if len(c.rcpts) == 0 {
			usual = "503 5.5.1 no recipients"
		}
		ok := false
		if ok, more = c.answer("DATA", arg, usual); ok {
			return c.data()
		}
	case "BDAT":
		return c.bdat(arg)
	case "RSET":
		c.from, c.rcpts = "", nil
		_, more = c.answer("RSET", arg, "250 2.0.0 reset")
	case "QUIT":
		c.answer("QUIT", arg, "221 2.0.0 bye")
		return false
	default:
		_, more = c.answer(verb, arg, "500 5.5.2 what?")
	}
	return more
}

func (c *sinkConn) hello() string {
	lines := append([]string{"sink.test hello"}, c.sink.ext...)
	if c.sink.cert != nil && !c.tls {
		lines = append(lines, "STARTTLS")
	}
	for i := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		lines[i] = "250" + sep + lines[i]
	}
	return strings.Join(lines, "\r\n")
}

func (c *sinkConn) startTLS() bool {
	ok, more := c.answer("STARTTLS", "", "220 2.0.0 go on")
	if !ok || !more {
		return more
	}
	if c.sink.cert == nil {
		io.WriteString(c.nc, "this is no TLS\r\n")
		return false
	}
	conf := &tls.Config{Certificates: []tls.Certificate{*c.sink.cert}}
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.sink.mu.Lock()
		c.sni = hello.ServerName
		c.sink.mu.Unlock()
		if c.sink.old && slices.Contains(hello.SupportedCurves, tls.X25519MLKEM768) {
			return nil, errors.New("what is this")
		}
		return nil, nil
	}
	if c.sink.clients != nil {
		conf.ClientAuth, conf.ClientCAs = tls.RequireAnyClientCert, c.sink.clients
	}
	tc := tls.Server(c.nc, conf)
	if err := tc.Handshake(); err != nil {
		return false
	}
	c.nc, c.br, c.tls = tc, bufio.NewReaderSize(tc, 64<<10), true
	return true
}

func (c *sinkConn) login(arg string) bool {
	mech, initial, _ := strings.Cut(arg, " ")
	if c.sink.login != nil {
		last := c.sink.login(c, mech, initial)
		if last == "!close" {
			return false
		}
		io.WriteString(c.nc, last+"\r\n")
		return true
	}
	words := []string{mech, initial}
	challenges := map[string][]string{"LOGIN": {"VXNlcm5hbWU6", "UGFzc3dvcmQ6"}, "CRAM-MD5": {"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"}}[mech]
	for _, ch := range challenges {
		io.WriteString(c.nc, "334 "+ch+"\r\n")
		line, err := c.br.ReadString('\n')
		if err != nil {
			return false
		}
		words = append(words, strings.TrimSpace(line))
	}
	c.sink.mu.Lock()
	c.auth = strings.Join(words, " ")
	c.sink.mu.Unlock()
	_, more := c.answer("AUTH", c.auth, "235 2.7.0 welcome")
	return more
}

// data reads the content after DATA.
func (c *sinkConn) data() bool {
	var data bytes.Buffer
	for {
		line, err := c.br.ReadBytes('\n')
		if err != nil {
			return false
		}
		if string(line) == ".\r\n" {
			break
		}
		data.Write(bytes.TrimPrefix(line, []byte(".")))
	}
	return c.finish("DOT", data.String())
}

func (c *sinkConn) bdat(arg string) bool {
	size, _, _ := strings.Cut(arg, " ")
	n, err := strconv.Atoi(size)
	if err != nil || n < 0 || n > 1<<20 {
		c.sink.tb.Errorf("BDAT %q", arg)
		return false
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(c.br, buf); err != nil {
		return false
	}
	if len(c.rcpts) == 0 {
		_, more := c.answer("BDAT", arg, "503 5.5.1 no recipients")
		return more
	}
	return c.finish("BDAT", string(buf))
}

// finish takes or refuses the content, by LMTP for each recipient.
func (c *sinkConn) finish(stage, data string) bool {
	if bare := strings.ReplaceAll(data, "\r\n", ""); strings.ContainsAny(bare, "\r\n") {
		c.sink.tb.Errorf("bare CR or LF in content: %.200q", data)
	}
	replies := 1
	if c.sink.lmtp {
		replies = len(c.rcpts)
	}
	m := sinkMail{conn: c.number, from: c.from, data: data, tls: c.tls}
	rcpts := c.rcpts
	c.from, c.rcpts = "", nil
	for i := range replies {
		arg := ""
		if c.sink.lmtp {
			arg = rcpts[i]
			m.rcpts = rcpts[i : i+1]
		} else {
			m.rcpts = rcpts
		}
		// It is there before the client can know.
		c.sink.mu.Lock()
		c.sink.mails = append(c.sink.mails, m)
		at := len(c.sink.mails) - 1
		c.sink.mu.Unlock()
		ok, more := c.answer(stage, arg, fmt.Sprintf("250 2.0.0 queued as %d", at+1))
		if !ok {
			c.sink.mu.Lock()
			c.sink.mails = slices.Delete(c.sink.mails, at, at+1)
			c.sink.mu.Unlock()
		}
		if !more {
			return false
		}
	}
	return true
}
