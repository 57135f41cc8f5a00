package policy

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// The Sender Rewriting Scheme, in the form that all implementations share:
//
//	SRS0=HASH=DAY=DOMAIN=LOCAL@ours    mail of LOCAL@DOMAIN that we forward
//	SRS1=HASH=HOST==REST@ours          mail that HOST forwards with SRS0=REST
//
// A report to such an address goes back to the sender, through the host that
// knows its hash. The hash keeps strangers from sending through us.
type srs struct {
	secrets []string // the first one signs, all are accepted
	now     func() time.Time
}

const (
	srsHash   = 4  // characters of the hash
	srsMaxAge = 21 // days that an address is good for
	srsDays   = 1024
	base32    = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

var errSRS = errors.New("not an address of ours")

func (s srs) forward(sender rfc5322.Address, domain string) rfc5322.Address {
	local, low := sender.Local, strings.ToLower(sender.Local)
	switch {
	case strings.HasPrefix(low, "srs0="), strings.HasPrefix(low, "srs0+"), strings.HasPrefix(low, "srs0-"):
		rest := local[4:] // with its separator
		return rfc5322.Address{Local: "SRS1=" + s.hash(s.secrets[0], sender.Domain, rest) + "=" + sender.Domain + "=" + rest, Domain: domain}
	case strings.HasPrefix(low, "srs1="):
		if _, host, rest, ok := srs1(local); ok {
			return rfc5322.Address{Local: "SRS1=" + s.hash(s.secrets[0], host, rest) + "=" + host + "=" + rest, Domain: domain}
		}
	}
	day := s.day()
	return rfc5322.Address{Local: "SRS0=" + s.hash(s.secrets[0], day, sender.Domain, local) + "=" + day + "=" + sender.Domain + "=" + local, Domain: domain}
}

func (s srs) reverse(local string) (rfc5322.Address, error) {
	low := strings.ToLower(local)
	switch {
	case strings.HasPrefix(low, "srs0="):
		f := strings.SplitN(local[5:], "=", 4)
		if len(f) != 4 || !s.valid(f[0], f[1], f[2], f[3]) || !s.fresh(f[1]) {
			return rfc5322.Address{}, errSRS
		}
		return rfc5322.Address{Local: f[3], Domain: f[2]}, nil
	case strings.HasPrefix(low, "srs1="):
		hash, host, rest, ok := srs1(local)
		if !ok || !s.valid(hash, host, rest) {
			return rfc5322.Address{}, errSRS
		}
		return rfc5322.Address{Local: "SRS0" + rest, Domain: host}, nil
	}
	return rfc5322.Address{}, errSRS
}

// srs1 takes SRS1=HASH=HOST=REST apart; REST begins with the separator that
// stood behind SRS0.
func srs1(local string) (hash, host, rest string, ok bool) {
	f := strings.SplitN(local[5:], "=", 3)
	if len(f) != 3 || f[2] == "" {
		return "", "", "", false
	}
	return f[0], f[1], f[2], true
}

func (s srs) hash(secret string, parts ...string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	for _, p := range parts {
		mac.Write([]byte(strings.ToLower(p))) // mailers on the way may change the case
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))[:srsHash]
}

// valid compares hashes without regard to case, for the same reason.
func (s srs) valid(hash string, parts ...string) bool {
	for _, secret := range s.secrets {
		if hmac.Equal([]byte(strings.ToLower(hash)), []byte(strings.ToLower(s.hash(secret, parts...)))) {
			return true
		}
	}
	return false
}

func (s srs) today() int { return int(s.now().Unix()/86400) % srsDays }

func (s srs) day() string {
	d := s.today()
	return string([]byte{base32[d>>5], base32[d&31]})
}

func (s srs) fresh(day string) bool {
	day = strings.ToUpper(day)
	if len(day) != 2 {
		return false
	}
	hi, lo := strings.IndexByte(base32, day[0]), strings.IndexByte(base32, day[1])
	if hi < 0 || lo < 0 {
		return false
	}
	age := (s.today() - (hi<<5 | lo) + srsDays) % srsDays
	return age <= srsMaxAge
}

func newSRS(c *shell.Call) (srs, bool) {
	secrets := strings.Fields(c.Getenv("SRSSECRETS"))
	if len(secrets) == 0 {
		usage(c, "SRSSECRETS is not set")
		return srs{}, false
	}
	return srs{secrets: secrets, now: time.Now}, true
}

// srsForwardCommand is srs_forward SENDER DOMAIN: the sender under which mail of
// SENDER is forwarded by DOMAIN.
func srsForwardCommand(c *shell.Call) int {
	if len(c.Args) != 2 {
		return usage(c, "SENDER DOMAIN")
	}
	s, ok := newSRS(c)
	if !ok {
		return 1
	}
	a, err := rfc5322.ParseAddress(c.Args[0])
	if err != nil || a.Domain == "" {
		return 1
	}
	out := s.forward(a, c.Args[1])
	if len(out.Local) > rfc5322.MaxLocal {
		return 1
	}
	return show(c, out.String())
}

// srsReverseCommand is srs_reverse LOCAL: the address that a report to LOCAL, a
// local part made by srs_forward, goes on to.
func srsReverseCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "LOCAL")
	}
	s, ok := newSRS(c)
	if !ok {
		return 1
	}
	a, err := s.reverse(c.Args[0])
	if err != nil {
		return 1
	}
	text := a.String()
	if _, err := rfc5322.ParseAddress(text); err != nil {
		return 1
	}
	return show(c, text)
}

// forwardedCommand is forwarded: status 0 if the address in work came out of an
// address of ours.
func forwardedCommand(c *shell.Call) int {
	s, ok := routing(c)
	if !ok {
		return 1
	}
	if s.claimed && s.cur.parent != nil {
		return 0
	}
	return 1
}
