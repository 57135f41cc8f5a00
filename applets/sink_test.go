package applets

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A sink is the next hop in scripts. It stores each message as a file and answers
// RCPT as its mode says, which a script can change while it runs.
type sink struct {
	dir string
	l   net.Listener

	mu     sync.Mutex
	mode   string   // "ok", or the reply to every RCPT
	offers []string // in reply to EHLO, beyond what it always offers
	n      int
}

var sinks sync.Map // by WORK directory

// sinkCmd starts the sink on $SINKPORT, or changes its mode:
// "sink ok", "sink 451 4.2.2 full", "sink stop". "sink offers DELIVERBY" changes what
// it offers; each word is a line.
func sinkCmd(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	if v, ok := sinks.Load(work); ok {
		s := v.(*sink)
		if args[0] == "stop" {
			s.l.Close()
			sinks.Delete(work)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if args[0] == "offers" {
			s.offers = args[1:]
		} else {
			s.mode = strings.Join(args, " ")
		}
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+ts.Getenv("SINKPORT"))
	ts.Check(err)
	s := &sink{dir: filepath.Join(work, "sink"), l: l, mode: strings.Join(args, " ")}
	ts.Check(os.MkdirAll(s.dir, 0o755))
	sinks.Store(work, s)
	ts.Defer(func() { l.Close(); sinks.Delete(work) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.session(c)
		}
	}()
}

func (s *sink) session(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	say := func(text string) { fmt.Fprintf(c, "%s\r\n", text) }
	say("220 sink.test ESMTP")
	var envelope strings.Builder
	rcpts := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		switch verb {
		case "EHLO":
			text := "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n"
			s.mu.Lock()
			for _, line := range s.offers {
				text += "250-" + line + "\r\n"
			}
			s.mu.Unlock()
			say(text + "250 DSN")
		case "MAIL":
			envelope.Reset()
			rcpts = 0
			fmt.Fprintln(&envelope, line)
			say("250 2.1.0 ok")
		case "RCPT":
			s.mu.Lock()
			mode := s.mode
			s.mu.Unlock()
			if mode != "ok" {
				say(mode)
				break
			}
			rcpts++
			fmt.Fprintln(&envelope, line)
			say("250 2.1.5 ok")
		case "DATA":
			if rcpts == 0 {
				say("554 5.5.1 no recipients")
				break
			}
			say("354 go on")
			if err := s.data(r, envelope.String()); err != nil {
				return
			}
			say("250 2.0.0 stored")
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

func (s *sink) data(r *bufio.Reader, envelope string) error {
	var b strings.Builder
	b.WriteString(envelope)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimSuffix(strings.TrimPrefix(line, "."), "\r\n") + "\n")
	}
	s.mu.Lock()
	s.n++
	n := s.n
	s.mu.Unlock()
	return os.WriteFile(filepath.Join(s.dir, fmt.Sprintf("%04d", n)), []byte(b.String()), 0o644)
}

// sendCmd sends a message over SMTP to $PORT: send FROM TO [TEXT], where TO may be
// several addresses with commas.
func sendCmd(ts *testscript.TestScript, neg bool, args []string) {
	err := send(ts.Getenv("PORT"), args[0], strings.Split(args[1], ","), strings.Join(args[2:], " "))
	switch {
	case err != nil && !neg:
		ts.Fatalf("send: %v", err)
	case err == nil && neg:
		ts.Fatalf("send: accepted")
	case err != nil:
		ts.Logf("%v", err)
	}
}

func send(port, from string, to []string, text string) error {
	c, err := smtp.Dial("127.0.0.1:" + port)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Mail(strings.Trim(from, "<>")); err != nil {
		return err
	}
	for _, addr := range to {
		if err := c.Rcpt(addr); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "From: "+from+"\r\nTo: "+to[0]+"\r\nSubject: "+text+"\r\n\r\n"+text+"\r\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}
