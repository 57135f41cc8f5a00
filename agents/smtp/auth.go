package smtp

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"zmailer/agents/secret"
)

// credentials are a user and password for a destination, or a user and the
// command that prints a token for him.
type credentials struct {
	user, password string
	command        string // not "": for OAUTHBEARER
}

const maxCredFile = 1 << 20

// readCredentials looks up the credentials for a target and sender in the file of
// option -A. Each line is "HOST[,SENDER] USER PASSWORD", separated by blanks; the
// password goes to the end of the line. HOST is the destination as the job names
// it, the name of the host, or "*"; SENDER is an address or "@domain". The line
// that says most decides, and a line with a sender says more than one without. A
// password that begins with "|/" is a command that prints an OAuth token. Empty
// lines and those that begin with "#" are comments.
//
// A file that others can read is an error: its passwords are not secret.
func readCredentials(path string, t *target, sender string) (*credentials, error) {
	text, err := secret.Read(path, maxCredFile)
	if err != nil {
		return nil, err
	}
	return findCredentials(string(text), path, t, sender)
}

func findCredentials(text, path string, t *target, sender string) (*credentials, error) {
	var found *credentials
	rank, n := 0, 0
	for line := range strings.SplitSeq(text, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		place, rest := cutBlank(line)
		user, password := cutBlank(rest)
		if password == "" {
			return nil, fmt.Errorf("%s:%d: want HOST[,SENDER] USER PASSWORD", path, n)
		}
		host, from, _ := strings.Cut(place, ",")
		r := t.rank(host)
		if s := rankSender(from, sender); r > 0 && s >= 0 && 4*s+r > rank {
			rank, found = 4*s+r, &credentials{user: user, password: password}
			if command, ok := strings.CutPrefix(password, "|"); ok && strings.HasPrefix(command, "/") {
				found.password, found.command = "", command
			}
		}
	}
	return found, nil
}

// rank says how closely a line's host names the target; 0 is not at all.
func (t *target) rank(host string) int {
	switch {
	case strings.EqualFold(host, t.dest):
		return 3
	case strings.EqualFold(host, t.name):
		return 2
	case host == "*":
		return 1
	}
	return 0
}

// rankSender says how closely a line's sender names that of the mail: -1 is not
// at all, 0 is a line for all senders.
func rankSender(pattern, sender string) int {
	switch {
	case pattern == "":
		return 0
	case strings.EqualFold(pattern, sender):
		return 2
	case pattern[0] == '@' && len(sender) > len(pattern) && strings.EqualFold(sender[len(sender)-len(pattern):], pattern):
		return 1
	}
	return -1
}

func cutBlank(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

// authenticate logs in. That it does not work is never the fault of the mail,
// so it is temporary: a changed password must not bounce the queue.
func (s *session) authenticate(ctx context.Context, cr *credentials) *openFailure {
	if cr == nil {
		return nil
	}
	mech := s.mechanism(cr)
	if mech == "" {
		return &openFailure{Result: unreachable("4.7.0", "%s offers no AUTH mechanism that may be used here (offered: %s; encryption: %s)",
			s.target.relay, strings.Join(s.ext.auth, " "), s.tlsFacts())}
	}
	s.phase(s.c.opt.timeouts.command)
	r, err := s.login(ctx, mech, cr)
	var own *ownFailure
	if errors.As(err, &own) { // nothing is wrong with the connection, but it is of no use
		s.broken = true
		return &openFailure{unreachable("4.7.0", "AUTH %s at %s: %v", mech, s.target.relay, own), err}
	}
	if err != nil {
		return s.lost("AUTH "+mech, err)
	}
	if r.code != 235 {
		return s.refused(r).soften()
	}
	return nil
}

// mechanism chooses how to log in. A password goes over the network only
// encrypted, unless the administrator turned encryption off for this host. One
// that does not leave this host at all is better still.
func (s *session) mechanism(cr *credentials) string {
	open := s.tls != nil || s.key.mode == tlsOff || s.target.loopback()
	var order []string
	switch {
	case cr.command != "" && open:
		order = []string{"OAUTHBEARER", "XOAUTH2"}
	case cr.command != "":
	case open:
		order = []string{"SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"}
	default:
		order = []string{"SCRAM-SHA-256", "CRAM-MD5"}
	}
	for _, m := range order {
		if slices.Contains(s.ext.auth, m) {
			return m
		}
	}
	return ""
}

var errChallenge = errors.New("AUTH challenge is not base64")

func (s *session) login(ctx context.Context, mech string, cr *credentials) (reply, error) {
	switch mech {
	case "OAUTHBEARER", "XOAUTH2":
		return s.loginToken(ctx, mech, cr)
	case "SCRAM-SHA-256":
		return s.loginSCRAM(cr)
	case "PLAIN":
		return s.askSecret("AUTH PLAIN ", []byte("\x00"+cr.user+"\x00"+cr.password))
	case "LOGIN":
		r, err := s.ask("AUTH LOGIN")
		for _, answer := range []string{cr.user, cr.password} {
			if err != nil || r.code != 334 {
				return r, err
			}
			r, err = s.askSecret("", []byte(answer))
		}
		return r, err
	}
	r, err := s.ask("AUTH CRAM-MD5")
	if err != nil || r.code != 334 {
		return r, err
	}
	challenge, err := base64.StdEncoding.DecodeString(string(r.text))
	if err != nil {
		return r, errChallenge
	}
	mac := hmac.New(md5.New, []byte(cr.password))
	mac.Write(challenge)
	return s.askSecret("", []byte(cr.user+" "+hex.EncodeToString(mac.Sum(nil))))
}

// askSecret sends a line whose end is not for the transcript.
func (s *session) askSecret(command string, secret []byte) (reply, error) {
	s.log.line('w', []byte(command+"(secret)"))
	s.out = append(s.out, command...)
	s.out = base64.StdEncoding.AppendEncode(s.out, secret)
	s.out = append(s.out, "\r\n"...)
	if err := s.flush(); err != nil {
		return reply{}, err
	}
	return s.reply()
}
