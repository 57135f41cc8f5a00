package saslauth

import (
	"bytes"
	"context"
	"strings"
)

// plainServer is PLAIN: RFC 4616.
type plainServer struct {
	checker Checker
	asked   bool
}

// NewPlain begins an exchange of PLAIN.
func NewPlain(c Checker) Mechanism { return &plainServer{checker: c} }

func (p *plainServer) Next(ctx context.Context, response []byte) ([]byte, *Outcome) {
	if response == nil && !p.asked {
		p.asked = true
		return []byte{}, nil
	}
	f := bytes.Split(response, []byte{0})
	if len(f) != 3 || len(f[1]) == 0 || len(f[2]) == 0 {
		return nil, &Outcome{Err: ErrSyntax}
	}
	identity, user, password := prepare(string(f[0])), prepare(string(f[1])), string(f[2])
	if identity != "" && identity != user {
		return nil, &Outcome{User: user, Err: ErrDenied}
	}
	return nil, judge(ctx, p.checker, user, password)
}

// judge asks the checker. RFC 4616 §2 has no NUL in a name or a password, and what
// is written in C would take one for the end of a password that is right so far.
func judge(ctx context.Context, c Checker, user, password string) *Outcome {
	if strings.ContainsRune(user+password, 0) {
		return &Outcome{User: user, Err: ErrDenied}
	}
	ok, err := c.Check(ctx, user, password)
	if err == nil && !ok {
		err = ErrDenied
	}
	return &Outcome{User: user, Err: err}
}

// loginServer is LOGIN, which has no standard but many clients.
type loginServer struct {
	checker Checker
	user    string
	asked   int
}

// NewLogin begins an exchange of LOGIN.
func NewLogin(c Checker) Mechanism { return &loginServer{checker: c} }

func (l *loginServer) Next(ctx context.Context, response []byte) ([]byte, *Outcome) {
	switch {
	case l.asked == 0 && response == nil:
		l.asked = 1
		return []byte("Username:"), nil
	case l.asked < 2:
		l.user, l.asked = prepare(string(response)), 2
		return []byte("Password:"), nil
	case l.user == "" || len(response) == 0:
		return nil, &Outcome{User: l.user, Err: ErrDenied}
	}
	return nil, judge(ctx, l.checker, l.user, string(response))
}

// externalServer is EXTERNAL (RFC 4422 appendix A): the client has proved before,
// by TLS, who it is.
type externalServer struct {
	user  string
	asked bool
}

// NewExternal begins an exchange of EXTERNAL with a client that is user.
func NewExternal(user string) Mechanism { return &externalServer{user: user} }

func (e *externalServer) Next(_ context.Context, response []byte) ([]byte, *Outcome) {
	if response == nil && !e.asked {
		e.asked = true
		return []byte{}, nil
	}
	end := &Outcome{User: e.user}
	if id := prepare(string(response)); id != "" && id != e.user {
		end.Err = ErrDenied
	}
	return nil, end
}
