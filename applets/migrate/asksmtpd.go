package migrate

import (
	"context"
	"fmt"
	"net"
	"net/textproto"
	"path/filepath"
	"strings"
	"time"
)

// smtpdAsker asks a running OpenSMTPD by SMTP, as a client of this host: it has no
// command that says where an address would go. The answer to RCPT, after which the
// session ends, says whether the address exists.
type smtpdAsker struct{ addr string }

func newSmtpdAsker(dir, program string) (asker, error) {
	if program != "" {
		return &smtpdAsker{program}, nil
	}
	statements, err := readSmtpd(filepath.Join(dir, "smtpd.conf"))
	if err != nil {
		return nil, err
	}
	s := &smtpd{result: newResult(nil), keys: make(map[string]string), tables: make(map[string][]entry)}
	for _, st := range statements {
		if st.words[0] == "listen" {
			s.listener(st)
		}
	}
	for _, l := range s.listen {
		l = strings.Replace(strings.Replace(l, "0.0.0.0:", "127.0.0.1:", 1), "[::]:", "[::1]:", 1)
		if host, _, err := net.SplitHostPort(l); err == nil && net.ParseIP(host).IsLoopback() {
			return &smtpdAsker{l}, nil
		}
	}
	return nil, fmt.Errorf("OpenSMTPD can only be asked by SMTP, and does not listen on the loopback; --program ADDRESS:PORT says where it does")
}

func (s *smtpdAsker) about() string {
	return "OpenSMTPD has no command that tells where mail goes: what is compared is whether it takes an address from a client of this host."
}

func (s *smtpdAsker) reduce(way string) string {
	if way == refused {
		return refused
	}
	return "taken"
}

func (s *smtpdAsker) ask(ctx context.Context, addr string) ([]string, error) {
	if strings.ContainsAny(addr, "\r\n<>") {
		return nil, fmt.Errorf("%q is no address", addr)
	}
	d := net.Dialer{Timeout: askTime}
	conn, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(askTime)); err != nil {
		return nil, err
	}
	c := textproto.NewConn(conn)
	for _, line := range []string{"", "EHLO localhost", "MAIL FROM:<>"} {
		if err := command(c, line, 2); err != nil {
			return nil, err
		}
	}
	err = command(c, "RCPT TO:<"+addr+">", 2)
	quit := command(c, "QUIT", 2)
	if reply, ok := err.(*textproto.Error); ok {
		if reply.Code/100 == 5 {
			return []string{refused}, nil
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return []string{"taken"}, quit
}

// command sends a line, if there is one, and reads the reply.
func command(c *textproto.Conn, line string, want int) error {
	if line != "" {
		if err := c.PrintfLine("%s", line); err != nil {
			return err
		}
	}
	_, _, err := c.ReadResponse(want)
	return err
}
