package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// postfixAsker does what Postfix does with a recipient, step by step, and asks its
// programs for everything that is written down: postconf for parameters, postmap and
// postalias for what tables of any type say. No daemon need run, and no mail is sent.
type postfixAsker struct {
	dir, postmap, postalias string
	params                  map[string]string
	cache                   map[string]string
	clients                 map[string]smtpClient
}

// postfixParams are the parameters that say where mail goes.
var postfixParams = []string{
	"myhostname", "mydomain", "myorigin", "mydestination", "alias_maps", "virtual_alias_maps", "virtual_alias_domains", "virtual_mailbox_domains", "virtual_mailbox_maps",
	"virtual_transport", "transport_maps", "relay_domains", "relay_recipient_maps", "relay_transport", "default_transport", "local_transport", "relayhost", "canonical_maps",
	"recipient_canonical_maps", "luser_relay", "recipient_delimiter", "mailbox_command", "local_recipient_maps",
	"smtp_tls_wrappermode", "smtp_tcp_port",
}

func newPostfixAsker(dir, program string) (asker, error) {
	postconf, err := findProgram(program, "postconf", "/usr/sbin/postconf")
	if err != nil {
		return nil, err
	}
	bin := filepath.Dir(postconf)
	p := &postfixAsker{dir, filepath.Join(bin, "postmap"), filepath.Join(bin, "postalias"), make(map[string]string), make(map[string]string), nil}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	out, status, err := run(ctx, postconf, append([]string{"-c", dir, "-x"}, postfixParams...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(line, " = "); ok && !strings.Contains(name, " ") {
			p.params[name] = strings.TrimSpace(value)
		} else if name, ok := strings.CutSuffix(strings.TrimSpace(line), " ="); ok {
			p.params[name] = ""
		}
	}
	if status != 0 || p.params["myhostname"] == "" {
		return nil, fmt.Errorf("%s -c %s: status %d: %.500s", postconf, dir, status, out)
	}
	if path := p.params["myorigin"]; filepath.IsAbs(path) {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		p.params["myorigin"] = strings.TrimSpace(string(b))
	}
	p.clients, err = smtpClients(dir, func(name string) string { return p.params[name] })
	return p, err
}

func (p *postfixAsker) about() string            { return "" }
func (p *postfixAsker) reduce(way string) string { return way }

// lookup asks the tables of a parameter for a key.
func (p *postfixAsker) lookup(ctx context.Context, param, key string) (string, bool, error) {
	program := p.postmap
	if param == "alias_maps" {
		program = p.postalias
	}
	for _, table := range words(p.params[param]) {
		if !strings.Contains(table, ":") {
			continue
		}
		known := table + "\x00" + key
		value, ok := p.cache[known]
		if !ok {
			out, status, err := run(ctx, program, "-c", p.dir, "-q", key, table)
			if err != nil {
				return "", false, err
			}
			if status > 1 || status == 1 && strings.Contains(out, "fatal:") {
				return "", false, fmt.Errorf("%s -q %s %s: %.500s", program, key, table, out)
			}
			value = strings.TrimSpace(out)
			if len(p.cache) < maxCompared {
				p.cache[known] = value
			}
		}
		if value != "" {
			return value, true, nil
		}
	}
	return "", false, nil
}

// listed tells whether a domain is in a list of names, files and tables.
func (p *postfixAsker) listed(ctx context.Context, param, domain string, below bool) (bool, error) {
	for _, w := range words(p.params[param]) {
		switch {
		case strings.HasPrefix(w, "/"):
			b, err := os.ReadFile(w)
			if err != nil {
				return false, err
			}
			for _, name := range strings.Fields(string(b)) {
				if strings.EqualFold(name, domain) {
					return true, nil
				}
			}
		case strings.Contains(w, ":"):
			p.params["\x00"] = w
			if _, ok, err := p.lookup(ctx, "\x00", domain); ok || err != nil {
				return ok, err
			}
		case strings.EqualFold(w, domain), below && strings.HasSuffix(domain, "."+strings.ToLower(w)):
			return true, nil
		}
	}
	return false, nil
}

func (p *postfixAsker) ask(ctx context.Context, addr string) ([]string, error) {
	w := &postfixWalk{p: p, ctx: ctx, seen: make(map[string]bool)}
	w.recipient(addr)
	return w.ways, w.err
}

// A postfixWalk follows one address.
type postfixWalk struct {
	p    *postfixAsker
	ctx  context.Context
	seen map[string]bool
	ways []string
	err  error
}

// maxWalk bounds what one address may expand to.
const maxWalk = 1000

func (w *postfixWalk) get(param, key string) (string, bool) {
	value, ok, err := w.p.lookup(w.ctx, param, key)
	w.err = errors.Join(w.err, err)
	return value, ok
}

func (w *postfixWalk) in(param, domain string) bool {
	ok, err := w.p.listed(w.ctx, param, domain, param == "relay_domains")
	w.err = errors.Join(w.err, err)
	return ok
}

// full completes an address.
func (w *postfixWalk) full(addr string) (local, domain string) {
	local, domain, ok := cutAddress(addr)
	if !ok {
		domain = w.p.params["myorigin"]
	}
	return local, strings.ToLower(domain)
}

// find asks a table for an address in the order of canonical(5) and virtual(5).
func (w *postfixWalk) find(param, local, domain string) (string, bool) {
	base, extended := local, false
	if d := w.p.params["recipient_delimiter"]; d != "" {
		base, _, extended = strings.Cut(local, d)
	}
	ours := domain == strings.ToLower(w.p.params["myorigin"]) || w.in("mydestination", domain)
	keys := []string{local + "@" + domain}
	if extended && base != "" {
		keys = append(keys, base+"@"+domain)
	}
	if ours {
		keys = append(keys, local)
		if extended && base != "" {
			keys = append(keys, base)
		}
	}
	for _, key := range append(keys, "@"+domain) {
		if v, ok := w.get(param, key); ok {
			return v, true
		}
	}
	return "", false
}

func (w *postfixWalk) recipient(addr string) {
	local, domain := w.full(addr)
	for _, param := range []string{"recipient_canonical_maps", "canonical_maps"} {
		if v, ok := w.find(param, local, domain); ok {
			if strings.HasPrefix(v, "@") {
				v = local + v
			}
			local, domain = w.full(v)
		}
	}
	w.virtual(local, domain)
}

func (w *postfixWalk) virtual(local, domain string) {
	addr := local + "@" + domain
	if w.err != nil || w.seen["v "+addr] || len(w.seen) > maxWalk {
		return
	}
	w.seen["v "+addr] = true
	v, ok := w.find("virtual_alias_maps", local, domain)
	if !ok {
		w.resolve(local, domain)
		return
	}
	for _, member := range words(v) {
		if strings.HasPrefix(member, "@") {
			member = local + member
		}
		l, d := w.full(member)
		if l == local && d == domain {
			w.resolve(l, d)
		} else {
			w.virtual(l, d)
		}
	}
}

// resolve chooses the class of a domain, and the transport.
func (w *postfixWalk) resolve(local, domain string) {
	addr := local + "@" + domain
	transport, hop, found := w.transport(local, domain)
	switch {
	case w.in("mydestination", domain):
		if found && transport != "local" {
			break
		}
		w.local(local)
		return
	case w.in("virtual_alias_domains", domain), w.declared(domain):
		w.ways = append(w.ways, refused)
		return
	case w.in("virtual_mailbox_domains", domain):
		if w.p.params["virtual_mailbox_maps"] != "" {
			if _, ok := w.find("virtual_mailbox_maps", local, domain); !ok {
				w.ways = append(w.ways, refused)
				return
			}
		}
		if !found {
			transport, hop = split(w.p.params["virtual_transport"])
		}
	case w.in("relay_domains", domain):
		if w.p.params["relay_recipient_maps"] != "" {
			if _, ok := w.find("relay_recipient_maps", local, domain); !ok {
				w.ways = append(w.ways, refused)
				return
			}
		}
		if !found {
			transport, hop = split(w.p.params["relay_transport"])
			if hop == "" {
				hop = w.p.params["relayhost"]
			}
		}
	case !found:
		transport, hop = split(w.p.params["default_transport"])
		if hop == "" {
			hop = w.p.params["relayhost"]
		}
	}
	w.deliver(transport, hop, domain, addr)
}

// declared tells whether a line "DOMAIN anything" of virtual_alias_maps makes a domain a
// virtual one, as it does by the default of virtual_alias_domains.
func (w *postfixWalk) declared(domain string) bool {
	if w.p.params["virtual_alias_domains"] != w.p.params["virtual_alias_maps"] {
		return false
	}
	_, ok := w.get("virtual_alias_maps", domain)
	return ok
}

func split(s string) (transport, hop string) {
	transport, hop, _ = strings.Cut(s, ":")
	return transport, hop
}

// transport asks transport_maps in the order of transport(5).
func (w *postfixWalk) transport(local, domain string) (transport, hop string, ok bool) {
	if w.p.params["transport_maps"] == "" {
		return "", "", false
	}
	keys := []string{local + "@" + domain, domain}
	for rest := domain; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			break
		}
		keys = append(keys, rest[i:])
		rest = rest[i+1:]
	}
	for _, key := range append(keys, "*") {
		if v, ok := w.get("transport_maps", key); ok {
			transport, hop = split(v)
			if transport == "" {
				transport = "smtp"
				if hop == "" {
					return "", "", false
				}
			}
			return transport, hop, true
		}
	}
	return "", "", false
}

