package smtp

import (
	"bytes"
	"strconv"
	"strings"

	"zmailer/spool"
)

// extensions is what the peer said to EHLO or LHLO.
type extensions struct {
	pipelining  bool
	chunking    bool
	eightBit    bool
	utf8        bool
	dsn         bool
	startTLS    bool
	requireTLS  bool
	deliverBy   bool
	byMin       int64 // DELIVERBY: the shortest time with mode R
	size        bool
	sizeMax     int64 // 0: no limit known
	rcptMax     int   // 0: no limit known
	mailMax     int   // LIMITS MAILMAX: transactions on a connection; 0: no limit known
	domainMax   int   // LIMITS RCPTDOMAINMAX: domains in a transaction; 0: no limit known
	auth        []string
	esmtp       bool // EHLO was understood
	greetedWith string
}

// parseExtensions reads the lines after the first of a reply to EHLO. What is
// not known or malformed is passed over, as RFC 5321 §4.1.1.1 asks.
func parseExtensions(text []byte) extensions {
	e := extensions{esmtp: true}
	first, rest, _ := bytes.Cut(text, []byte("\n"))
	e.greetedWith, _, _ = strings.Cut(string(first), " ")
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		e.add(string(line))
	}
	return e
}

func (e *extensions) add(line string) {
	words := strings.Fields(line)
	if len(words) == 0 {
		return
	}
	switch keyword := strings.ToUpper(words[0]); keyword {
	case "PIPELINING":
		e.pipelining = true
	case "CHUNKING":
		e.chunking = true
	case "8BITMIME":
		e.eightBit = true
	case "SMTPUTF8":
		e.utf8 = true
	case "DSN":
		e.dsn = true
	case "STARTTLS":
		e.startTLS = true
	case "REQUIRETLS":
		e.requireTLS = true
	case "DELIVERBY":
		e.deliverBy = true
		if len(words) > 1 {
			e.byMin = min(positive(words[1]), spool.MaxBy)
		}
	case "SIZE":
		e.size = true
		if len(words) > 1 {
			e.sizeMax = positive(words[1])
		}
	case "LIMITS":
		e.limits(words[1:])
	case "X-RCPTLIMIT": // of old ZMailer
		if len(words) > 1 {
			e.rcptMax = int(min(positive(words[1]), 1<<20))
		}
	case "AUTH":
		e.addAuth(words[1:])
	default:
		// "AUTH=LOGIN PLAIN" is how servers of another age say it.
		if strings.HasPrefix(keyword, "AUTH=") {
			e.addAuth(append([]string{words[0][len("AUTH="):]}, words[1:]...))
		}
	}
}

func (e *extensions) addAuth(mechanisms []string) {
	for _, m := range mechanisms {
		if len(e.auth) < 50 {
			e.auth = append(e.auth, strings.ToUpper(m))
		}
	}
}

// limits reads the parameters of LIMITS, RFC 9422.
func (e *extensions) limits(words []string) {
	for _, w := range words {
		name, v, _ := strings.Cut(w, "=")
		n := int(min(positive(v), 1<<20))
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			e.rcptMax = n
		case "MAILMAX":
			e.mailMax = n
		case "RCPTDOMAINMAX":
			e.domainMax = n
		}
	}
}

// positive is the value of a decimal number, 0 if s is none.
func positive(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
