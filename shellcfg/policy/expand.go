package policy

import (
	"fmt"
	"strings"

	"zmailer/shellcfg/shell"
	"zmailer/spool/rfc5322"
)

// kind is what a member of a list is.
type kind uint8

const (
	address kind = iota
	bad          // neither an address nor anything else
	pipe         // |program
	file         // /path
	include      // :include:/path
	escaped      // \user
)

var kindNames = [...]string{"address", "bad", "pipe", "file", "include", "escaped"}

func (k kind) String() string { return kindNames[k] }

// maxItems bounds one list. It is a bound against accidents: a list with more
// members belongs to a list manager.
const maxItems = maxRoutes

var errLongList = fmt.Errorf("list of more than %d members", maxItems)

// splitItems cuts the text of an alias, a .forward or a :include: file into its
// members. Lines end members as commas do; lines that begin with # are comments, but
// not where all members are addresses: there it is a local part.
func splitItems(text string, addresses bool) []string {
	var items []string
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.Trim(line, " \t\r")
		if line == "" || line[0] == '#' && !addresses {
			continue
		}
		if strings.IndexByte(line, ',') < 0 {
			items = append(items, line)
		} else {
			items = append(items, rfc5322.SplitList(line)...)
		}
		if len(items) > maxItems {
			break // expand refuses it
		}
	}
	return items
}

// classify tells what a member is and its text without quoting.
func classify(item string) (kind, string) {
	switch {
	case strings.HasPrefix(item, "|"):
		return pipe, unquote(strings.TrimLeft(item[1:], " \t"))
	case strings.HasPrefix(item, "/"):
		return file, item
	case hasFold(item, ":include:"):
		return include, unquote(strings.TrimLeft(item[len(":include:"):], " \t"))
	case strings.HasPrefix(item, `\`) && len(item) > 1:
		return escaped, item[1:]
	case strings.HasPrefix(item, `"`):
		if inner := unquote(item); inner != item {
			if k, text := classify(inner); k != address && k != bad {
				return k, text
			}
		}
	}
	return mailbox(item)
}

// mailbox reads a member that is an address, perhaps with a name or a comment.
func mailbox(item string) (kind, string) {
	if _, err := rfc5322.ParseAddress(item); err == nil {
		return address, strings.Trim(item, " \t")
	}
	list, err := rfc5322.ParseList(item)
	if err != nil || len(list) != 1 {
		return bad, item
	}
	return address, list[0].Address.String()
}

// unquote removes the quotes of a member that is one quoted string.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	b := make([]byte, 0, len(s)-2)
	for i := 1; i < len(s)-1; i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s)-1:
			i++
		case s[i] == '"': // two strings, or one and more
			return s
		}
		b = append(b, s[i])
	}
	return string(b)
}

func hasFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// member makes the frame for an item of a list.
func (s *Session) member(l *list, item string) *frame {
	k, text := classify(item)
	if l.addresses {
		k, text = mailbox(item)
	}
	if k == address && l.detail != "" {
		text = withDetail(text, l.detail)
	}
	f := &frame{parent: l.parent, list: l, addr: text, kind: k, depth: l.parent.depth + 1, wait: l.parent.wait}
	if k == address {
		f.parse()
	}
	if l.parent.node != nil {
		f.node = l.parent.node.child(text, k.String())
	}
	return f
}

// withDetail hands the detail of user+detail on to an address that has none.
func withDetail(addr, detail string) string {
	a, err := rfc5322.ParseAddress(addr)
	if err != nil || strings.IndexByte(a.Local, '+') >= 0 || a.IsNull() {
		return addr
	}
	a.Local += "+" + detail
	return a.String()
}

// expandCommand is
//
//	expand [-a] [-p UID] [-s SENDER] [-d DETAIL] [-h FIELD]... [--] [LIST...]
//
// with lists from standard input if there is none. -a is for lists that a stranger
// may have had a part in: their members are addresses, whatever they look like.
func expandCommand(c *shell.Call) int {
	s, ok := during(c, routingPhase)
	if !ok {
		return 1
	}
	l := &list{parent: s.cur, privilege: s.privilegeOf(s.cur), pos: c.Pos}
	if up := s.cur.list; up != nil {
		l.sender, l.hasSender, l.fields = up.sender, up.hasSender, up.fields
	}
	texts, ok := l.options(c)
	if !ok {
		return 1
	}
	for _, text := range texts {
		l.items = append(l.items, splitItems(text, l.addresses)...)
	}
	switch {
	case len(l.items) == 0:
		return 1
	case len(l.items) > maxItems:
		return c.Fail(errLongList)
	case len(s.lists) >= maxMade:
		return c.Fail(errTooMany)
	}
	s.lists = append(s.lists, l)
	s.cur.node.add(Event{Kind: EventExpand, Pos: c.Pos, Count: len(l.items)})
	return 0
}