func (w *postfixWalk) deliver(transport, hop, domain, addr string) {
	client, remote := w.p.clients[transport]
	if remote && hop != "" {
		place, err := client.place(hop)
		w.err = errors.Join(w.err, err)
		w.ways = append(w.ways, hopTo("smtp", place, addr))
		return
	}
	if hop == "" {
		hop = domain
	}
	if remote {
		transport = "smtp"
	}
	switch transport {
	case "error", "retry":
		w.ways = append(w.ways, refused)
	case "discard":
		w.ways = append(w.ways, "discarded")
	case "smtp":
		w.ways = append(w.ways, hopTo("smtp", hop, addr))
	case "local":
		local, _, _ := cutAddress(addr)
		w.local(local)
	case "lmtp":
		hop = strings.TrimPrefix(hop, "inet:")
		if path, ok := strings.CutPrefix(hop, "unix:"); ok {
			if hop = path; !filepath.IsAbs(path) {
				hop = filepath.Join("/var/spool/postfix", path)
			}
		}
		w.ways = append(w.ways, hopTo("lmtp", hop, addr))
	default:
		w.ways = append(w.ways, hopTo(transport, hop, addr))
	}
}

// local does what local(8) does: aliases, then users.
func (w *postfixWalk) local(name string) {
	key := strings.ToLower(name)
	base := key
	if d := w.p.params["recipient_delimiter"]; d != "" {
		base, _, _ = strings.Cut(key, d)
	}
	for _, k := range []string{key, base} {
		if w.seen["a "+k] {
			continue
		}
		if v, ok := w.get("alias_maps", k); ok {
			w.seen["a "+k] = true
			w.members(v)
			return
		}
	}
	if _, err := user.Lookup(base); err == nil {
		w.ways = append(w.ways, "mailbox "+base)
		return
	}
	if relay := w.p.params["luser_relay"]; relay != "" && !w.seen["luser"] {
		w.seen["luser"] = true
		w.virtual(w.full(strings.NewReplacer("$user", base, "$local", key, "${user}", base, "${local}", key).Replace(relay)))
		return
	}
	w.ways = append(w.ways, refused)
}

