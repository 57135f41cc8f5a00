package migrate

import (
	"context"
	"errors"
	"strings"
)

// eximAsker asks "exim -bt".
type eximAsker struct{ program string }

func newEximAsker(_, program string) (asker, error) {
	path, err := findProgram(program, "exim4", "exim", "/usr/sbin/exim4", "/usr/sbin/exim")
	return &eximAsker{path}, err
}

func (x *eximAsker) about() string            { return "" }
func (x *eximAsker) reduce(way string) string { return way }

func (x *eximAsker) ask(ctx context.Context, addr string) ([]string, error) {
	out, _, err := run(ctx, x.program, "-bt", "--", addr)
	if err != nil {
		return nil, err
	}
	return parseRouted(out)
}

// parseRouted reads what "exim -bt" prints: for each address in the end a line with it,
// and below it, further to the right, where it comes from, its router and its hosts.
func parseRouted(out string) (ways []string, err error) {
	var cur *eximAddress
	done := func() {
		if cur != nil {
			ways = append(ways, cur.way())
		}
		cur = nil
	}
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimSpace(line)
		switch {
		case text == "" || strings.HasPrefix(line, "R: "):
		case line[0] == ' ' || line[0] == '\t':
			if cur != nil {
				cur.detail(text)
			}
		default:
			done()
			switch name, what, _ := strings.Cut(text, " "); {
			case strings.Contains(text, "cannot be resolved at this time"):
				err = errors.Join(err, errors.New(text))
			case strings.Contains(text, "is undeliverable"):
				ways = append(ways, refused)
			case strings.Contains(text, "mail to ") && strings.Contains(text, " is discarded"):
				ways = append(ways, "discarded")
			case strings.HasPrefix(what, "-> "):
				cur = &eximAddress{addr: name, target: strings.TrimPrefix(what, "-> ")}
			default:
				cur = &eximAddress{addr: name}
			}
		}
	}
	done()
	if len(ways) == 0 && err == nil {
		err = errors.New("exim -bt says nothing that can be read: " + strings.TrimSpace(out))
	}
	return ways, err
}

type eximAddress struct {
	addr, target      string
	router, transport string
	host              string
	port              string
	mx                bool
}

func (a *eximAddress) detail(text string) {
	if rest, ok := strings.CutPrefix(text, "router = "); ok {
		a.router, rest, _ = strings.Cut(rest, ",")
		_, a.transport, _ = strings.Cut(rest, "transport = ")
		return
	}
	if rest, ok := strings.CutPrefix(text, "transport = "); ok {
		a.transport = rest
		return
	}
	if rest, ok := strings.CutPrefix(text, "host "); ok && a.host == "" {
		for i, w := range strings.Fields(rest) {
			switch {
			case i == 0:
				a.host = strings.Trim(w, "[]")
			case strings.HasPrefix(w, "MX="):
				a.mx = true
			case strings.HasPrefix(w, "port="):
				a.port = ":" + w[len("port="):]
			}
		}
	}
}

func (a *eximAddress) way() string {
	switch {
	case strings.HasPrefix(a.target, "|"):
		return "program " + a.target[1:]
	case strings.HasPrefix(a.target, "/"):
		return "file " + a.target
	case a.host != "":
		_, domain, _ := cutAddress(a.addr)
		if a.mx || strings.HasPrefix(a.router, "dnslookup") {
			return hopTo("smtp", domain, a.addr)
		}
		return hopTo("smtp", "["+a.host+"]"+a.port, a.addr)
	}
	local, _, _ := cutAddress(a.addr)
	return "mailbox " + local
}
