package rfc5322

import (
	"fmt"
	"strings"
)

// ParseAddress reads one address without comments or display name, as it
// stands in arguments, aliases, tables and envelopes:
//
//	joe  joe@example.net  "joe doe"@example.net  joe@[192.0.2.1]
//	<joe@example.net>  <>  @relay,@other:joe@example.net
//
// Source routes are dropped, white space around the address is not part of
// it, and dots may stand anywhere in the local part (joe..doe@example.net is
// an address that people have; it is written with quotes). It does not know
// what aliases know: in /file and |program it sees local parts, in :include:
// and \user errors.
func ParseAddress(s string) (Address, error) {
	if len(s) > maxAddressInput {
		return Address{}, fmt.Errorf("address: %w", ErrTooLarge)
	}
	p := scanner{s: strings.Trim(s, " \t")}
	angle := p.at('<')
	if angle {
		p.i++
		if p.s == "<>" {
			return Address{}, nil
		}
	}
	a, _, why := p.mailbox()
	if why == "" && angle {
		if p.at('>') {
			p.i++
		} else {
			why = "> expected"
		}
	}
	if why == "" && !p.end() {
		why = "unexpected character"
	}
	if why != "" {
		return Address{}, &SyntaxError{What: why, Pos: p.i + strings.Index(s, p.s)}
	}
	return a, nil
}

// mailbox reads an addr-spec that may have a source route before it, and
// returns how the addr-spec was spelled.
func (p *scanner) mailbox() (a Address, spelled, why string) {
	if p.at('@') {
		if why = p.route(); why != "" {
			return a, "", why
		}
	}
	a, start, end, why := p.spec()
	return a, p.s[start:max(start, end)], why
}

// ParsePath reads the path at the start of the argument of MAIL FROM or
// RCPT TO, RFC 5321 §4.1.2, and returns the text that follows it, the
// parameters, without the spaces between. A source route is dropped. An
// address without a domain is read, as Postmaster must be; whether another
// is good is for the caller to say.
//
// Some addresses that break the letter of the RFC have users: dots in
// a row, local parts of more than 64 octets (VERP, SRS), underscores or outer
// hyphens in the domain. For these the error is [ErrNotStrict], and address
// and rest are as good as with no error: a server that wants the mail may
// take them.
func ParsePath(s string) (addr Address, rest string, err error) {
	p := scanner{s: s}
	if !p.at('<') {
		return addr, "", &SyntaxError{What: "< expected"}
	}
	p.i++
	var spelled, why string
	if !p.at('>') {
		if addr, spelled, why = p.mailbox(); why == "" && !p.at('>') {
			why = "> expected"
		}
	}
	if why == "" {
		p.i++
		rest = p.s[p.i:]
		if rest != "" && rest[0] != ' ' {
			why = "space expected"
		}
	}
	if why != "" {
		return Address{}, "", &SyntaxError{What: why, Pos: p.i}
	}
	return addr, strings.TrimLeft(rest, " "), strictPath(addr, spelled)
}

// strictPath tells what RFC 5321 has against an address that was spelled so.
func strictPath(a Address, spelled string) error {
	if a.IsNull() {
		return nil
	}
	local := spelled
	var why string
	if a.Domain != "" {
		var whole bool
		local, whole = strings.CutSuffix(spelled, "@"+a.Domain)
		switch {
		case !whole:
			why = "dot at the end of the domain"
		case !ValidDomain(a.Domain):
			why = "unusual domain"
		}
	}
	switch {
	case why != "":
	case !strictLocal(local):
		why = "unusual local part"
	case len(a.Local) > MaxLocalSMTP:
		why = fmt.Sprintf("local part over %d octets", MaxLocalSMTP)
	case len(spelled)+len("<>") > MaxPath:
		why = fmt.Sprintf("path over %d octets", MaxPath)
	default:
		return nil
	}
	return fmt.Errorf("%s: %w", why, ErrNotStrict)
}

// strictLocal tells a Dot-string or one Quoted-string, not a mixture.
func strictLocal(spelled string) bool {
	if spelled == "" || spelled[0] != '"' {
		return plainLocal(spelled)
	}
	p := scanner{s: spelled}
	_, why := p.quoted()
	return why == "" && p.end()
}
