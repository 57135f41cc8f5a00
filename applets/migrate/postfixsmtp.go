package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// An smtpClient is a service of master.cf that runs smtp(8), by what counts for the place
// to which it sends.
type smtpClient struct {
	wrap bool   // TLS from the first octet
	port string // where none is named; "" is 25
}

// smtpClients reads master.cf, where each service may have settings of its own. get
// returns a parameter of main.cf. A master.cf that is not there has the two that Postfix
// comes with.
func smtpClients(dir string, get func(name string) string) (map[string]smtpClient, error) {
	stock := smtpClient{get("smtp_tls_wrappermode") == "yes", get("smtp_tcp_port")}
	clients := map[string]smtpClient{"smtp": stock, "relay": stock}
	err := logicalLines(filepath.Join(dir, "master.cf"), func(_ int, text string) error {
		w := strings.Fields(text)
		if len(w) < 8 || w[1] != "unix" || w[7] != "smtp" {
			return nil
		}
		c := stock
		for name, value := range serviceOptions(w[8:]) {
			switch name {
			case "smtp_tls_wrappermode":
				c.wrap = value == "yes"
			case "smtp_tcp_port":
				c.port = value
			}
		}
		clients[w[0]] = c
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return clients, err
}

// serviceOptions are the parameters that a line of master.cf sets with -o.
func serviceOptions(args []string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for i, word := range args {
			setting, ok := strings.CutPrefix(word, "-o")
			if !ok && (i == 0 || args[i-1] != "-o") {
				continue
			}
			if name, value, ok := strings.Cut(setting, "="); ok && !yield(name, value) {
				return
			}
		}
	}
}

// services are the names of ports that every host knows.
var services = map[string]string{"smtp": "25", "submission": "587", "submissions": "465", "smtps": "465", "lmtp": "24"}

func portNumber(name string) (string, error) {
	if n, ok := services[name]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(name, 10, 16); err == nil && n > 0 {
		return name, nil
	}
	n, err := net.LookupPort("tcp", name)
	if err != nil || n == 0 {
		return "", fmt.Errorf("port %.50s is not known here: write its number", name)
	}
	return strconv.Itoa(n), nil
}

// place turns a next hop, or several in a list, into the places of our agent. Port 465
// means TLS from the first octet there without being told.
func (c smtpClient) place(hops string) (string, error) {
	var places []string
	for _, hop := range words(hops) {
		host, port, named := strings.Cut(hop, ":")
		if strings.HasPrefix(hop, "[") {
			inner, rest, ok := strings.Cut(hop[1:], "]")
			if port, named = strings.CutPrefix(rest, ":"); !ok || rest != "" && !named {
				return "", fmt.Errorf("%.100s is no host", hop)
			}
			if ip, err := netip.ParseAddr(inner); err == nil && ip.Is6() {
				inner = "IPv6:" + inner
			}
			host = "[" + inner + "]"
		}
		if host == "" || host == "[]" {
			return "", fmt.Errorf("%.100s is no host", hop)
		}
		if !named {
			if port = c.port; port == "smtp" || port == "25" {
				port = ""
			}
		}
		var err error
		if port != "" {
			if port, err = portNumber(port); err != nil {
				return "", err
			}
		}
		switch {
		case c.wrap && port == "":
			host = "smtps://" + host + ":25"
		case c.wrap && port != "465":
			host = "smtps://" + host + ":" + port
		case port != "":
			host += ":" + port
		}
		places = append(places, host)
	}
	return strings.Join(places, ","), nil
}

// hop turns "transport:nexthop" into CHANNEL!HOST.
func (p *postfix) hop(value string) (string, error) {
	transport, hop, _ := strings.Cut(value, ":")
	if transport == "" && hop != "" {
		transport = "smtp"
	}
	client, ok := p.clients[transport]
	switch {
	case !ok:
		return nexthop(value)
	case hop == "" && client.wrap:
		return "", fmt.Errorf("%s: TLS from the first octet to all hosts that the DNS names", transport)
	}
	place, err := client.place(hop)
	return "smtp!" + place, err
}

func (p *postfix) outgoing() {
	get := func(name string) string {
		v, _ := p.cf.get(name)
		return v
	}
	clients, err := smtpClients(p.dir, get)
	if err != nil {
		p.skip("master.cf", "%v", err)
	}
	p.clients = clients
	p.smarthost()
	if d, where := p.cf.get("masquerade_domains"); d != "" {
		p.conf("MASQUERADE", strings.Join(words(d), " "), where)
	}
	for _, name := range []string{"canonical_maps", "sender_canonical_maps", "smtp_generic_maps"} {
		for _, e := range p.entries(name) {
			p.table("db/mailnames", e.key, members(e.value), e.where)
		}
	}
	switch level, where := p.cf.get("smtp_tls_security_level"); level {
	case "", "may":
	case "encrypt":
		p.smtpOptions = append(p.smtpOptions, "-S must")
	case "verify", "secure":
		p.smtpOptions = append(p.smtpOptions, "-S verify")
	case "none":
		p.smtpOptions = append(p.smtpOptions, "-S off")
	default:
		p.skip(where, "smtp_tls_security_level = %s: encryption is used when offered", level)
	}
	p.passwords()
}

// smarthost carries over relayhost, or a next hop in default_transport, which counts more.
func (p *postfix) smarthost() {
	transport, at := p.cf.get("default_transport")
	relayhost, relayAt := p.cf.get("relayhost")
	name, hop, _ := strings.Cut(transport, ":")
	client, known := p.clients[name]
	where := at
	if !known || hop == "" {
		if !known {
			client = p.clients["smtp"]
		}
		hop, where = relayhost, relayAt
	}
	switch {
	case transport == "error" || strings.HasPrefix(transport, "error:"):
		route, _ := nexthop(transport)
		p.table("db/routes", ".", route, at)
	case transport != "" && !known:
		p.skip(at, "default_transport = %s", transport)
	}
	if hop == "" {
		if client.wrap {
			p.skip(where, "TLS from the first octet (smtp_tls_wrappermode) to all hosts that the DNS names: here it is said for a host, by smtps:// or port 465")
		}
		return
	}
	place, err := client.place(hop)
	if err != nil {
		p.skip(where, "relayhost: %v", err)
		return
	}
	p.conf("SMARTHOST", place, where)
	for _, one := range strings.Split(place, ",") {
		if !client.wrap && strings.HasSuffix(one, ":465") {
			p.note(where, "%s: TLS begins with the connection here, as that port has it", one)
		}
	}
	p.smart, p.smartClient = strings.Split(place, ","), client
}

// passwords carries over the logins at other hosts. A key is what is written as the next
// hop, the name of a host, or with smtp_sender_dependent_authentication a sender.
func (p *postfix) passwords() {
	if auth, _ := p.cf.get("smtp_sasl_auth_enable"); auth != "yes" {
		return
	}
	for _, e := range p.entries("smtp_sasl_password_maps") {
		user, password, ok := strings.Cut(e.value, ":")
		if !ok || user == "" || password == "" || strings.ContainsAny(user, " \t") {
			p.skip(e.where, "want USER:PASSWORD")
			continue
		}
		keys, err := p.loginPlaces(e.key)
		if err != nil {
			p.skip(e.where, "login at %.100s: %v", e.key, err)
		}
		for _, key := range keys {
			p.secret("smarthost.auth", key+" "+user+" "+password)
		}
	}
	p.smtpOptions = append(p.smtpOptions, "-A "+authPlace)
}

func (p *postfix) loginPlaces(key string) ([]string, error) {
	if strings.Contains(key, "@") {
		if on, _ := p.cf.get("smtp_sender_dependent_authentication"); on != "yes" {
			return nil, errors.New("a sender, which counts only with smtp_sender_dependent_authentication")
		}
		if len(p.smart) == 0 {
			return nil, errors.New("a sender's login, at no host in particular")
		}
		var keys []string
		for _, place := range p.smart {
			keys = append(keys, strings.TrimPrefix(place, "smtps://")+","+key)
		}
		return keys, nil
	}
	// As the next hop, which may leave the port to a parameter, or as it is written.
	if place, err := p.smartClient.place(key); err == nil && slices.Contains(p.smart, place) {
		return []string{strings.TrimPrefix(place, "smtps://")}, nil
	}
	place, err := smtpClient{}.place(key)
	if err != nil {
		return nil, err
	}
	return []string{place}, nil
}
