package smtp

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

// A mailbox is the backend of a go-smtp server: a peer written by others.
type mailbox struct {
	mu    sync.Mutex
	mails []string // sender, recipients and content
}

type mailboxSession struct {
	m        *mailbox
	envelope []string
}

func (m *mailbox) NewSession(*gosmtp.Conn) (gosmtp.Session, error) {
	return &mailboxSession{m: m}, nil
}

func (s *mailboxSession) Reset()        { s.envelope = nil }
func (s *mailboxSession) Logout() error { return nil }

func (s *mailboxSession) Mail(from string, o *gosmtp.MailOptions) error {
	text := from
	if o.Body != "" {
		text += " " + string(o.Body)
	}
	if o.UTF8 {
		text += " SMTPUTF8"
	}
	s.envelope = []string{text}
	return nil
}

func (s *mailboxSession) Rcpt(to string, o *gosmtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	for _, n := range o.Notify {
		to += " " + string(n)
	}
	s.envelope = append(s.envelope, to)
	return nil
}

func (s *mailboxSession) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.mails = append(s.m.mails, strings.Join(append(s.envelope, string(b)), "|"))
	return nil
}

func (m *mailbox) last() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.mails) == 0 {
		return ""
	}
	return m.mails[len(m.mails)-1]
}

// What we say is understood by a server that is not ours: pipelined, chunked,
// 8-bit, UTF-8, DSN, over TLS.
func TestGoSMTP(t *testing.T) {
	cert, _ := newCert(t, "mx.test", time.Now().Add(time.Hour))
	m := &mailbox{}
	srv := gosmtp.NewServer(m)
	srv.Domain, srv.EnableSMTPUTF8, srv.EnableDSN = "mx.test", true, true
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Close()
		wg.Wait()
	})
	host := "[127.0.0.1]:" + ln.Addr().String()[len("127.0.0.1:"):]
	for _, chunking := range []bool{true, false} {
		d := start(t, func(o *options) {
			o.chunking = chunking
			o.tls.mode = tlsMust
		})
		for range 2 {
			l := letterOf("Subject: x\n\n", ".\nGrüße\n..\n", "a@x.test", "no@x.test")
			l.groups[0].Rcpts[0].Notify = "SUCCESS"
			if got := outcome(d.deliver(l, host)); got != "ok 2.0.0, error 5.1.1" {
				t.Errorf("got %s", got)
			}
			if want := "from@us.test 8BITMIME|a@x.test SUCCESS|Subject: x\r\n\r\n.\r\nGrüße\r\n..\r\n"; m.last() != want {
				t.Errorf("received %q", m.last())
			}
		}
		l := letterOf("Subject: ü\n\n", strings.Repeat("big\n", pieceSize/2), "ä@x.test")
		l.attr.SMTPUTF8 = true
		if got := outcome(d.deliver(l, host)); got != "ok 2.0.0" {
			t.Errorf("got %s", got)
		}
		if !strings.HasPrefix(m.last(), "from@us.test 8BITMIME SMTPUTF8|ä@x.test|Subject: ü\r\n\r\nbig\r\n") {
			t.Errorf("received %.100q", m.last())
		}
		if log := strings.Join(d.logs, "\n"); !strings.Contains(log, " tls=TLSv1.3:TLS_AES_128_GCM_SHA256 ") {
			t.Errorf("log without the facts of TLS: %s", log)
		}
	}
}
