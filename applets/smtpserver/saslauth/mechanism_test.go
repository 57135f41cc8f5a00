package saslauth

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
)

var password = CheckerFunc(func(_ context.Context, user, password string) (bool, error) {
	if user == "down" {
		return false, context.DeadlineExceeded
	}
	return user == "joe" && password == "secret", nil
})

func tokens(_ context.Context, token, user string) (string, error) {
	switch token {
	case "good":
		return "joe", nil
	case "down":
		return "", context.DeadlineExceeded
	}
	return "", nil
}

// talk plays the responses and returns the last challenge and the end.
func talk(m Mechanism, responses ...string) (string, *Outcome) {
	var challenge []byte
	for _, r := range responses {
		var end *Outcome
		response := []byte(r)
		if r == "<none>" {
			response = nil
		}
		if challenge, end = m.Next(context.Background(), response); end != nil {
			return string(challenge), end
		}
	}
	return string(challenge), nil
}

func TestMechanisms(t *testing.T) {
	plain := func() Mechanism { return NewPlain(password) }
	login := func() Mechanism { return NewLogin(password) }
	oauth := func() Mechanism { return NewOAuthBearer(tokens) }
	xoauth := func() Mechanism { return NewXOAuth2(tokens) }
	external := func() Mechanism { return NewExternal("joe") }
	for _, tt := range []struct {
		name      string
		new       func() Mechanism
		responses []string
		challenge string
		user      string
		err       error
	}{
		{"plain", plain, []string{"\x00joe\x00secret"}, "", "joe", nil},
		{"plain, asked", plain, []string{"<none>", "joe\x00joe\x00secret"}, "", "joe", nil},
		{"plain, wrong", plain, []string{"\x00joe\x00x"}, "", "joe", ErrDenied},
		{"plain, for another", plain, []string{"ann\x00joe\x00secret"}, "", "joe", ErrDenied},
		{"plain, nonsense", plain, []string{"joe"}, "", "", ErrSyntax},
		{"plain, nobody", plain, []string{"\x00\x00secret"}, "", "", ErrSyntax},
		{"plain, down", plain, []string{"\x00down\x00secret"}, "", "down", context.DeadlineExceeded},
		{"login", login, []string{"<none>", "joe", "secret"}, "", "joe", nil},
		{"login, initial", login, []string{"joe", "secret"}, "", "joe", nil},
		{"login, empty", login, []string{"<none>", "joe", ""}, "", "joe", ErrDenied},
		{"oauth", oauth, []string{"n,a=joe,\x01host=mx\x01port=587\x01auth=Bearer good\x01\x01"}, "", "joe", nil},
		{"oauth, no name", oauth, []string{"<none>", "n,,\x01auth=bearer good\x01\x01"}, "", "joe", nil},
		{"oauth, other", oauth, []string{"n,a=ann,\x01auth=Bearer good\x01\x01", "\x01"}, "", "ann", ErrDenied},
		{"oauth, bad", oauth, []string{"n,a=joe,\x01auth=Bearer bad\x01\x01"}, `{"status":"invalid_token","schemes":"bearer"}`, "", nil},
		{"oauth, down", oauth, []string{"n,,\x01auth=Bearer down\x01\x01"}, "", "", context.DeadlineExceeded},
		{"oauth, basic", oauth, []string{"n,,\x01auth=Basic good\x01\x01"}, "", "", ErrSyntax},
		{"oauth, no end", oauth, []string{"n,,\x01auth=Bearer good\x01"}, "", "", ErrSyntax},
		{"xoauth2", xoauth, []string{"user=joe\x01auth=Bearer good\x01\x01"}, "", "joe", nil},
		{"xoauth2, no name", xoauth, []string{"auth=Bearer good\x01\x01"}, "", "", ErrSyntax},
		{"xoauth2, bad", xoauth, []string{"user=joe\x01auth=Bearer bad\x01\x01", ""}, "", "joe", ErrDenied},
		{"external", external, []string{""}, "", "joe", nil},
		{"external, asked", external, []string{"<none>", "joe"}, "", "joe", nil},
		{"external, other", external, []string{"ann"}, "", "joe", ErrDenied},
	} {
		challenge, end := talk(tt.new(), tt.responses...)
		switch {
		case end == nil:
			if tt.challenge == "" || challenge != tt.challenge {
				t.Errorf("%s: challenge %q, want %q", tt.name, challenge, tt.challenge)
			}
		case tt.challenge != "" || end.User != tt.user || !errors.Is(end.Err, tt.err):
			t.Errorf("%s: %+v", tt.name, end)
		}
	}
}

// TestClients has the clients of go-sasl speak.
func TestClients(t *testing.T) {
	for name, tt := range map[string]struct {
		c sasl.Client
		m Mechanism
	}{
		"plain":       {sasl.NewPlainClient("", "joe", "secret"), NewPlain(password)},
		"login":       {sasl.NewLoginClient("joe", "secret"), NewLogin(password)},
		"oauthbearer": {sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: "joe", Token: "good", Host: "mx", Port: 587}), NewOAuthBearer(tokens)},
		"external":    {sasl.NewExternalClient(""), NewExternal("joe")},
	} {
		_, response, err := tt.c.Start()
		for range 5 {
			if err != nil {
				t.Fatal(name, err)
			}
			challenge, end := tt.m.Next(context.Background(), response)
			if end != nil {
				if end.Err != nil || end.User != "joe" {
					t.Errorf("%s: %+v", name, end)
				}
				break
			}
			response, err = tt.c.Next(challenge)
		}
	}
}

