package rfc5322

import (
	"fmt"
	"strings"
)

// Mailbox is one member of an address list in a header.
type Mailbox struct {
	// Name is the display name, or the comment that stands for it in the old
	// style "joe@example.net (Joe Doe)": unquoted, comments removed, white
	// space collapsed, encoded words not decoded ([DecodeWords] does).
	Name string
	Address
	// Group is the name of the group that the mailbox is a member of.
	Group string
	// The addr-spec is input[Start:End]: no brackets, no source route, but
	// with the comments among its tokens, if there are any.
	Start, End int

	angle bool
}

// ParseList reads the body of an address header: mailboxes with or without
// names, groups (whose members are listed; a group may have none), comments,
// folding, the obsolete syntax of RFC 5322 §4.4. Beyond the RFC it allows
// what is seen every day: dots, brackets, "@" and 8-bit text in unquoted
// names, addresses without a domain, empty elements, semicolons for commas,
// groups that do not end, words after "<...>".
//
// An element that cannot be read is left out, and parsing goes on behind it:
// the mailboxes returned are good even when the error is not nil. The error
// is a [*ListError], or wraps [ErrTooLarge] after [MaxMailboxes].
func ParseList(s string) ([]Mailbox, error) {
	var list []Mailbox
	l := lister{scanner: scanner{s: s, header: true}, names: true}
	for {
		m, ok := l.next()
		if !ok {
			return list, l.err()
		}
		if len(list) == MaxMailboxes {
			return list, fmt.Errorf("address list: %w", ErrTooLarge)
		}
		list = append(list, m)
	}
}

// RewriteList replaces addresses in the body of an address header. fn gets
// each address and returns the new one and whether to put it in place; null
// addresses are not shown to it. All other octets stay as they are: names,
// comments, folds, routes, and elements that cannot be read. Comments among
// the tokens of an address that is replaced move behind it. The error is that
// of [ParseList]; the string is good in any case.
func RewriteList(s string, fn func(Address) (Address, bool)) (string, error) {
	var out []byte
	done := 0
	l := lister{scanner: scanner{s: s, header: true}}
	for {
		m, ok := l.next()
		if !ok {
			break
		}
		if m.IsNull() {
			continue
		}
		a, replace := fn(m.Address)
		if !replace {
			continue
		}
		if out == nil {
			out = make([]byte, 0, len(s)+len(s)/4+64)
		}
		out = append(out, s[done:m.Start]...)
		if a.IsNull() && !m.angle {
			out = append(out, "<>"...)
		}
		out = a.AppendTo(out)
		out = appendComments(out, s[m.Start:m.End])
		done = m.End
	}
	if done == 0 {
		return s, l.err()
	}
	return string(append(out, s[done:]...)), l.err()
}

// appendComments appends the comments within an addr-spec.
func appendComments(b []byte, spec string) []byte {
	if strings.IndexByte(spec, '(') < 0 {
		return b
	}
	p := scanner{s: spec}
	for !p.end() {
		at := p.i
		p.token()
		if spec[at] == '(' {
			b = append(b, ' ')
			b = append(b, spec[at:p.i]...)
		}
	}
	return b
}

// SplitList cuts s at the commas that are not within quotes, comments or
// angle brackets, and drops white space around the elements and elements
// that are empty. It judges nothing else.
func SplitList(s string) []string {
	var list []string
	p := scanner{s: s, header: true}
	angle := 0 // behind a "<", up to which ">" commas do not count
	for start := 0; start < len(s); {
		for !p.end() && (s[p.i] != ',' || p.i < angle) {
			if s[p.i] == '<' && p.i >= angle {
				angle = p.i + 1
				// Stopping at the next "<" too keeps this linear.
				if n := strings.IndexAny(s[angle:], "<>\""); n >= 0 && s[angle+n] == '>' {
					angle += n
				}
			}
			p.token()
		}
		if e := strings.Trim(s[start:p.i], " \t\r\n"); e != "" {
			list = append(list, e)
		}
		p.i++
		start = p.i
	}
	return list
}

// token passes over a quoted string, a comment, or any one octet or run of
// white space. Unterminated ones reach to the end.
func (p *scanner) token() (why string) {
	switch p.s[p.i] {
	case '"':
		_, why = p.quoted()
	case '(':
		why = p.comment()
	case '[':
		if !p.literal() {
			p.i++
		}
	case '\\':
		p.i = min(p.i+2, len(p.s))
	default:
		p.i++
	}
	return why
}

