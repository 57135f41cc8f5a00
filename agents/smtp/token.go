package smtp

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/spool/rfc5322"
)

// Bounds of a command that prints a token.
const (
	tokenTime = 30 * time.Second
	tokenAge  = time.Minute // a token is used for new connections
	maxToken  = 16 << 10
)

// tokens are what commands printed a moment ago: a hundred connections that are
// opened together run the command once.
type tokens struct {
	mu   sync.Mutex
	kept map[string]*token
}

type token struct {
	mu    sync.Mutex // held while the command runs
	text  string
	until time.Time
}

// get returns the token of a command.
func (ts *tokens) get(ctx context.Context, command string) (string, error) {
	ts.mu.Lock()
	if ts.kept == nil {
		ts.kept = make(map[string]*token)
	}
	t := ts.kept[command]
	if t == nil {
		t = new(token)
		ts.kept[command] = t // as many as the credentials file has
	}
	ts.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Now().Before(t.until) {
		return t.text, nil
	}
	text, err := runTokenCommand(ctx, command)
	if err == nil {
		t.text, t.until = text, time.Now().Add(tokenAge)
	}
	return text, err
}

// forget makes the next one run the command: the server did not like the token.
func (ts *tokens) forget(command string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	delete(ts.kept, command)
}

func runTokenCommand(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	argv := strings.Fields(command)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	var out, complaint limited
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("token command %s: %w: %s", argv[0], err, rfc5322.OneLine(complaint.String(), 200))
	}
	text := strings.TrimSpace(out.String())
	if !printable(text) || len(text) >= maxToken {
		return "", fmt.Errorf("token command %s: what it prints is no token", argv[0])
	}
	return text, nil
}

// limited keeps the first maxToken octets.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxToken-l.Len())])
	return len(p), nil
}

// loginToken logs in with a token: RFC 7628, or as it was before.
func (s *session) loginToken(ctx context.Context, mech string, cr *credentials) (reply, error) {
	text, err := s.c.tokens.get(ctx, cr.command)
	if err != nil {
		return reply{}, &ownFailure{err}
	}
	s.phase(s.c.opt.timeouts.command)
	message := "user=" + cr.user + "\x01auth=Bearer " + text + "\x01\x01"
	if mech == "OAUTHBEARER" {
		user := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(cr.user)
		message = "n,a=" + user + ",\x01host=" + s.target.name + "\x01port=" + strconv.Itoa(s.target.port) + "\x01auth=Bearer " + text + "\x01\x01"
	}
	r, err := s.askSecret("AUTH "+mech+" ", []byte(message))
	if err == nil && r.code == 334 {
		// What is wrong stands in the challenge; the server waits for an answer
		// before it says 535: RFC 7628 §3.2.3.
		r, err = s.askSecret("", []byte{1})
	}
	if err == nil && r.code != 235 {
		s.c.tokens.forget(cr.command)
	}
	return r, err
}
