package relations

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// socketmap asks a server by the protocol of Sendmail's and Postfix's
// socketmaps: a netstring "MAP KEY" is answered by a netstring.
type socketmap struct {
	*pool[*mapConn]
	name string
}

type mapConn struct {
	net.Conn
	r *bufio.Reader
}

func openSocketmap(o *opening) (Table, error) {
	network, addr, name, err := parseSocket(o.File)
	if err != nil {
		return nil, err
	}
	p, err := newPool(o, "socketmap "+addr, func(ctx context.Context) (*mapConn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return &mapConn{conn, bufio.NewReader(conn)}, err
	})
	return &socketmap{p, name}, err
}

// parseSocket reads inet:HOST:PORT:MAP and unix:PATH:MAP.
func parseSocket(s string) (network, addr, name string, err error) {
	kind, rest, _ := strings.Cut(s, ":")
	i := strings.LastIndexByte(rest, ':')
	if i > 0 && i < len(rest)-1 {
		addr, name = rest[:i], rest[i+1:]
	}
	switch {
	case strings.ContainsAny(name, " \t\n"):
	case kind == "unix" && addr != "":
		return "unix", addr, name, nil
	case kind == "inet":
		if host, port, err := net.SplitHostPort(addr); err == nil && host != "" && port != "" {
			return "tcp", addr, name, nil
		}
	}
	return "", "", "", fmt.Errorf("-f %q is neither inet:HOST:PORT:MAP nor unix:PATH:MAP", s)
}

func (t *socketmap) Lookup(ctx context.Context, key string) (string, bool, error) {
	var answer string
	_, _, err := t.lookup(ctx, func(ctx context.Context, c *mapConn) (_ reply, err error) {
		answer, err = c.talk(ctx, t.name+" "+key)
		return reply{}, err
	})
	if err != nil {
		return "", false, err
	}
	return parseAnswer(answer) // TEMP is an answer: the connection is good
}

func (c *mapConn) talk(ctx context.Context, request string) (string, error) {
	stop, err := bound(ctx, c)
	if err != nil {
		return "", err
	}
	defer stop()
	if _, err := fmt.Fprintf(c, "%d:%s,", len(request), request); err != nil {
		return "", err
	}
	return readNetstring(c.r)
}

// bound has the reads and writes on a connection end when the context does.
// A pool does not keep a connection whose context has ended, so the deadline
// need not be put right.
func bound(ctx context.Context, c net.Conn) (stop func() bool, err error) {
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	return context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) }), nil
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *socketmap) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}

// readNetstring reads "LENGTH:BYTES,".
func readNetstring(r *bufio.Reader) (string, error) {
	n := 0
	for i := 0; ; i++ {
		c, err := r.ReadByte()
		if err != nil {
			return "", noEOF(err)
		}
		if c == ':' && i > 0 {
			break
		}
		if c < '0' || c > '9' || i > 8 {
			return "", errors.New("answer is not a netstring")
		}
		n = n*10 + int(c-'0')
	}
	if n > maxValue {
		return "", fmt.Errorf("answer of %d bytes, at most %d are allowed", n, maxValue)
	}
	// Memory is taken as the bytes come, not as the length promises.
	var b strings.Builder
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return "", noEOF(err)
	}
	if c, err := r.ReadByte(); err != nil || c != ',' {
		return "", errors.New("netstring without its comma")
	}
	return b.String(), nil
}

// noEOF names the end of a connection in the middle of an answer.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
