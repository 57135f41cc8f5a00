package smtpserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// tokenOwner lets the function smtp_token say whose a token is. It is called with
// the user that the client names and with the token, and says "login USER".
func (s *session) tokenOwner(_ context.Context, token, user string) (string, error) {
	if user != "" {
		if err := s.mayTry(user); err != nil {
			return "", err
		}
	}
	e := s.hook("smtp_token", user, token)
	switch {
	case e == nil:
		return s.verdict.login, nil
	case e.Code/100 == 5:
		return "", nil
	}
	return "", tokenError{e}
}

// tokenError is what keeps a token from being judged.
type tokenError struct{ refusal *smtp.SMTPError }

func (e tokenError) Error() string { return "smtp_token: " + e.refusal.Message }

// login USER: the token is that user's.
func loginCommand(v *verdict, args []string) error {
	switch {
	case !v.token:
		return errors.New("belongs into the function smtp_token")
	case len(args) != 1 || args[0] == "":
		return errors.New("want the user that the token belongs to")
	}
	v.login = args[0]
	return nil
}

const (
	introspectTime = 10 * time.Second
	maxIntrospect  = 64 << 10
)

// introspect [-c FILE] [-f FIELD] URL TOKEN: asks an authorization server about a
// token (RFC 7662) and prints whose it is. Status 0 for one that is valid, 1 for
// one that is not, 75 if the server cannot be asked. FILE has the line id:secret
// by which the server knows us; FIELD of the answer, by default username or else
// sub, has the user.
func (c *config) introspect(call *shell.Call) int {
	q, err := c.introspection(call.Args)
	if err != nil {
		return call.Fail(fmt.Errorf("introspect: %w", err))
	}
	ctx, cancel := context.WithTimeout(call.Ctx, introspectTime)
	defer cancel()
	user, err := q.ask(ctx)
	switch {
	case err != nil:
		c.log.Error("token cannot be checked", "host", q.url.Host, "err", err)
		return proc.TempFail
	case user == "":
		return 1
	}
	if _, err := fmt.Fprintln(call.Stdout, user); err != nil {
		return call.Fail(err)
	}
	return 0
}

// An introspection is one question to an authorization server.
type introspection struct {
	url        *url.URL
	token      string
	field      string
	id, secret string
}

func (c *config) introspection(args []string) (*introspection, error) {
	q := &introspection{}
	for len(args) > 2 {
		switch args[0] {
		case "-f":
			q.field = args[1]
		case "-c":
			b, err := os.ReadFile(c.path(args[1]))
			if err != nil {
				return nil, err
			}
			var ok bool
			if q.id, q.secret, ok = strings.Cut(strings.TrimSpace(string(b)), ":"); !ok {
				return nil, fmt.Errorf("%s: want a line id:secret", args[1])
			}
		default:
			return nil, fmt.Errorf("%s: want [-c FILE] [-f FIELD] URL TOKEN", args[0])
		}
		args = args[2:]
	}
	if len(args) != 2 {
		return nil, errors.New("want [-c FILE] [-f FIELD] URL TOKEN")
	}
	var err error
	if q.url, err = url.Parse(args[0]); err != nil {
		return nil, err
	}
	ip, _ := netip.ParseAddr(q.url.Hostname())
	if q.url.Host == "" || q.url.Scheme != "https" && !(q.url.Scheme == "http" && ip.IsLoopback()) {
		return nil, fmt.Errorf("%s: want an https URL; http only on 127.0.0.1", args[0])
	}
	q.token = args[1]
	return q, nil
}

// ask returns whose the token is, "" if nobody's.
func (q *introspection) ask(ctx context.Context) (string, error) {
	form := url.Values{"token": {q.token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if q.id != "" {
		req.SetBasicAuth(url.QueryEscape(q.id), url.QueryEscape(q.secret)) // RFC 6749 §2.3.1
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("server says %s", resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxIntrospect+1))
	if err != nil || len(body) > maxIntrospect {
		return "", errors.Join(err, errors.New("answer is cut off or too long"))
	}
	return q.owner(body)
}

// owner reads the answer: RFC 7662 §2.2.
func (q *introspection) owner(body []byte) (string, error) {
	var facts map[string]any
	if err := json.Unmarshal(body, &facts); err != nil {
		return "", err
	}
	active, ok := facts["active"].(bool)
	if !ok {
		return "", errors.New("answer without \"active\"")
	}
	if exp, ok := facts["exp"].(float64); !active || ok && float64(time.Now().Unix()) >= exp {
		return "", nil
	}
	fields := []string{"username", "sub"}
	if q.field != "" {
		fields = []string{q.field}
	}
	for _, f := range fields {
		if user, ok := facts[f].(string); ok && user != "" {
			return user, nil
		}
	}
	return "", fmt.Errorf("answer names no user in %s", strings.Join(fields, " or "))
}
