package rfc5322

import "strings"

// scanner reads the tokens of RFC 5322 §3.2 from s at offset i. Its methods
// return what is wrong, or the empty string; i then stands at the place.
type scanner struct {
	s string
	i int
	// header allows comments and folding white space between tokens. Outside
	// of headers, neither has a place in an address.
	header bool
}

func (p *scanner) end() bool { return p.i >= len(p.s) }

// at tells whether the next octet is c.
func (p *scanner) at(c byte) bool { return p.i < len(p.s) && p.s[p.i] == c }

// skip passes over comments and folding white space.
func (p *scanner) skip() (why string) {
	if !p.header {
		return ""
	}
	for {
		p.i = run(p.s, p.i, isSpace)
		if !p.at('(') {
			return ""
		}
		if why := p.comment(); why != "" {
			return why
		}
	}
}

// comment passes over a comment and those within it.
func (p *scanner) comment() (why string) {
	depth, deepest := 0, 0
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '\\':
			p.i++
		case '(':
			depth++
			deepest = max(deepest, depth)
		case ')':
			if depth--; depth > 0 {
				continue
			}
			p.i++
			if deepest > maxCommentDepth {
				return "comments nested too deep"
			}
			return ""
		}
	}
	p.i = len(p.s)
	return "unterminated comment"
}

// quoted passes over a quoted string. simple tells that the octets between
// the quotes are the value as they stand.
func (p *scanner) quoted() (simple bool, why string) {
	simple = true
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case class[c]&isQtext != 0:
		case c == '"':
			p.i++
			return simple, ""
		case c == '\\':
			p.i++
			simple = false
		default:
			simple = false
		}
	}
	p.i = len(p.s)
	return false, "unterminated quoted string"
}

// unquote is the value of the quoted string q: quoting removed, a fold
// unfolded, other white space kept. Control characters stay for the caller
// to judge.
func unquote(q string) string {
	q = q[1 : len(q)-1]
	if run(q, 0, isQtext) == len(q) {
		return q
	}
	var b strings.Builder
	b.Grow(len(q))
	for i := 0; i < len(q); i++ {
		switch c := q[i]; c {
		case '\r', '\n':
		case '\t':
			b.WriteByte(' ')
		case '\\':
			if i++; i < len(q) {
				b.WriteByte(q[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// literal passes over an address literal; i stays if there is none.
func (p *scanner) literal() bool {
	e := run(p.s, p.i+1, isDtext)
	if e >= len(p.s) || p.s[e] != ']' {
		return false
	}
	p.i = e + 1
	return true
}

// spec reads an addr-spec, or a local part alone. The octets from start to
// end are its own; comments may stand among them in a header, not around them.
func (p *scanner) spec() (a Address, start, end int, why string) {
	start = p.i
	if a.Local, end, why = p.local(); why != "" {
		return Address{}, start, end, why
	}
	if !p.at('@') {
		if a.Local == "" {
			return Address{}, start, end, "empty local part"
		}
		p.i = end
		return a, start, end, ""
	}
	p.i++
	if why = p.skip(); why != "" {
		return Address{}, start, end, why
	}
	if a.Domain, end, why = p.domain(); why != "" {
		return Address{}, start, end, why
	}
	return a, start, end, ""
}

// local reads words with dots between them. It leaves i at an "@", or
// somewhere behind end.
func (p *scanner) local() (local string, end int, why string) {
	first := p.i
	p.i = run(p.s, p.i, isLocal)
	if p.i > first && (p.end() || p.s[p.i] == '@') {
		local = p.s[first:p.i] // the plain case
		return local, p.i, checkLocal(local)
	}
	p.i = first
	dot := true // a word may follow
	for n := 0; !p.end(); n++ {
		c := p.s[p.i]
		var piece string
		at := p.i
		switch {
		case class[c]&isLocal != 0 && (dot || c == '.'):
			p.i = run(p.s, p.i, isLocal)
			piece = p.s[at:p.i]
			dot = piece[len(piece)-1] == '.'
		case c == '"' && dot:
			if _, why = p.quoted(); why != "" {
				return "", p.i, why
			}
			piece, dot = p.unquoteLocal(p.s[at:p.i]), false
		default:
			if n == 0 {
				return "", p.i, "address expected"
			}
			return local, end, checkLocal(local)
		}
		end = p.i
		if local == "" {
			local = piece
		} else if len(local) > MaxLocal { // before it gets expensive
			return "", p.i, "local part too long"
		} else {
			local += piece
		}
		if why = p.skip(); why != "" {
			return "", p.i, why
		}
	}
	if end == 0 {
		return "", p.i, "address expected"
	}
	return local, end, checkLocal(local)
}

// unquoteLocal lets unquote unfold only in a header; elsewhere a control
// character within quotes stays, to be refused.
func (p *scanner) unquoteLocal(q string) string {
	if !p.header && !noControl(q) {
		return q
	}
	return unquote(q)
}

func checkLocal(s string) (why string) {
	switch {
	case len(s) > MaxLocal:
		return "local part too long"
	case !noControl(s):
		return "control character in local part"
	case !validUTF8(s):
		return "local part is not UTF-8"
	}
	return ""
}

// domain reads a domain or a literal.
func (p *scanner) domain() (domain string, end int, why string) {
	first := p.i
	if p.at('[') {
		if !p.literal() {
			return "", p.i, "malformed address literal"
		}
		domain = p.s[first:p.i]
		_, why = looseDomain(domain)
		return domain, p.i, why
	}
	dot := true
	for !p.end() {
		at := p.i
		c := p.s[at]
		if class[c]&(isDomain|isDot) == 0 || !dot && c != '.' {
			break
		}
		p.i = run(p.s, p.i, isDomain|isDot)
		dot = p.s[p.i-1] == '.'
		end = p.i
		if domain == "" {
			domain = p.s[at:p.i]
		} else if len(domain) > MaxDomain {
			break
		} else {
			domain += p.s[at:p.i]
		}
		if why = p.skip(); why != "" {
			return "", p.i, why
		}
	}
	if domain == "" {
		return "", p.i, "domain expected"
	}
	p.i = end
	domain = strings.TrimSuffix(domain, ".")
	_, why = looseDomain(domain)
	return domain, end, why
}

// route passes over a source route, "@a,@b:". RFC 5321 appendix C: it must be
// understood, and should be ignored.
func (p *scanner) route() (why string) {
	for {
		if why = p.skip(); why != "" {
			return why
		}
		if p.header && p.at(',') { // obs-domain-list has empty elements
			p.i++
			continue
		}
		if !p.at('@') {
			return "malformed source route"
		}
		p.i++
		if why = p.skip(); why != "" {
			return why
		}
		if _, _, why = p.domain(); why != "" {
			return why
		}
		if why = p.skip(); why != "" {
			return why
		}
		if p.at(':') {
			p.i++
			return p.skip()
		}
		if !p.at(',') {
			return "malformed source route"
		}
		p.i++
	}
}
