package relations

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// param is a part of the key that a query may name.
type param int

const (
	paramKey    param = iota // :key, the whole key
	paramLocal               // :local, what is before its last @
	paramDomain              // :domain, what is after it; empty without one
)

var params = map[string]param{"key": paramKey, "local": paramLocal, "domain": paramDomain}

func (p param) of(key string) string {
	if p == paramKey {
		return key
	}
	local, domain, _ := splitAt(key)
	if p == paramLocal {
		return local
	}
	return domain
}

// A query is a text with named parameters, taken to pieces: text[0], params[0],
// text[1] ... The parts of a key never become part of the text of a query for
// SQL; a filter for LDAP gets them escaped.
type query struct {
	text   []string
	params []param
}

// parseSQL reads a query as SQL has it: what is quoted or comment is no
// parameter. Parameters of the server's own notation are refused, as is a
// backslash in quotes, which servers do not agree about.
func parseSQL(s string) (query, error) {
	var q query
	from := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '\'' || c == '"' || c == '`':
			n := strings.IndexByte(s[i+1:], c)
			if n < 0 {
				return q, fmt.Errorf("query: %c is not closed", c)
			}
			if c != '`' && strings.IndexByte(s[i:i+n+1], '\\') >= 0 {
				return q, errors.New(`query: \ in quotes means different things to different servers`)
			}
			i += n + 2
		case strings.HasPrefix(s[i:], "--"):
			i += skipTo(s[i:], "\n")
		case strings.HasPrefix(s[i:], "/*"):
			i += skipTo(s[i:], "*/")
		case strings.HasPrefix(s[i:], "::"): // a cast in PostgreSQL
			i += 2
		case c == '?' || c == '$':
			return q, fmt.Errorf("query: %c outside quotes: parameters are :key, :local and :domain", c)
		case c == ':':
			p, n, err := named(s[i:])
			if err != nil {
				return q, err
			}
			q.text, q.params = append(q.text, s[from:i]), append(q.params, p)
			i += n
			from = i
		default:
			i++
		}
	}
	q.text = append(q.text, s[from:])
	return q, q.needsKey()
}

// parseFilter reads a filter for LDAP, where a colon has other uses too.
func parseFilter(s string) (query, error) {
	var q query
	from := 0
	for i := 0; i < len(s); {
		p, n, err := named(s[i:])
		if s[i] != ':' || err != nil {
			i++
			continue
		}
		q.text, q.params = append(q.text, s[from:i]), append(q.params, p)
		i += n
		from = i
	}
	q.text = append(q.text, s[from:])
	return q, q.needsKey()
}

func (q query) needsKey() error {
	if len(q.params) == 0 {
		return errors.New("query without :key, :local or :domain: every key would have the same answer")
	}
	return nil
}

// named reads the parameter at the beginning of s.
func named(s string) (param, int, error) {
	n := 1
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || s[n] >= 'A' && s[n] <= 'Z' || s[n] == '_' || s[n] >= '0' && s[n] <= '9') {
		n++
	}
	p, ok := params[s[min(1, len(s)):n]]
	if !ok {
		return 0, 0, fmt.Errorf("query: %q is no parameter; there are :key, :local and :domain", s[:n])
	}
	return p, n, nil
}

func skipTo(s, end string) int {
	if n := strings.Index(s[2:], end); n >= 0 {
		return 2 + n + len(end)
	}
	return len(s)
}

// numbered is the query with $1, $2 ... in the place of the parameters.
func (q query) numbered() string {
	return q.marked(func(n int) string { return "$" + strconv.Itoa(n) })
}

// questioned is the query with ? in the place of the parameters.
func (q query) questioned() string { return q.marked(func(int) string { return "?" }) }

func (q query) marked(mark func(n int) string) string {
	var b strings.Builder
	for i, t := range q.text {
		b.WriteString(t)
		if i < len(q.params) {
			b.WriteString(mark(i + 1))
		}
	}
	return b.String()
}

// sqlQuery is the option that every table in SQL must have.
func (o *opening) sqlQuery() (query, error) {
	s, ok := o.Options["query"]
	if !ok {
		return query{}, errors.New(`-o query= is missing, such as "SELECT target FROM aliases WHERE address = :key"`)
	}
	return parseSQL(s)
}

// impossible tells whether a server whose text is UTF-8 cannot have the key. Text in
// PostgreSQL has no NUL.
func impossible(key string) bool { return !utf8.ValidString(key) || strings.ContainsRune(key, 0) }
