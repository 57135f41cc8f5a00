package sm

import (
	"errors"
	"fmt"
	"strings"

	"zmailer/spool/rfc5322"
)

// A word of a command is a list of pieces: literal text, or one letter that stands
// for a fact of the message.
type word []piece

type piece struct {
	literal string
	macro   byte // 0: literal
}

// text is the literal part.
func (w word) text() string {
	var b strings.Builder
	for _, p := range w {
		b.WriteString(p.literal)
	}
	return b.String()
}

// perRcpt says that the word is repeated for each recipient.
func (w word) perRcpt() bool {
	for _, p := range w {
		if p.macro != 0 && strings.IndexByte("uUld", p.macro) >= 0 {
			return true
		}
	}
	return false
}

const macros = "ghuUld"

// parseCommand cuts a command into words at its blanks; between double quotes they
// are part of a word. ${NAME} is put in from vars now.
func parseCommand(s string, vars map[string]string) ([]word, error) {
	var words []word
	var w word
	inWord, quoted := false, false
	add := func(text string) {
		w, inWord = append(w, piece{literal: text}), true
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted, inWord = !quoted, true
		case (c == ' ' || c == '\t' || c == '\n') && !quoted:
			if inWord {
				words = append(words, w)
			}
			w, inWord = nil, false
		case c != '$':
			add(string(c))
		case strings.HasPrefix(s[i:], "$$"):
			add("$")
			i++
		case strings.HasPrefix(s[i:], "${"):
			name, _, ok := strings.Cut(s[i+2:], "}")
			v, set := vars[name]
			if !ok || !set {
				return nil, fmt.Errorf("command: ${%.40s} is no variable of zmailer.conf", name)
			}
			add(v)
			i += len(name) + 2
		case i+1 < len(s) && strings.IndexByte(macros, s[i+1]) >= 0:
			w, inWord = append(w, piece{macro: s[i+1]}), true
			i++
		default:
			return nil, fmt.Errorf("command: %.4q: there are $g $h $u $U $l $d ${NAME} and $$", s[i:])
		}
	}
	if quoted {
		return nil, errors.New("command: a double quote is not closed")
	}
	if inWord {
		words = append(words, w)
	}
	return words, nil
}

// facts are what the macros stand for in one run.
type facts struct {
	sender, host string
	users        []string
	strip        bool // flag s
}

// errOption is an address that a program would take for an option.
var errOption = errors.New("an address that begins with a hyphen is not given to a program")

// expand makes the argument list. No fact becomes more or less than the word, or
// the part of a word, where it stands.
func expand(words []word, f facts) ([]string, error) {
	var argv []string
	for _, w := range words {
		users := f.users[:1]
		if w.perRcpt() {
			users = f.users
		}
		for _, user := range users {
			arg := w.expand(f, user)
			if strings.IndexByte(arg, 0) >= 0 {
				return nil, errors.New("an address holds a NUL")
			}
			if len(w) > 0 && w[0].macro != 0 && strings.HasPrefix(arg, "-") {
				return nil, errOption
			}
			argv = append(argv, arg)
		}
	}
	return argv, nil
}

func (w word) expand(f facts, user string) string {
	var b strings.Builder
	for _, p := range w {
		switch p.macro {
		case 0:
			b.WriteString(p.literal)
		case 'g':
			b.WriteString(orNull(f.sender))
		case 'h':
			b.WriteString(f.host)
		case 'u', 'U':
			u := user
			if f.strip {
				u = unquoted(user)
			}
			if p.macro == 'U' {
				u = strings.ToLower(u)
			}
			b.WriteString(u)
		case 'l':
			b.WriteString(parse(user).Local)
		case 'd':
			b.WriteString(parse(user).Domain)
		}
	}
	return b.String()
}

// parse takes a user apart; what is no address is a local part.
func parse(user string) rfc5322.Address {
	a, err := rfc5322.ParseAddress(user)
	if err != nil {
		return rfc5322.Address{Local: user}
	}
	return a
}

// unquoted is the address with its local part as it is, not as it is written.
func unquoted(user string) string {
	a := parse(user)
	if a.Domain == "" {
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

func orNull(sender string) string {
	if sender == "" {
		return "<>"
	}
	return sender
}