// lister walks over the elements of a list. Each octet is looked at a small
// number of times, whatever the input: an element is measured once (shape),
// read once, and after an error the walk goes on from where it stopped.
type lister struct {
	scanner
	names bool // whether Name and Group are wanted
	group string
	open  bool // within a group
	errs  ListError
}

func (l *lister) err() error {
	if l.errs.Count == 0 {
		return nil
	}
	return &l.errs
}

// next returns the next mailbox.
func (l *lister) next() (Mailbox, bool) {
	for {
		l.i = run(l.s, l.i, isSpace)
		if l.end() {
			return Mailbox{}, false
		}
		start := l.i
		m, found, why := l.element()
		if why == "" && !l.end() && !l.at(',') && !l.at(';') && found {
			why = "comma expected"
		}
		if why != "" {
			l.bad(why, start)
			continue
		}
		if found {
			return m, true
		}
	}
}

// bad notes an error and goes on to the end of the element.
func (l *lister) bad(why string, start int) {
	pos := l.i
	for !l.end() && !l.at(',') && !l.at(';') {
		l.token()
	}
	l.errs.Count++
	if len(l.errs.Bad) < maxListErrors {
		l.errs.Bad = append(l.errs.Bad, &SyntaxError{What: why, Pos: pos, Start: start, End: l.i})
	}
}

// element reads a separator, the head of a group, or a mailbox with all that
// belongs to it.
func (l *lister) element() (m Mailbox, found bool, why string) {
	switch {
	case l.at(','):
		l.i++
		return m, false, ""
	case l.at(';'):
		l.i++
		l.open, l.group = false, ""
		return m, false, ""
	}
	start := l.i
	sh, why := l.shape()
	if why != "" {
		return m, false, why
	}
	if l.names {
		m.Group = l.group
	}
	switch {
	case l.at('<'):
		why = l.angle(&m)
		if l.names && why == "" {
			m.Name = phrase(l.s[start:sh.end])
		}
	case l.at(':'):
		if l.open || sh.at || sh.words == 0 {
			return m, false, "unexpected colon"
		}
		l.open = true
		if l.names {
			l.group = phrase(l.s[start:sh.end])
		}
		l.i++
		return m, false, ""
	case l.at('>'):
		why = "unexpected >"
	case sh.words == 0: // a comment alone
		return m, false, ""
	default:
		why = l.bare(&m, start)
	}
	return m, why == "", why
}

// shape is what an element looks like up to the octet that decides on it.
type shape struct {
	end   int  // of the last word
	words int  // tokens that are not comments
	at    bool // has an "@"
}

// shape passes over words and comments up to one of , ; : < > or the end.
func (l *lister) shape() (sh shape, why string) {
	sh.end = l.i
	for !l.end() {
		c := l.s[l.i]
		if class[c]&isLocal != 0 {
			l.i = run(l.s, l.i, isLocal)
			sh.end = l.i
			sh.words++
			continue
		}
		switch c {
		case ',', ';', ':', '<', '>':
			return sh, ""
		case ' ', '\t', '\r', '\n':
			l.i = run(l.s, l.i, isSpace)
			continue
		case '@':
			sh.at = true
		}
		if why = l.token(); why != "" {
			return sh, why
		}
		if c != '(' {
			sh.end = l.i
			sh.words++
		}
	}
	return sh, ""
}

// bare reads an element that is an addr-spec only.
func (l *lister) bare(m *Mailbox, start int) (why string) {
	l.i = start
	if why = l.skip(); why != "" {
		return why
	}
	if m.Address, m.Start, m.End, why = l.spec(); why != "" {
		return why
	}
	if l.i = m.End; l.end() {
		return ""
	}
	if why = l.skip(); why == "" && l.names {
		m.Name = lastComment(l.s[m.End:l.i])
	}
	return why
}

// angle reads "<...>" and the words after it, which mean nothing.
func (l *lister) angle(m *Mailbox) (why string) {
	l.i++
	m.angle = true
	if why = l.skip(); why != "" {
		return why
	}
	if l.at('@') {
		if why = l.route(); why != "" {
			return why
		}
	}
	m.Start, m.End = l.i, l.i
	if !l.at('>') {
		if m.Address, m.Start, m.End, why = l.spec(); why != "" {
			return why
		}
		l.i = m.End
	}
	if why = l.skip(); why != "" {
		return why
	}
	if !l.at('>') {
		return "> expected"
	}
	l.i++
	if run(l.s, l.i, isSpace) == len(l.s) {
		l.i = len(l.s)
		return ""
	}
	sh, why := l.shape()
	if why == "" && (sh.at || l.at('<') || l.at(':') || l.at('>')) {
		why = "comma expected"
	}
	return why
}
