package smtpserver

import (
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// Limits of RFC 3461 §4 and §5 for parameters of MAIL and RCPT.
const (
	maxEnvID = 100
	maxORCPT = 500
)

// splitVerb returns the verb of a command line in upper case and the rest
// without the spaces around it. The verb is "" if it is no word of letters.
func splitVerb(line []byte, up *[16]byte) (verb, arg []byte) {
	n := 0
	for n < len(line) && line[n] != ' ' {
		c := line[n]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c < 'A' || c > 'Z' || n == len(up) {
			return nil, nil
		}
		up[n] = c
		n++
	}
	arg = line[n:]
	for len(arg) > 0 && arg[0] == ' ' {
		arg = arg[1:]
	}
	for len(arg) > 0 && arg[len(arg)-1] == ' ' {
		arg = arg[:len(arg)-1]
	}
	return up[:n], arg
}

// printable tells that a command argument has no control characters.
func printable(arg []byte) bool {
	for _, c := range arg {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	return true
}

// cutKeyword takes "FROM:" or "TO:" off an argument. White space after the
// colon is wrong but common, and harmless.
func cutKeyword(arg, keyword string) (string, bool) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return "", false
	}
	return strings.TrimLeft(arg[len(keyword):], " "), true
}

// path reads the path of MAIL and RCPT and returns the parameters after it. What
// rfc5322 takes with ErrNotStrict is used by real senders, and taken.
func path(arg string) (rfc5322.Address, string, error) {
	addr, rest, err := rfc5322.ParsePath(arg)
	if errors.Is(err, rfc5322.ErrNotStrict) {
		err = nil
	}
	return addr, rest, err
}

// eachParam calls f with the keyword, in upper case, and value of each
// parameter. A keyword that comes twice is an error.
func eachParam(s string, f func(key, value string, given bool) *smtp.SMTPError) *smtp.SMTPError {
	var seen [16]string
	for n := 0; s != ""; n++ {
		var word string
		word, s, _ = strings.Cut(s, " ")
		s = strings.TrimLeft(s, " ")
		key, value, given := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		if n == len(seen) {
			return refuse(501, 5, 5, 4, "Too many parameters")
		}
		for _, k := range seen[:n] {
			if k == key {
				return refuse(501, 5, 5, 4, "Parameter "+key+" given twice")
			}
		}
		seen[n] = key
		if given && value == "" {
			return refuse(501, 5, 5, 4, "Parameter "+key+" without a value")
		}
		if err := f(key, value, given); err != nil {
			return err
		}
	}
	return nil
}

func badParam(key string) *smtp.SMTPError {
	return refuse(501, 5, 5, 4, "Bad value of parameter "+key)
}

func unknownParam(key string) *smtp.SMTPError {
	return refuse(555, 5, 5, 4, "Parameter "+key+" is not supported here")
}

// mailOptions are the parameters of MAIL.
type mailOptions struct {
	smtp.MailOptions
	later    time.Time // RFC 4865
	priority string    // RFC 6710, as the queue has it
	by       spool.DeliverBy
}

// An offer is what was offered to the client and depends on who it is.
type offer struct {
	auth bool
	tls  bool    // REQUIRETLS
	ours bool    // FUTURERELEASE, MT-PRIORITY
	by   *byRule // DELIVERBY; nil: not offered
}

