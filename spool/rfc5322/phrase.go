package rfc5322

import "strings"

// phrase is the text of a display name: quoted strings unquoted, comments
// dropped, white space and control characters collapsed to one space.
func phrase(s string) string {
	s = strings.Trim(s, " \t\r\n")
	if s == "" {
		return ""
	}
	if s[0] == '"' && run(s, 1, isQtext) == len(s)-1 {
		return s[1 : len(s)-1]
	}
	if plainPhrase(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	p := scanner{s: s, header: true}
	for gap := false; !p.end(); {
		at := p.i
		var text string
		switch c := s[p.i]; {
		case class[c]&(isSpace|isControl) != 0:
			p.i = run(s, p.i, isSpace|isControl)
		case c == '(':
			p.comment()
		case c == '"':
			if _, why := p.quoted(); why != "" {
				return b.String() // shape has refused it before
			}
			text = spaceControls(unquote(s[at:p.i]))
		case c == '\\':
			p.token()
			text = spaceControls(s[at+1 : p.i])
		default:
			p.i++
			text = s[at:p.i]
		}
		if text == "" {
			gap = true
			continue
		}
		if gap && b.Len() > 0 {
			b.WriteByte(' ')
		}
		gap = false
		b.WriteString(text)
	}
	return b.String()
}

// plainPhrase tells words with single spaces between that mean themselves.
func plainPhrase(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' && s[i-1] != ' ':
		case c == ' ' || c == '"' || c == '(' || c == '\\' || class[c]&isControl != 0:
			return false
		}
	}
	return true
}

func spaceControls(s string) string {
	if strings.IndexFunc(s, breaksLine) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if breaksLine(r) {
			return ' '
		}
		return r
	}, s)
}

// lastComment is the text of the last comment in s.
func lastComment(s string) (text string) {
	p := scanner{s: s}
	for !p.end() {
		at := p.i
		if s[at] != '(' {
			p.i++
			continue
		}
		if why := p.comment(); why != "" {
			return ""
		}
		text = s[at+1 : p.i-1]
	}
	if strings.IndexByte(text, '\\') >= 0 {
		text = unquote(`"` + text + `"`)
	}
	return strings.Join(strings.Fields(spaceControls(text)), " ")
}
