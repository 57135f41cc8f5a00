package saslauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// A Binding is what ties an exchange to its TLS connection, so that nobody in the
// middle can pass it on: the exporter of RFC 9266, or nil without one.
type Binding []byte

// bindingName is the only kind of binding: RFC 9266.
const bindingName = "tls-exporter"

const maxNonce = 256

// scramServer is SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding in its
// form -PLUS.
type scramServer struct {
	store   KeyStore
	plus    bool
	binding Binding // not nil: -PLUS is offered on this connection

	user    string
	header  string // gs2-header of the client
	bare    string // its first message without that
	nonce   string // of both
	own     string // our part of it
	first   string // ours
	keys    Keys
	step    int
	outcome *Outcome // when the client has yet to acknowledge our last message
}

// NewSCRAM begins an exchange of SCRAM-SHA-256, or of SCRAM-SHA-256-PLUS.
func NewSCRAM(store KeyStore, plus bool, binding Binding) Mechanism {
	return &scramServer{store: store, plus: plus, binding: binding, own: rand.Text()}
}

func (s *scramServer) Next(ctx context.Context, response []byte) ([]byte, *Outcome) {
	if response == nil && s.step == 0 {
		return []byte{}, nil
	}
	s.step++
	switch s.step {
	case 1:
		return s.begin(ctx, string(response))
	case 2:
		return s.finish(string(response))
	}
	if len(response) > 0 {
		return nil, &Outcome{User: s.user, Err: ErrSyntax}
	}
	return nil, s.outcome
}

func (s *scramServer) end(err error) ([]byte, *Outcome) {
	return nil, &Outcome{User: s.user, Err: err}
}

// begin takes the client-first-message: gs2-header, name and nonce.
func (s *scramServer) begin(ctx context.Context, msg string) ([]byte, *Outcome) {
	f := strings.SplitN(msg, ",", 3)
	if len(f) != 3 || !s.acceptable(f[0]) {
		return s.end(ErrSyntax)
	}
	s.header, s.bare = f[0]+","+f[1]+",", f[2]
	attrs := strings.Split(s.bare, ",")
	if len(attrs) < 2 {
		return s.end(ErrSyntax)
	}
	name, ok := strings.CutPrefix(attrs[0], "n=") // "m=" would be an extension that must be understood
	nonce, ok2 := strings.CutPrefix(attrs[1], "r=")
	user, ok3 := saslName(name)
	if !ok || !ok2 || !ok3 || user == "" || nonce == "" || len(nonce) > maxNonce {
		return s.end(ErrSyntax)
	}
	s.user = prepare(user)
	if f[1] != "" {
		id, ok := strings.CutPrefix(f[1], "a=")
		id, ok2 := saslName(id)
		switch {
		case !ok || !ok2:
			return s.end(ErrSyntax)
		case prepare(id) != s.user:
			return s.end(ErrDenied)
		}
	}
	var err error
	if s.keys, err = s.store.Keys(ctx, s.user); err != nil {
		return s.end(err)
	}
	s.nonce = nonce + s.own
	k := s.keys.String() // SCRAM-SHA-256$I:SALT$...
	k, _, _ = strings.Cut(k[len(scramPrefix):], "$")
	count, salt, _ := strings.Cut(k, ":")
	s.first = "r=" + s.nonce + ",s=" + salt + ",i=" + count
	return []byte(s.first), nil
}

// acceptable judges the flag of the gs2-header: RFC 5802 §6. A client that could
// bind, and believes that we cannot, was lied to by somebody.
func (s *scramServer) acceptable(flag string) bool {
	switch {
	case s.plus:
		return flag == "p="+bindingName && s.binding != nil
	case flag == "y":
		return s.binding == nil
	}
	return flag == "n"
}

// finish takes the client-final-message: binding, nonce and proof.
func (s *scramServer) finish(msg string) ([]byte, *Outcome) {
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return s.end(ErrSyntax)
	}
	rest, proof := msg[:i], msg[i+3:]
	attrs := strings.Split(rest, ",")
	if len(attrs) < 2 {
		return s.end(ErrSyntax)
	}
	bound, ok := strings.CutPrefix(attrs[0], "c=")
	nonce, ok2 := strings.CutPrefix(attrs[1], "r=")
	got, err := base64.StdEncoding.DecodeString(bound)
	key, err2 := base64.StdEncoding.DecodeString(proof)
	if !ok || !ok2 || err != nil || err2 != nil || len(key) != sha256.Size {
		return s.end(ErrSyntax)
	}
	want := []byte(s.header)
	if s.plus {
		want = append(want, s.binding...)
	}
	all := s.bare + "," + s.first + "," + rest
	subtle.XORBytes(key, key, mac(s.keys.Stored[:], all))
	stored := sha256.Sum256(key)
	if nonce != s.nonce || !bytes.Equal(got, want) || subtle.ConstantTimeCompare(stored[:], s.keys.Stored[:]) != 1 {
		return s.end(ErrDenied)
	}
	s.outcome = &Outcome{User: s.user}
	return []byte("v=" + base64.StdEncoding.EncodeToString(mac(s.keys.Server[:], all))), nil
}

// saslName decodes a name: RFC 5802 §5.1.
func saslName(s string) (string, bool) {
	if !strings.Contains(s, "=") {
		return s, true
	}
	var b strings.Builder
	for {
		head, rest, ok := strings.Cut(s, "=")
		b.WriteString(head)
		switch {
		case !ok:
			return b.String(), true
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}
