package migrate

import (
	"fmt"
	"os"
	"strings"
)

// maxMC bounds a sendmail.mc, and maxNesting what is in parentheses and quotes.
const (
	maxMC      = 1 << 20
	maxNesting = 50
)

// A macro is a call in sendmail.mc: NAME(`argument', `argument').
type macro struct {
	name  string
	args  []string
	where string
}

// arg is an argument, or "".
func (m macro) arg(i int) string {
	if i < len(m.args) {
		return m.args[i]
	}
	return ""
}

// readMC reads the calls of macros in sendmail.mc and the lines that go into
// sendmail.cf as they are. It is no m4: what is inside a call is an argument and is
// not looked at for other calls.
func readMC(path string) (calls []macro, raw []macro, err error) {
	f, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if len(f) > maxMC {
		return nil, nil, fmt.Errorf("%s: larger than %d bytes", path, maxMC)
	}
	p := &mcParser{text: string(f), line: 1}
	for p.pos < len(p.text) {
		if err := p.step(); err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", path, p.line, err)
		}
	}
	return p.calls, p.raw, nil
}

type mcParser struct {
	text      string
	pos, line int
	hidden    bool // by divert(-1)
	calls     []macro
	raw       []macro
}

func isWord(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// step reads one call, comment, quoted text or line.
func (p *mcParser) step() error {
	rest := p.text[p.pos:]
	n := 0
	for n < len(rest) && isWord(rest[n]) {
		n++
	}
	switch word := rest[:n]; {
	case word == "dnl" || rest[0] == '#' && p.atLineStart():
		p.skipLine()
	case n == 0:
		p.next()
	case n < len(rest) && rest[n] == '(':
		where := fmt.Sprintf("sendmail.mc:%d", p.line)
		p.pos += n + 1
		args, err := p.arguments()
		if err != nil {
			return err
		}
		if word == "divert" {
			p.hidden = len(args) > 0 && strings.TrimSpace(args[0]) == "-1"
		} else if !p.hidden {
			p.calls = append(p.calls, macro{word, args, where})
		}
	case p.hidden || word == "MAILER_DEFINITIONS" || !p.atLineStart():
		p.pos += n
	default:
		line, _, _ := strings.Cut(rest, "\n")
		line, _, _ = strings.Cut(line, "dnl")
		if line = strings.TrimSpace(line); strings.HasPrefix(word, "LOCAL_") {
			p.calls = append(p.calls, macro{word, nil, fmt.Sprintf("sendmail.mc:%d", p.line)})
		} else {
			p.raw = append(p.raw, macro{line, nil, fmt.Sprintf("sendmail.mc:%d", p.line)})
		}
		p.skipLine()
	}
	return nil
}

func (p *mcParser) atLineStart() bool { return p.pos == 0 || p.text[p.pos-1] == '\n' }

func (p *mcParser) next() byte {
	c := p.text[p.pos]
	p.pos++
	if c == '\n' {
		p.line++
	}
	return c
}

func (p *mcParser) skipLine() {
	for p.pos < len(p.text) && p.next() != '\n' {
	}
}

// arguments reads up to the parenthesis that closes the call. The outer quotes of an
// argument are taken off.
func (p *mcParser) arguments() ([]string, error) {
	var args []string
	var cur strings.Builder
	depth, quote := 0, 0
	begun := false // something but blanks
	for p.pos < len(p.text) {
		c := p.next()
		switch {
		case c == '`':
			if quote++; quote > maxNesting {
				return nil, fmt.Errorf("too many quotes in each other")
			}
			begun = true
			if quote == 1 {
				continue
			}
		case c == '\'' && quote > 0:
			if quote--; quote == 0 {
				continue
			}
		case quote > 0:
		case c == '(':
			if depth++; depth > maxNesting {
				return nil, fmt.Errorf("too many parentheses in each other")
			}
		case c == ')' && depth == 0:
			return append(args, cur.String()), nil
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			args, begun = append(args, cur.String()), false
			cur.Reset()
			continue
		case !begun && (c == ' ' || c == '\t' || c == '\n'):
			continue
		}
		begun = true
		cur.WriteByte(c)
	}
	return nil, fmt.Errorf("the parenthesis is not closed")
}

// readCF reads what is of interest in a sendmail.cf, as the calls of sendmail.mc that
// make it.
func readCF(path string) ([]macro, error) {
	var list []macro
	err := sendmailLines(path, func(n int, text string) error {
		add := func(name string, args ...string) {
			list = append(list, macro{name, args, fmt.Sprintf("sendmail.cf:%d", n)})
		}
		letter, rest := text[0], text[1:]
		if strings.HasPrefix(rest, "{w}") { // sendmail.mc makes both
			rest = "w" + rest[len("{w}"):]
		}
		switch letter {
		case 'D':
			if name := cfMacros[rest[:min(1, len(rest))]]; name != "" && len(rest) > 1 {
				add("define", name, rest[1:])
			} else if v, ok := strings.CutPrefix(rest, "M"); ok && v != "" {
				add("MASQUERADE_AS", v)
			}
		case 'C':
			for _, word := range strings.Fields(strings.TrimPrefix(rest, rest[:min(1, len(rest))])) {
				if name := cfClasses[rest[:1]]; name != "" && !strings.HasPrefix(word, "[") && word != "localhost" {
					add(name, word)
				}
			}
		case 'F':
			switch file := cfFile(rest[min(1, len(rest)):]); {
			case strings.HasPrefix(rest, "w"):
				add("FEATURE", "use_cw_file", file)
			case strings.HasPrefix(rest, "R"):
				add("RELAY_DOMAIN_FILE", file) // which is optional
			case strings.HasPrefix(rest, "{VirtHost}"):
				add("VIRTUSER_DOMAIN_FILE", cfFile(rest[len("{VirtHost}"):]))
			case strings.HasPrefix(rest, "G"):
				add("GENERICS_DOMAIN_FILE", file)
			}
		case 'K':
			w := strings.Fields(rest)
			if len(w) < 3 {
				break
			}
			if name := map[string]string{"mailertable": "mailertable", "virtuser": "virtusertable", "generics": "genericstable", "access": "access_db"}[w[0]]; name != "" {
				add("FEATURE", name, strings.Join(w[1:], " "))
			}
		case 'O':
			name, value, ok := strings.Cut(strings.TrimSpace(rest), "=")
			if conf := cfOptions[name]; ok && conf != "" {
				add("define", conf, value)
			} else if ok && name == "DaemonPortOptions" {
				add("DAEMON_OPTIONS", value)
			} else if ok && name == "InputMailFilters" && value != "" {
				add("INPUT_MAIL_FILTER", value)
			}
		}
		return nil
	})
	return list, err
}

// cfFile is the path in a line F, which has an option and a pattern around it.
func cfFile(s string) string {
	for _, w := range strings.Fields(s) {
		if strings.HasPrefix(w, "/") {
			return w
		}
	}
	return strings.TrimSpace(s)
}

// What sendmail.cf calls the settings of sendmail.mc.
var (
	cfMacros  = map[string]string{"S": "SMART_HOST", "j": "confDOMAIN_NAME", "H": "MAIL_HUB", "R": "LOCAL_RELAY", "L": "LUSER_RELAY"}
	cfClasses = map[string]string{"w": "LOCAL_DOMAIN", "R": "RELAY_DOMAIN", "M": "MASQUERADE_DOMAIN", "G": "GENERICS_DOMAIN", "E": "EXPOSED_USER", "t": "TRUSTED_USER"}
	cfOptions = map[string]string{"AliasFile": "ALIAS_FILE", "MaxMessageSize": "confMAX_MESSAGE_SIZE", "Timeout.queuereturn": "confTO_QUEUERETURN", "Timeout.queuewarn": "confTO_QUEUEWARN",
		"MaxRecipientsPerMessage": "confMAX_RCPTS_PER_MESSAGE", "ServerCertFile": "confSERVER_CERT", "ServerKeyFile": "confSERVER_KEY", "LocalHostNamesFile": "confCW_FILE"}
)
