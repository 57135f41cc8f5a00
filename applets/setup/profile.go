package setup

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// A profile is what a host is for. Its zero value is a host that keeps its mail
// to itself.
type profile struct {
	smart    *smartHost // all mail goes there
	local    bool       // ... but that of local users
	internet bool       // mail for us comes in, and goes out to everybody
	backup   []string   // domains whose mail we keep while their own hosts are away
	relayFor []string   // networks whose hosts may send to everybody through us
	bind     string     // the address for internet, backup and relayFor; empty: all
	cert     string     // files of the certificate; empty: one of our own making
	key      string
}

func (p *profile) public() bool { return p.internet || len(p.backup) > 0 }

// A smartHost is the host that a null client gives its mail to.
type smartHost struct {
	host     string // as SMARTHOST has it: [name]:port
	user     string
	password string
	loopback bool // nothing leaves this host: no certificate is asked for
}

// The URL is in no error: it may hold a password.
var errURL = errors.New("want smtp://[USER@]HOST[:PORT], such as smtp://joe@smtp.example.org:587")

// parseSmartHost reads smtp://[user[:password]@]host[:port]. The port is 587 with a
// user and 25 without. With smtps:// TLS begins with the connection, and the port is 465.
func parseSmartHost(text string) (*smartHost, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "":
		return nil, errURL
	case u.Scheme != "smtp" && u.Scheme != "smtps", u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return nil, errURL
	}
	s := &smartHost{user: u.User.Username()}
	s.password, _ = u.User.Password()
	if strings.ContainsAny(s.user, " \t\r\n") || strings.ContainsAny(s.password, "\r\n") {
		return nil, errors.New("a user has no blanks, and a password is one line")
	}
	port := u.Port()
	if port == "" {
		switch {
		case u.Scheme == "smtps":
			port = "465"
		case s.user != "":
			port = "587"
		default:
			port = "25"
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("port %s: want 1 to 65535", port)
	}
	name := u.Hostname()
	if ip := net.ParseIP(name); ip != nil {
		s.loopback = ip.IsLoopback()
		if ip.To4() == nil {
			name = "IPv6:" + name
		}
	} else if name, err = rfc5322.CanonicalDomain(name); err != nil || strings.HasPrefix(name, "[") {
		return nil, fmt.Errorf("%s: not the name of a host", u.Hostname())
	}
	s.loopback = s.loopback || name == "localhost"
	s.host = "[" + name + "]:" + port
	if u.Scheme == "smtps" && port != "465" { // where TLS begins with the connection anyway
		s.host = "smtps://" + s.host
	}
	return s, nil
}

// authFile holds the user and password for the smarthost.
const authFile = "smarthost.auth"

// stamp is the first line of a file that a profile has changed.
const stamp = "# This host as \"zmailer init\" set it up; change it as you like, it is yours.\n"

// files are what the profile needs to have in the configuration directory. An
// empty text means that the stock file does, or that there is no such file.
func (p *profile) files(etc string, stock map[string]string) (map[string]string, error) {
	files := map[string]string{
		"db/routes": stock["db/routes"], "db/relays": "", authFile: "",
		"router.cf": stock["router.cf"], "scheduler.conf": stock["scheduler.conf"], "smtpserver.conf": stock["smtpserver.conf"],
	}
	if len(p.relayFor) > 0 {
		files["smtpserver.conf"] += "\n" + stamp + "relay_for " + strings.Join(p.relayFor, " ") + "\n"
	}
	switch {
	case p.smart != nil:
		return files, p.nullClient(files, etc)
	case p.public():
		files["smtpserver.conf"] += p.certificateLine()
		if len(p.backup) > 0 {
			files["db/relays"] = stamp + "# Domains whose mail waits here while their own hosts are away.\n" + strings.Join(p.backup, "\n") + "\n"
		}
		return files, nil
	}
	files["db/routes"] += "\n" + stamp + ". error!this host sends no mail to others\n"
	return files, nil
}

// nullClient: nothing is delivered here. Aliases work still, so that
// "root: ops@example.org" needs no account on the smarthost.
func (p *profile) nullClient(files map[string]string, etc string) error {
	if !p.local {
		files["router.cf"] += "\n" + stamp + `# Users are known to the smarthost, not here.
routeuser() { # LOCAL DOMAIN
	alias_for "$1" "$1" && return
	deliver smtp "$SMARTHOST" "$(addr_join "$1" "$MYDOMAIN")"
}
`
	}
	if p.smart.user == "" {
		return nil
	}
	const plain = "command='smtp'"
	options := " -A " + filepath.Join(etc, authFile)
	if !p.smart.loopback {
		options += " -S verify"
	}
	text := files["scheduler.conf"]
	if strings.Count(text, plain) != 1 {
		return fmt.Errorf("scheduler.conf: no single clause with %s", plain)
	}
	files["scheduler.conf"] = strings.Replace(text, plain, "command='smtp"+options+"'", 1)
	files[authFile] = "# HOST USER PASSWORD\n" + p.smart.host + " " + p.smart.user + " " + p.smart.password + "\n"
	return nil
}

// certificateLine has STARTTLS offered, which senders want to see.
func (p *profile) certificateLine() string {
	return "\n" + stamp + "tls " + p.cert + " " + p.key + "\n"
}

// addresses are what the server listens on.
func (p *profile) addresses(port string) string {
	switch {
	case !p.public() && len(p.relayFor) == 0:
		return net.JoinHostPort("127.0.0.1", port)
	case p.bind != "":
		return net.JoinHostPort(strings.Trim(p.bind, "[]"), port)
	}
	return "0.0.0.0:" + port + " [::]:" + port
}

// check finds what does not go together.
func (p *profile) check() error {
	n := 0
	for _, set := range []bool{p.smart != nil, p.internet, len(p.backup) > 0} {
		if set {
			n++
		}
	}
	switch {
	case n > 1 && !(n == 2 && p.internet && len(p.backup) > 0):
		return proc.Exit(proc.Usage, "--smarthost does not go with --internet and --backup-mx")
	case p.local && p.smart == nil:
		return proc.Exit(proc.Usage, "--local goes with --smarthost")
	case (p.cert == "") != (p.key == ""):
		return proc.Exit(proc.Usage, "--cert and --key go together")
	case p.cert != "" && !p.public():
		return proc.Exit(proc.Usage, "--cert and --key go with --internet and --backup-mx")
	case p.bind != "" && !p.public() && len(p.relayFor) == 0:
		return proc.Exit(proc.Usage, "--listen goes with --internet, --backup-mx and --relay-for")
	case p.bind != "" && net.ParseIP(strings.Trim(p.bind, "[]")) == nil:
		return proc.Exit(proc.Usage, "--listen %s: want an IP address", p.bind)
	}
	for _, n := range p.relayFor {
		if _, _, err := net.ParseCIDR(n); err != nil && net.ParseIP(n) == nil {
			return proc.Exit(proc.Usage, "--relay-for %s: want an address, or a network such as 192.0.2.0/24", n)
		}
	}
	for i, d := range p.backup {
		c := canonical(strings.TrimPrefix(d, "."))
		if c == "" || strings.HasPrefix(c, "[") {
			return proc.Exit(proc.Usage, "--backup-mx %s: not a domain", d)
		}
		if strings.HasPrefix(d, ".") {
			c = "." + c
		}
		p.backup[i] = c
	}
	return nil
}
