package smtpserver

import "zmailer/spool/rfc5322"

// receivedFrom is the text after "from" in Received:, as Postfix writes it.
func (s *session) receivedFrom() string {
	helo := heloText(s.helo)
	if s.local != nil {
		return helo + " (" + rfc5322.OneLine(s.local.Name, 64) + "@localhost)"
	}
	if !s.client.IsValid() {
		return helo + " (localhost)"
	}
	return helo + " (" + s.clientName() + " " + rfc5322.Literal(s.client) + ")"
}

// heloText makes what the client calls itself fit for a header: nothing in it
// may be taken for a comment or for a part of our own.
func heloText(helo string) string {
	ok := func(c byte) bool {
		return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '.' || c == '-' || c == '_' || c == ':' || c == '[' || c == ']' || c >= 0x80
	}
	for i := 0; i < len(helo); i++ {
		if !ok(helo[i]) {
			b := []byte(helo)
			for ; i < len(b); i++ {
				if !ok(b[i]) {
					b[i] = '?'
				}
			}
			helo = string(b)
			break
		}
	}
	return rfc5322.OneLine(helo, 255)
}

// protocol is the "with" of Received: RFC 3848, RFC 6531 §4.3.
func (s *session) protocol() string {
	p := "SMTP"
	switch utf8 := s.mail.opts.UTF8; {
	case s.role == roleLMTP && utf8:
		p = "UTF8LMTP"
	case s.role == roleLMTP:
		p = "LMTP"
	case utf8:
		p = "UTF8SMTP"
	case s.esmtp:
		p = "ESMTP"
	}
	if s.tls != nil && p != "SMTP" {
		p += "S"
	}
	if s.authUser != "" && p != "SMTP" {
		p += "A"
	}
	return p
}

// clientName is the verified name of the client's address, or "unknown".
func (s *session) clientName() string {
	if s.name == nil {
		return "unknown"
	}
	return s.name.result()
}
