package smtpserver

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg/shell"
)

// commands are the words of smtpserver.conf. The first group declares, while the
// file is loaded; the second decides, in a hook.
func (c *config) commands() map[string]shell.Command {
	return map[string]shell.Command{
		"listen":       c.declare(c.listen),
		"tls":          c.declare(c.certificate),
		"relay_for":    c.declare(c.relayFor),
		"passwords":    c.declare(c.passwordFile),
		"auth_with":    c.declare(c.authWith),
		"auth_offer":   c.declare(c.authOffer),
		"auth_clear":   c.declare(c.authClear),
		"client_certs": c.declare(c.clientCerts),
		"senders":      c.declare(c.senderLogins),
		"limit":        c.limitCommand,
		"ask":          c.declare(c.ask),
		"proxy_from":   c.declare(c.proxyFrom),
		"xclient_from": c.declare(c.xclientFrom),
		"etrn_from":    c.declare(c.etrnFrom),
		"deliverby":    c.declare(c.deliverByRule),
		"contact":      c.declare(c.contactText),
		"shared":       c.declare(c.sharedStore),
		"verify":       c.declare(c.verify),
		"arc_trust":    c.declare(c.arcTrust),
		"relation":     c.declare(c.relation),
		"tls_profile":  c.declare(c.tlsProfile),
		"milter":       c.declare(c.milterDecl),
		"acme":         c.declare(c.acmeLine),

		"reject":    decide(func(v *verdict, args []string) error { v.refusal = parseReply(5, args); return nil }),
		"defer":     decide(func(v *verdict, args []string) error { v.refusal = parseReply(4, args); return nil }),
		"relay":     decide(func(v *verdict, args []string) error { v.relay = true; return noArgs(args) }),
		"login":     decide(loginCommand),
		"freeze":    decideFor(freezeCommand),
		"tag":       decideFor(tagCommand),
		"delay":     decideFor(delayCommand),
		"client_in": clientIn,

		"dnsbl":       dnsbl,
		"rate":        rate,
		"greylisted":  about(greyCommand),
		"spf":         about(spfCommand),
		"has_name":    about(hasName),
		"helo_ok":     about(heloOK),
		"takes_mail":  about(takesMail),
		"talks_early": about(talksEarly),

		"add_header": addHeader,
		"header":     headerCommand,
		"introspect": c.introspect,
		"filter":     filter,
		"attachment": attachment,
	}
}

// declare makes a command of f that works only while the file is loaded, and
// ends the loading with the error and its position.
func (c *config) declare(f func(call *shell.Call) error) shell.Command {
	return func(call *shell.Call) int {
		err := errors.New("belongs outside of functions: it declares, and clients are waiting")
		if call.Loading() {
			err = f(call)
		}
		if err != nil {
			return call.Fail(fmt.Errorf("%s: %w", call.Name, err))
		}
		return 0
	}
}

func noArgs(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no argument, got %q", args[0])
	}
	return nil
}

// listen ADDRESS[:PORT] [mx|submission|lmtp] [tls]
func (c *config) listen(call *shell.Call) error {
	spec, err := parseListen(call.Args)
	if err == nil {
		c.listens = append(c.listens, spec)
	}
	return err
}

// path makes a file name relative to the directory of the configuration.
func (c *config) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return c.conf.Path(name)
}

// relay_for NETWORK...
func (c *config) relayFor(call *shell.Call) error {
	return addNetworks(&c.relay, call.Args)
}

// parseNetwork reads an address or a prefix. Bits beyond the prefix are an
// error: 10.1.2.3/8 is more likely a slip than a wish.
func parseNetwork(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%s: not an address or network", s)
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s: not an address or network", s)
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s: write it as an IPv4 network", s)
	case p.Masked() != p:
		return p, fmt.Errorf("%s: the network is %s", s, p.Masked())
	}
	return p, nil
}

// ask mail|rcpt|vrfy|expn...: what the router is asked. Given once, it replaces
// the default, which is rcpt alone.
func (c *config) ask(call *shell.Call) error {
	c.asks = asks{}
	for _, arg := range call.Args {
		switch arg {
		case "mail":
			c.asks.mail = true
		case "rcpt":
			c.asks.rcpt = true
		case "vrfy":
			c.asks.vrfy = true
		case "expn":
			c.asks.expn = true
		default:
			return fmt.Errorf("%s: want mail, rcpt, vrfy or expn", arg)
		}
	}
	if !c.asks.rcpt {
		return errors.New("rcpt must be asked: without it nobody knows which domains are ours")
	}
	return nil
}

// set reads NAME=VALUE... In a session only what has not been used up by its
// beginning can be changed.
func (l *limits) set(args []string, session bool) error {
	numbers := map[string]*int{"rcpts": &l.rcpts, "errors": &l.errors, "rejects": &l.rejects, "idle": &l.idle}
	sizes := map[string]*int64{"size": &l.size, "rate": &l.rate}
	times := map[string]*time.Duration{"command": &l.command, "data": &l.data, "hook": &l.hook}
	if !session {
		maps.Copy(numbers, map[string]*int{
			"sessions": &l.sessions, "per_address": &l.perAddress, "logins": &l.logins, "user_logins": &l.userLogins, "routers": &l.routers,
		})
		sizes["free"] = &l.free
		maps.Copy(times, map[string]*time.Duration{"router": &l.router, "shutdown": &l.shutdown})
	}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		var err error
		if p := numbers[name]; p != nil {
			*p, err = parseNumber(value)
		} else if p := sizes[name]; p != nil {
			*p, err = parseSize(value)
		} else if p := times[name]; p != nil {
			*p, err = time.ParseDuration(value)
			if err == nil && *p <= 0 {
				err = errors.New("must be longer than nothing")
			}
		} else {
			err = errors.New("no such limit")
			if session {
				err = errors.New("no such limit of a session")
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
	}
	return nil
}

func parseNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, errors.New("want a number above 0")
	}
	return int(n), nil
}

// parseSize reads a number of octets, with K, M or G for the powers of 1024.
func parseSize(s string) (int64, error) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMG", s[len(s)-1]&^0x20); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 || n > math.MaxInt64>>(shift+1) {
		return 0, errors.New("want a size, such as 50M")
	}
	return int64(n) << shift, nil
}
