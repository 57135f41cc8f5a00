package smtpserver

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// maxReplyText bounds the text of one reply line: RFC 5321 §4.5.3.1.5.
const maxReplyText = 480

// flushAt is the size at which collected replies are written although the
// client has more to say.
const flushAt = 4 << 10

// refuse makes a reply that is an error.
func refuse(code int, class, subject, detail int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

// contactText is contact TEXT: what stands behind refusals. %i is the message's id,
// %c the client's address.
func (c *config) contactText(call *shell.Call) error {
	if c.contact = rfc5322.OneLine(strings.Join(call.Args, " "), maxReplyText); c.contact == "" {
		return errors.New("want a text, such as: ask postmaster@example.org about %i")
	}
	return nil
}

// withContact adds the contact to a refusal that somebody may want to ask about: of an
// address or by policy, and for good.
func (s *session) withContact(e *smtp.SMTPError) *smtp.SMTPError {
	subject := e.EnhancedCode[1]
	if s.cfg.contact == "" || e.Code < 500 || subject != 1 && subject != 7 && subject != 6 || isSyntax(e) {
		return e
	}
	id := string(s.mail.id)
	if id == "" {
		id = s.clientText
	}
	with := *e
	with.Message += "\n" + strings.NewReplacer("%i", id, "%c", s.clientText).Replace(s.cfg.contact)
	return &with
}

// appendReply appends a reply of as many lines as text has. The enhanced code is
// left out if it is not set.
func appendReply(b []byte, code int, ec smtp.EnhancedCode, text string) []byte {
	for {
		line, rest, more := strings.Cut(text, "\n")
		b = strconv.AppendInt(b, int64(code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if ec[0] > 0 {
			b = strconv.AppendInt(b, int64(ec[0]), 10)
			b = append(b, '.')
			b = strconv.AppendInt(b, int64(ec[1]), 10)
			b = append(b, '.')
			b = strconv.AppendInt(b, int64(ec[2]), 10)
			b = append(b, ' ')
		}
		b = append(b, rfc5322.OneLine(line, maxReplyText)...)
		b = append(b, '\r', '\n')
		if !more {
			return b
		}
		text = rest
	}
}

// parseReply reads "CODE X.Y.Z text", both numbers optional, as policy writes
// it; class is 4 or 5 and fills in for what is missing or contradicts it.
func parseReply(class int, words []string) *smtp.SMTPError {
	e := &smtp.SMTPError{Code: class*100 + 50, EnhancedCode: smtp.EnhancedCode{class, 7, 1}}
	if class == 4 {
		e.Code = 451
	}
	if len(words) > 0 {
		if code, err := strconv.Atoi(words[0]); err == nil && code/100 == class && code%100 < 60 {
			e.Code, words = code, words[1:]
		}
	}
	if len(words) > 0 {
		if ec, ok := parseEnhanced(words[0]); ok {
			words = words[1:]
			if ec[0] == class {
				e.EnhancedCode = ec
			}
		}
	}
	e.Message = strings.Join(words, " ")
	return e
}

// parseEnhanced reads an enhanced status code: RFC 3463 §2.
func parseEnhanced(s string) (ec smtp.EnhancedCode, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != len(ec) {
		return ec, false
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 || len(p) > 3 {
			return ec, false
		}
		ec[i] = int(n)
	}
	return ec, ec[0] == 2 || ec[0] == 4 || ec[0] == 5
}