// oneUser is the user of RFC 7677 §3, whose password is "pencil".
type oneUser struct{ keys Keys }

func (u oneUser) Keys(_ context.Context, user string) (Keys, error) {
	if user == "user" {
		return u.keys, nil
	}
	return nobody(user, &u.keys), nil
}

func pencil(t testing.TB) oneUser {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	k := Keys{Iterations: 4096, Salt: salt}
	if err := k.derive("pencil"); err != nil {
		t.Fatal(err)
	}
	return oneUser{k}
}

// TestSCRAM is the example of RFC 7677 §3, and what must not work.
func TestSCRAM(t *testing.T) {
	const (
		first  = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
		server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
		nonce  = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		final  = "c=biws," + nonce + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
		proof  = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
	)
	store := pencil(t)
	start := func(plus bool, b Binding) *scramServer {
		s := NewSCRAM(store, plus, b).(*scramServer)
		s.own = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
		return s
	}
	s := start(false, nil)
	for _, step := range []struct{ in, want string }{{first, server}, {final, proof}} {
		if got, end := talk(s, step.in); end != nil || got != step.want {
			t.Fatalf("%s: got %q, %+v", step.in, got, end)
		}
	}
	if _, end := talk(s, ""); end == nil || end.Err != nil || end.User != "user" {
		t.Errorf("outcome %+v", end)
	}
	bound := Binding("0123456789")
	for _, tt := range []struct {
		name      string
		plus      bool
		binding   Binding
		responses []string
		want      error
	}{
		{"unknown user", false, nil, []string{strings.Replace(first, "user", "nobody", 1), final}, ErrDenied},
		{"wrong proof", false, nil, []string{first, strings.Replace(final, "dHz", "aHz", 1)}, ErrDenied},
		{"other nonce", false, nil, []string{first, strings.Replace(final, "rOpr", "xOpr", 1)}, ErrDenied},
		{"other header", false, nil, []string{first, strings.Replace(final, "biws", "eSws", 1)}, ErrDenied},
		{"client believes we cannot bind, and is right", false, nil, []string{"y,," + first[3:], final}, ErrDenied}, // its header is another one
		{"client was told that we cannot bind", false, bound, []string{"y,," + first[3:]}, ErrSyntax},
		{"binding without plus", false, bound, []string{"p=tls-exporter,," + first[3:]}, ErrSyntax},
		{"plus without binding", true, bound, []string{first}, ErrSyntax},
		{"plus, unknown binding", true, bound, []string{"p=tls-unique,," + first[3:]}, ErrSyntax},
		{"plus, wrong binding", true, bound, []string{"p=tls-exporter,," + first[3:], final}, ErrDenied},
		{"another identity", false, nil, []string{"n,a=root," + first[3:]}, ErrDenied},
		{"extension", false, nil, []string{"n,,m=x,n=user,r=abc"}, ErrSyntax},
		{"bad name", false, nil, []string{"n,,n=us=er,r=abc"}, ErrSyntax},
		{"no nonce", false, nil, []string{"n,,n=user,r="}, ErrSyntax},
		{"no proof", false, nil, []string{first, "c=biws," + nonce}, ErrSyntax},
		{"nothing", false, nil, []string{"<none>", ""}, ErrSyntax},
		{"more after the proof", false, nil, []string{first, final, "x"}, ErrSyntax},
	} {
		if c, end := talk(start(tt.plus, tt.binding), tt.responses...); end == nil || !errors.Is(end.Err, tt.want) {
			t.Errorf("%s: %q, %+v", tt.name, c, end)
		}
	}
	// A user who does not exist has the same salt each time, in the same form.
	a, _ := talk(start(false, nil), "n,,n=nobody,r=abc")
	b, _ := talk(start(false, nil), "n,,n=nobody,r=abc")
	if a != b || len(a) != len(server)-len("rOprNGfwEbeRWgbNEkqO")+3 {
		t.Errorf("nobody: %q, %q", a, b)
	}
}

func FuzzMechanisms(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("n,a=joe,\x01auth=Bearer good\x01\x01", "")
	f.Add("user=joe\x01auth=Bearer bad\x01\x01", "")
	f.Add("\x00joe\x00secret", "")
	store := pencil(f)
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, m := range []Mechanism{NewSCRAM(store, false, nil), NewSCRAM(store, true, Binding("x")), NewPlain(password), NewLogin(password), NewOAuthBearer(tokens), NewXOAuth2(tokens), NewExternal("joe")} {
			_, end := talk(m, a, b, "")
			if end != nil && end.Err == nil && end.User != "joe" {
				t.Fatalf("%T: %q %q: %+v", m, a, b, end)
			}
		}
	})
}
