package saslauth

import (
	"context"
	"strings"
)

// A TokenChecker finds out whose a token is: "" if nobody's. user is whom the
// client claims to be, "" if it does not say.
type TokenChecker func(ctx context.Context, token, user string) (owner string, err error)

// bearer is OAUTHBEARER (RFC 7628) or XOAUTH2, which came before it. Both are one
// message; a refusal is told as a challenge, to which the client has to answer.
type bearer struct {
	check   TokenChecker
	read    func(msg string) (user, token string, ok bool)
	refusal string
	asked   bool
	refused *Outcome
}

// NewOAuthBearer begins an exchange of OAUTHBEARER.
func NewOAuthBearer(check TokenChecker) Mechanism {
	return &bearer{check: check, read: readOAuthBearer, refusal: `{"status":"invalid_token","schemes":"bearer"}`}
}

// NewXOAuth2 begins an exchange of XOAUTH2.
func NewXOAuth2(check TokenChecker) Mechanism {
	return &bearer{check: check, read: readXOAuth2, refusal: `{"status":"401","schemes":"bearer"}`}
}

func (b *bearer) Next(ctx context.Context, response []byte) ([]byte, *Outcome) {
	switch {
	case b.refused != nil:
		return nil, b.refused
	case response == nil && !b.asked:
		b.asked = true
		return []byte{}, nil
	}
	user, token, ok := b.read(string(response))
	if !ok || token == "" {
		return nil, &Outcome{User: user, Err: ErrSyntax}
	}
	owner, err := b.check(ctx, token, user)
	switch {
	case err != nil:
		return nil, &Outcome{User: user, Err: err}
	case owner == "" || user != "" && owner != user:
		b.refused = &Outcome{User: user, Err: ErrDenied}
		return []byte(b.refusal), nil
	}
	return nil, &Outcome{User: owner}
}

// readOAuthBearer reads gs2-header ^A key=value ^A ... ^A ^A.
func readOAuthBearer(msg string) (user, token string, ok bool) {
	f := strings.SplitN(msg, ",", 3)
	if len(f) != 3 || f[0] != "n" && f[0] != "y" {
		return "", "", false
	}
	if f[1] != "" {
		id, ok := strings.CutPrefix(f[1], "a=")
		if user, ok2 := saslName(id); ok && ok2 {
			return withToken(prepare(user), f[2])
		}
		return "", "", false
	}
	return withToken("", f[2])
}

func withToken(user, rest string) (string, string, bool) {
	if !strings.HasPrefix(rest, "\x01") {
		return user, "", false
	}
	token, ok := bearerToken(rest[1:], nil)
	return user, token, ok
}

// readXOAuth2 reads user=NAME ^A auth=Bearer TOKEN ^A ^A.
func readXOAuth2(msg string) (user, token string, ok bool) {
	token, ok = bearerToken(msg, &user)
	user = prepare(user)
	return user, token, ok && user != ""
}

// bearerToken reads the pairs of both forms. user is set if it is wanted here.
func bearerToken(rest string, user *string) (token string, ok bool) {
	pairs, ok := strings.CutSuffix(rest, "\x01\x01")
	if !ok {
		return "", false
	}
	for p := range strings.SplitSeq(pairs, "\x01") {
		key, value, ok := strings.Cut(p, "=")
		switch {
		case !ok:
			return "", false
		case key == "user" && user != nil:
			*user = value
		case key == "auth":
			kind, t, _ := strings.Cut(value, " ")
			if !strings.EqualFold(kind, "bearer") || !isToken(t) {
				return "", false
			}
			token = t
		}
	}
	return token, true
}

// isToken tells a b64token: RFC 6750 §2.1.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/=", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// Refused is the outcome that the client has been told and not yet answered.
func (b *bearer) Refused() *Outcome { return b.refused }
