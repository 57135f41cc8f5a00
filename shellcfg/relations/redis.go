package relations

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// redisTable asks a Redis server, in the version 2 of its protocol, which
// Valkey, KeyDB and all proxies speak too. Keys and values are bytes with
// their length, so that nothing needs escaping.
type redisTable struct {
	*pool[*redisConn]
	sub  string
	name string // of the hash; else what keys begin with
}

// redisSubs: a string, a field of the hash -o name, the members of a set or a
// list, a line each.
var redisSubs = []string{"get", "hash", "set", "list"}

type redisConn struct {
	net.Conn
	r *bufio.Reader
}

type redisServer struct {
	network, addr, host, user, db string
	tls                           bool
	config                        *tls.Config
}

func openRedis(o *opening) (Table, error) {
	srv, err := parseRedis(o.File)
	if err != nil {
		return nil, err
	}
	switch {
	case srv.tls:
		if srv.config, err = o.tlsConfig(srv.host); err != nil {
			return nil, err
		}
	case o.Options["ca"] != "":
		return nil, errors.New("-o ca is for rediss://")
	}
	t := &redisTable{sub: o.Sub, name: o.Options["name"]}
	if t.sub == "hash" && t.name == "" {
		return nil, errors.New("-o name= is missing, the name of the hash")
	}
	t.pool, err = newPool(o, "redis "+srv.addr, func(ctx context.Context) (*redisConn, error) { return srv.dial(ctx, o) })
	return t, err
}

// parseRedis reads redis://[USER@]HOST[:PORT][/DB], rediss:// for TLS, and
// unix:PATH.
func parseRedis(s string) (redisServer, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok && path != "" {
		return redisServer{network: "unix", addr: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.RawQuery != "" {
		return redisServer{}, fmt.Errorf("-f %q is not redis://[USER@]HOST[:PORT][/DB] or unix:PATH", s)
	}
	if _, has := u.User.Password(); has {
		return redisServer{}, errors.New("-f with a password in it: put it into the file of -o password-file")
	}
	srv := redisServer{network: "tcp", addr: u.Host, host: u.Hostname(), tls: u.Scheme == "rediss", user: u.User.Username(), db: strings.Trim(u.Path, "/")}
	if u.Port() == "" {
		srv.addr = net.JoinHostPort(u.Hostname(), "6379")
	}
	if srv.db != "" {
		if _, err := strconv.ParseUint(srv.db, 10, 16); err != nil {
			return srv, fmt.Errorf("-f: database %q is not a number", srv.db)
		}
	}
	return srv, nil
}

func (s redisServer) dial(ctx context.Context, o *opening) (*redisConn, error) {
	pw, auth, err := o.password()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, s.network, s.addr)
	if err != nil {
		return nil, err
	}
	if s.tls {
		secure := tls.Client(conn, s.config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		conn = secure
	}
	c := &redisConn{conn, bufio.NewReader(conn)}
	if auth {
		cmd := []string{"AUTH", pw}
		if s.user != "" {
			cmd = []string{"AUTH", s.user, pw}
		}
		_, err = c.command(ctx, cmd...)
	}
	if err == nil && s.db != "" {
		_, err = c.command(ctx, "SELECT", s.db)
	}
	if err != nil {
		return nil, errors.Join(cause(ctx, err), conn.Close())
	}
	return c, nil
}

func (t *redisTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	return t.lookup(ctx, func(ctx context.Context, c *redisConn) (reply, error) {
		switch t.sub {
		case "hash":
			return c.command(ctx, "HGET", t.name, key)
		case "set":
			return c.command(ctx, "SMEMBERS", t.name+key)
		case "list":
			return c.command(ctx, "LRANGE", t.name+key, "0", "-1")
		}
		return c.command(ctx, "GET", t.name+key)
	})
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *redisTable) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}

func (c *redisConn) command(ctx context.Context, words ...string) (reply, error) {
	stop, err := bound(ctx, c)
	if err != nil {
		return reply{}, err
	}
	defer stop()
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := c.Write(b); err != nil {
		return reply{}, err
	}
	return readRedis(c.r)
}

// readRedis reads an answer: a text, nothing, or a list of texts.
func readRedis(r *bufio.Reader) (reply, error) {
	kind, rest, err := redisLine(r)
	if err != nil {
		return reply{}, err
	}
	if kind != '*' {
		s, found, err := redisText(r, kind, rest)
		return reply{s, found}, err
	}
	n, err := redisLength(rest)
	if err != nil {
		return reply{}, err
	}
	var l lines
	for range n {
		kind, rest, err := redisLine(r)
		if err != nil {
			return reply{}, err
		}
		s, found, err := redisText(r, kind, rest)
		if err == nil && found {
			err = l.add(s)
		}
		if err != nil {
			return reply{}, err
		}
	}
	return l.reply(), nil
}

// redisText is the rest of an answer that is no list.
func redisText(r *bufio.Reader, kind byte, rest string) (string, bool, error) {
	switch kind {
	case '+', ':':
		return rest, true, nil
	case '-':
		return "", false, fmt.Errorf("server says: %s", printable(rest))
	case '$':
		n, err := redisLength(rest)
		if err != nil || n < 0 {
			return "", false, err
		}
		// Memory is taken as the bytes come, not as the length promises.
		var b strings.Builder
		if _, err := io.CopyN(&b, r, int64(n)+2); err != nil {
			return "", false, noEOF(err)
		}
		s, ok := strings.CutSuffix(b.String(), "\r\n")
		if !ok {
			return "", false, errRedis
		}
		return s, true, nil
	}
	return "", false, errRedis
}

var errRedis = errors.New("answer is not in the protocol of Redis")

func redisLine(r *bufio.Reader) (kind byte, rest string, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, "", noEOF(err)
	}
	s, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || s == "" {
		return 0, "", errRedis
	}
	return s[0], s[1:], nil
}

// redisLength is the length of what follows; -1 stands for nothing.
func redisLength(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < -1 || n > maxValue {
		return 0, errRedis
	}
	return n, nil
}