// parseMail reads the parameters of MAIL.
func parseMail(s string, with offer) (o mailOptions, err *smtp.SMTPError) {
	err = eachParam(s, func(key, value string, given bool) *smtp.SMTPError {
		switch {
		case key == "SIZE":
			n, e := strconv.ParseInt(value, 10, 64)
			if e != nil || n < 0 || value[0] == '+' || len(value) > 20 {
				return badParam(key)
			}
			o.Size = n
		case key == "BODY":
			o.Body = smtp.BodyType(strings.ToUpper(value))
			if o.Body != smtp.Body7Bit && o.Body != smtp.Body8BitMIME && o.Body != smtp.BodyBinaryMIME {
				return badParam(key)
			}
		case key == "SMTPUTF8":
			if given {
				return badParam(key)
			}
			o.UTF8 = true
		case key == "RET":
			o.Return = smtp.DSNReturn(strings.ToUpper(value))
			if o.Return != smtp.DSNReturnFull && o.Return != smtp.DSNReturnHeaders {
				return badParam(key)
			}
		case key == "ENVID":
			id, e := rfc5322.DecodeXtext(value)
			if e != nil || value == "" || len(value) > maxEnvID || !printableText(id) {
				return badParam(key)
			}
			o.EnvelopeID = id
		case key == "REQUIRETLS" && with.tls:
			if given {
				return badParam(key)
			}
			o.RequireTLS = true
		case (key == "HOLDFOR" || key == "HOLDUNTIL") && with.ours:
			if !o.later.IsZero() {
				return refuse(501, 5, 5, 4, "HOLDFOR and HOLDUNTIL exclude each other")
			}
			at, e := parseLater(key, value, time.Now())
			if e != nil {
				return e
			}
			o.later = at
		case key == "MT-PRIORITY" && with.ours:
			p, e := parsePriority(value)
			if e != nil {
				return e
			}
			o.priority = p
		case key == "BY" && with.by != nil:
			by, e := with.by.parseBy(value, time.Now())
			if e != nil {
				return e
			}
			o.by = by
		case key == "AUTH" && with.auth:
			id, e := rfc5322.DecodeXtext(value)
			if e != nil || value == "" || !printableText(id) {
				return badParam(key)
			}
			id = strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">")
			o.Auth = &id
		default:
			return unknownParam(key)
		}
		return nil
	})
	if err == nil && o.by.Return && !o.by.At.After(o.later) {
		err = errTooLate
	}
	return o, err
}

// parseRcpt reads the parameters of RCPT.
func parseRcpt(s string) (o smtp.RcptOptions, err *smtp.SMTPError) {
	err = eachParam(s, func(key, value string, _ bool) *smtp.SMTPError {
		switch key {
		case "NOTIFY":
			if o.Notify = parseNotify(value); o.Notify == nil {
				return badParam(key)
			}
		case "ORCPT":
			orcpt, e := rfc5322.ParseORCPT(value)
			if e != nil || len(value) > maxORCPT {
				return badParam(key)
			}
			o.OriginalRecipientType = smtp.DSNAddressType(orcpt.Type)
			o.OriginalRecipient = orcpt.Addr
		default:
			return unknownParam(key)
		}
		return nil
	})
	return o, err
}

// parseNotify reads NEVER, or a list of the others without repetition: RFC 3461
// §4.1. It returns nil if the value is neither.
func parseNotify(s string) (list []smtp.DSNNotify) {
	words := strings.Split(strings.ToUpper(s), ",")
	for _, w := range words {
		n := smtp.DSNNotify(w)
		switch n {
		case smtp.DSNNotifySuccess, smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed:
		case smtp.DSNNotifyNever:
			if len(words) > 1 {
				return nil
			}
		default:
			return nil
		}
		for _, had := range list {
			if had == n {
				return nil
			}
		}
		list = append(list, n)
	}
	return list
}

// notifyText is the list as the envelope keeps it.
func notifyText(list []smtp.DSNNotify) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return string(list[0])
	}
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = string(n)
	}
	return strings.Join(words, ",")
}

// orcptText is the original recipient as the envelope keeps it.
func orcptText(o *smtp.RcptOptions) string {
	if o.OriginalRecipient == "" {
		return ""
	}
	return rfc5322.ORCPT{Type: string(o.OriginalRecipientType), Addr: o.OriginalRecipient}.String()
}

// printableText tells that decoded text can stand in a line.
func printableText(s string) bool { return printable([]byte(s)) && utf8.ValidString(s) }

// parseChunk reads the argument of BDAT: RFC 3030 §2.
func parseChunk(arg string) (n int64, last, ok bool) {
	size, rest, more := strings.Cut(arg, " ")
	if more {
		if last = strings.EqualFold(strings.TrimLeft(rest, " "), "LAST"); !last {
			return 0, false, false
		}
	}
	if size == "" || len(size) > 18 {
		return 0, false, false
	}
	for i := 0; i < len(size); i++ {
		if size[i] < '0' || size[i] > '9' {
			return 0, false, false
		}
		n = n*10 + int64(size[i]-'0')
	}
	return n, last, true
}

// foreign tells a verb of another protocol. A browser or a worm can be made to
// speak to this port, with SMTP commands in what it sends: ALPACA, CVE-2021-3618.
func foreign(verb []byte) bool {
	switch string(verb) {
	case "GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "PATCH", "TRACE", "PROPFIND",
		"USER", "PASS", "CAPA", "INVITE", "REGISTER":
		return true
	}
	return false
}