// members follows the right side of an alias.
func (w *postfixWalk) members(value string) {
	for _, m := range splitMembers(value) {
		switch {
		case strings.HasPrefix(m, "|"):
			w.ways = append(w.ways, "program "+m[1:])
		case strings.HasPrefix(m, "/"):
			w.ways = append(w.ways, "file "+m)
		case strings.HasPrefix(m, ":include:"):
			b, err := os.ReadFile(strings.TrimPrefix(m, ":include:"))
			if w.err = errors.Join(w.err, err); err == nil && len(w.seen) < maxWalk {
				w.seen[m] = true
				for line := range strings.Lines(string(b[:min(len(b), maxLine)])) {
					if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
						w.members(line)
					}
				}
			}
		case strings.HasPrefix(m, `\`):
			w.ways = append(w.ways, "mailbox "+m[1:])
		default:
			w.virtual(w.full(m))
		}
	}
}

// splitMembers splits at commas outside of quotes, and takes the quotes off.
func splitMembers(s string) []string {
	var list []string
	var cur strings.Builder
	quoted := false
	for _, c := range s + "," {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			if m := strings.TrimSpace(cur.String()); m != "" {
				list = append(list, m)
			}
			cur.Reset()
		default:
			cur.WriteRune(c)
		}
	}
	return list
}
