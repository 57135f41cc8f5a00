package relations

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// socketmap asks a server by the protocol of Sendmail's and Postfix's
// socketmaps: a netstring "MAP KEY" is answered by a netstring.
//
// Connections are kept and used again; no more than limit are open at once,
// and whoever comes next waits for one, within the time limit of a lookup.
type socketmap struct {
	network, addr, name string
	timeout             time.Duration
	slots               chan struct{}

	mu     sync.Mutex
	idle   []*mapConn
	closed bool
}

type mapConn struct {
	net.Conn
	r *bufio.Reader
}

func openSocketmap(o *opening) (Table, error) {
	t := &socketmap{}
	var err error
	if t.network, t.addr, t.name, err = parseSocket(o.File); err != nil {
		return nil, err
	}
	if t.timeout, err = o.duration("timeout", 10*time.Second); err != nil {
		return nil, err
	}
	limit := 8
	if s, ok := o.Options["connections"]; ok {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > 1000 {
			return nil, fmt.Errorf("-o connections: %q is not a number between 1 and 1000", s)
		}
	}
	t.slots = make(chan struct{}, limit)
	return t, nil
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
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	case <-ctx.Done():
		return "", false, fmt.Errorf("socketmap %s: %w", t.addr, ctx.Err())
	}
	reply, err := t.exchange(ctx, t.name+" "+key)
	if err != nil {
		err = cause(ctx, err)
		return "", false, fmt.Errorf("socketmap %s: %w", t.addr, err)
	}
	return parseAnswer(reply)
}

// exchange uses a kept connection if there is one. A server may have closed
// it meanwhile, so that failing on it means nothing and a new one is made.
func (t *socketmap) exchange(ctx context.Context, request string) (string, error) {
	if c := t.kept(); c != nil {
		if reply, err := t.talk(ctx, c, request); err == nil || ctx.Err() != nil {
			return reply, err
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, t.network, t.addr)
	if err != nil {
		return "", err
	}
	return t.talk(ctx, &mapConn{conn, bufio.NewReader(conn)}, request)
}

// talk ends with the connection kept, or closed if anything went wrong.
func (t *socketmap) talk(ctx context.Context, c *mapConn, request string) (reply string, err error) {
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	if _, err := fmt.Fprintf(c, "%d:%s,", len(request), request); err != nil {
		stop()
		return "", err
	}
	reply, err = readNetstring(c.r)
	switch {
	case !stop() && err == nil: // the deadline is about to be spoilt
		c.Close()
	case err == nil:
		t.keep(c)
	}
	return reply, err
}

func (t *socketmap) kept() *mapConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == 0 {
		return nil
	}
	c := t.idle[len(t.idle)-1]
	t.idle = t.idle[:len(t.idle)-1]
	return c
}

func (t *socketmap) keep(c *mapConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.Close()
		return
	}
	t.idle = append(t.idle, c)
}

func (t *socketmap) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	var err error
	for _, c := range t.idle {
		err = errors.Join(err, c.Close())
	}
	t.idle = nil
	return err
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
