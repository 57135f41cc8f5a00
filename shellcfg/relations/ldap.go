package relations

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
)

// ldapTable asks an LDAP server. The key stands in the filter with everything
// escaped that means something there (RFC 4515 §3). The answer is the values of
// the attributes in all entries, a line each.
//
// An answer that is not complete is no answer: a referral, a size limit that
// was reached, a base that does not exist are failures.
type ldapTable struct {
	*pool[*ldapConn]
	base   string
	scope  int
	filter query
	attrs  []string

	fresh func(ctx context.Context) (*ldapConn, error) // a connection that nobody has bound
}

type ldapConn struct{ *ldap.Conn }

const maxEntries = 10_000

var ldapScopes = map[string]int{
	"": ldap.ScopeWholeSubtree, "sub": ldap.ScopeWholeSubtree, "one": ldap.ScopeSingleLevel, "base": ldap.ScopeBaseObject,
}

// openLDAP takes ldap://HOST[:PORT]/BASE, ldaps:// for TLS, or
// ldapi://SOCKET/BASE with the slashes of the socket as %2F.
func openLDAP(o *opening) (Table, error) {
	srv, base, err := parseLDAP(o.File)
	if err != nil {
		return nil, err
	}
	t := &ldapTable{base: base, attrs: strings.FieldsFunc(o.Options["attribute"], func(r rune) bool { return r == ',' || r == ' ' })}
	if len(t.attrs) == 0 {
		return nil, errors.New("-o attribute= is missing, such as mail")
	}
	if t.filter, err = parseFilter(o.Options["filter"]); err != nil {
		return nil, fmt.Errorf("-o filter: %w", err)
	}
	if _, err := ldap.CompileFilter(t.filterFor("x")); err != nil {
		return nil, fmt.Errorf("-o filter: %w", err)
	}
	var ok bool
	if t.scope, ok = ldapScopes[o.Options["scope"]]; !ok {
		return nil, fmt.Errorf("-o scope: %q is none of sub, one, base", o.Options["scope"])
	}
	if srv.tls, err = ldapTLS(o, srv); err != nil {
		return nil, err
	}
	limitLDAP()
	t.fresh = func(ctx context.Context) (*ldapConn, error) { return srv.connect(ctx, o) }
	t.pool, err = newPool(o, "ldap "+srv.addr, func(ctx context.Context) (*ldapConn, error) { return srv.dial(ctx, o) })
	return t, err
}

// limitLDAP bounds what the parser takes memory for. The library has this
// limit for the process only.
var limitLDAP = sync.OnceFunc(func() { ber.MaxPacketLengthBytes = maxValue })

type ldapServer struct {
	network, addr string
	tls           *tls.Config // nil: in clear
	start         bool        // TLS begins after the connection is made
}

func parseLDAP(s string) (srv ldapServer, base string, err error) {
	bad := fmt.Errorf("-f %q is not ldap://HOST/BASE, ldaps://HOST/BASE or ldapi://SOCKET/BASE", s)
	scheme, rest, ok := strings.Cut(s, "://")
	host, path, _ := strings.Cut(rest, "/")
	if !ok || host == "" || strings.ContainsAny(rest, "?#") {
		return srv, "", bad
	}
	if base, err = url.PathUnescape(path); err != nil {
		return srv, "", bad
	}
	port := map[string]string{"ldap": ldap.DefaultLdapPort, "ldaps": ldap.DefaultLdapsPort}[scheme]
	switch {
	case scheme == "ldapi":
		srv.network = "unix"
		srv.addr, err = url.PathUnescape(host)
	case port != "":
		srv.network, srv.addr = "tcp", host
		if _, _, err := net.SplitHostPort(host); err != nil {
			srv.addr = net.JoinHostPort(strings.Trim(host, "[]"), port)
		}
		if scheme == "ldaps" {
			srv.tls = &tls.Config{}
		}
	default:
		err = bad
	}
	return srv, base, err
}

// ldapTLS is what -o starttls=yes and -o ca=FILE make of the connection. The
// certificate is always verified.
func ldapTLS(o *opening, srv ldapServer) (*tls.Config, error) {
	start := o.Options["starttls"]
	switch {
	case start != "" && start != "yes" && start != "no":
		return nil, fmt.Errorf("-o starttls: %q is neither yes nor no", start)
	case start == "yes" && (srv.tls != nil || srv.network == "unix"):
		return nil, errors.New("-o starttls=yes is for ldap:// only")
	case start != "yes" && srv.tls == nil && o.Options["ca"] != "":
		return nil, errors.New("-o ca needs ldaps:// or -o starttls=yes")
	case start != "yes" && srv.tls == nil:
		return nil, nil
	}
	host, _, err := net.SplitHostPort(srv.addr)
	if err != nil {
		return nil, err
	}
	return o.tlsConfig(host)
}

func (s ldapServer) dial(ctx context.Context, o *opening) (*ldapConn, error) {
	pw, _, err := o.password()
	if err != nil {
		return nil, err
	}
	c, err := s.connect(ctx, o)
	if err != nil {
		return nil, err
	}
	if user := o.Options["user"]; user != "" {
		defer c.bound(ctx)()
		err = c.Bind(user, pw) // an empty password is refused by the library
	}
	if err != nil {
		return nil, errors.Join(cause(ctx, err), c.Close())
	}
	return c, nil
}

// connect makes a connection without a name.
func (s ldapServer) connect(ctx context.Context, o *opening) (*ldapConn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, s.network, s.addr)
	if err != nil {
		return nil, err
	}
	start := o.Options["starttls"] == "yes"
	if s.tls != nil && !start {
		conn := tls.Client(raw, s.tls)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		raw = conn
	}
	c := &ldapConn{ldap.NewConn(raw, s.tls != nil && !start)}
	c.Start()
	defer c.bound(ctx)()
	if start {
		err = c.StartTLS(s.tls)
	}
	if err != nil {
		return nil, errors.Join(cause(ctx, err), c.Close())
	}
	return c, nil
}

// bound has everything on the connection end when the context does.
func (c *ldapConn) bound(ctx context.Context) (stop func()) {
	if deadline, ok := ctx.Deadline(); ok {
		c.SetTimeout(max(time.Until(deadline), time.Millisecond))
	}
	off := context.AfterFunc(ctx, func() { c.Close() })
	return func() { off() }
}

// filterFor is the filter for a key.
func (t *ldapTable) filterFor(key string) string {
	var b strings.Builder
	for i, text := range t.filter.text {
		b.WriteString(text)
		if i < len(t.filter.params) {
			b.WriteString(ldap.EscapeFilter(t.filter.params[i].of(key)))
		}
	}
	return b.String()
}

func (t *ldapTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	if impossible(key) {
		return "", false, nil
	}
	req := ldap.NewSearchRequest(t.base, t.scope, ldap.NeverDerefAliases, maxEntries, int(t.timeout/time.Second), false,
		t.filterFor(key), t.attrs, nil)
	return t.lookup(ctx, func(ctx context.Context, c *ldapConn) (reply, error) {
		defer c.bound(ctx)()
		res, err := c.Search(req)
		if err != nil {
			return reply{}, err
		}
		if len(res.Referrals) > 0 {
			return reply{}, fmt.Errorf("answer is a referral to %s, which is not followed", printable(res.Referrals[0]))
		}
		var l lines
		for _, e := range res.Entries {
			for _, a := range t.attrs {
				for _, v := range e.GetEqualFoldAttributeValues(a) {
					if err := l.add(v); err != nil {
						return reply{}, err
					}
				}
			}
		}
		return l.reply(), nil
	})
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *ldapTable) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}
