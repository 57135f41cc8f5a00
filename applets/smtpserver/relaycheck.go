package smtpserver

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// foreignDomain is nobody's, for ever: RFC 6761 §6.4. What goes there or to
// foreignHosts was relayed.
const foreignDomain = "relay-check.invalid"

var foreignHosts = []string{foreignDomain, "192.0.2.77", "2001:db8::77"}

// relayClients are strangers of every kind: addresses for documentation and some
// that anybody may have.
var relayClients = []string{"192.0.2.1", "198.51.100.25", "203.0.113.7", "8.8.4.4", "2001:db8::25", "2606:4700::1"}

// relaySenders and relayRcpts are what open relays have been found with; OURS
// stands for the domain of the instance.
var (
	relaySenders = []string{"", "joe@OURS", "postmaster@OURS", "joe@" + foreignDomain, "joe@[127.0.0.1]", `"joe@OURS"@` + foreignDomain}
	relayRcpts   = []string{
		"a@" + foreignDomain, "A@Relay-Check.INVALID.", "a@sub." + foreignDomain,
		"a%" + foreignDomain + "@OURS", "a%" + foreignDomain + "@[127.0.0.1]", "a%" + foreignDomain,
		foreignDomain + "!a@OURS", foreignDomain + "!a", "OURS!" + foreignDomain + "!a",
		`"a@` + foreignDomain + `"@OURS`, `"a%` + foreignDomain + `"@OURS`, "a@" + foreignDomain + "@OURS",
		"@OURS:a@" + foreignDomain, "@OURS,@HOST:a@" + foreignDomain, "a%" + foreignDomain + "@HOST",
		"a@[192.0.2.77]", "a@[IPv6:2001:db8::77]", "a@192.0.2.77", `"` + foreignDomain + `!a"@OURS`,
		`" "@` + foreignDomain, "a+b@" + foreignDomain + "%OURS", "|cat@OURS", "/etc/passwd@OURS",
	}
)

// A RelayReport is the outcome of CheckRelay.
type RelayReport struct {
	Tried int      // combinations of client, sender and recipient
	Open  []string // what would be relayed, and for whom
}

// CheckRelay puts strangers, senders and recipients of all forms to the actual
// configuration: the sessions are real, and so are the policy functions and the
// router that is asked. A refusal by the policy does not count, since it may
// depend on what a check cannot know, but what it grants does. router makes the
// command that is asked; nil is the instance's.
func CheckRelay(ctx context.Context, conf *shellcfg.Conf, router func() *exec.Cmd) (*RelayReport, error) {
	log := slog.New(slog.DiscardHandler)
	cfg, err := loadConfig(ctx, conf, log)
	if err != nil {
		return nil, err
	}
	return checkRelay(ctx, conf, cfg, router)
}

func checkRelay(ctx context.Context, conf *shellcfg.Conf, cfg *config, router func() *exec.Cmd) (*RelayReport, error) {
	log := slog.New(slog.DiscardHandler)
	if router == nil {
		var err error
		if router, err = routerCommand(conf); err != nil {
			return nil, err
		}
	}
	sp, err := conf.OpenSpool()
	if err != nil {
		return nil, err
	}
	p, err := policy.Load(ctx, policy.Config{Conf: conf, Log: log})
	if err != nil {
		return nil, err
	}
	defer p.Close() // its tables are only read
	cfg.limits.rejects, cfg.limits.errors, cfg.limits.idle, cfg.limits.free = maxLocal, maxLocal, maxLocal, 0
	r := relayCheck{conf: conf, cfg: cfg, policy: p, srv: newServer(log, sp, cfg), report: new(RelayReport)}
	a := newAsker(log, source{command: router}, 1, cfg.limits.router)
	defer a.close()
	r.srv.asker.Store(a)
	type kind struct {
		role  role
		local bool
	}
	tried := map[kind]bool{}
	for _, l := range cfg.listens {
		k := kind{l.role, l.network == "unix"}
		if tried[k] {
			continue
		}
		tried[k] = true
		clients := relayClients
		if k.local {
			clients = []string{""} // whoever may use the socket
		}
		for _, client := range clients {
			ip, _ := netip.ParseAddr(client) // not valid: a local socket
			if err := r.client(ctx, l.role, ip); err != nil {
				return nil, fmt.Errorf("relay check as %s: %w", cmp.Or(client, "local client"), err)
			}
		}
	}
	return r.report, nil
}

type relayCheck struct {
	conf   *shellcfg.Conf
	cfg    *config
	policy *policy.Policy
	srv    *server
	report *RelayReport
}

// client speaks as a stranger.
func (r *relayCheck) client(ctx context.Context, as role, ip netip.Addr) error {
	if r.cfg.relays(ip) {
		r.report.Open = append(r.report.Open, fmt.Sprintf("%s may send to everybody: relay_for is too wide", ip))
		return nil
	}
	near, far := net.Pipe()
	s := &session{
		srv: r.srv, cfg: r.cfg, limits: &r.cfg.limits, log: r.srv.log, ctx: ctx, conn: far, role: as, probe: true,
		client: ip, clientText: clientText(ip), name: found("unknown"), begun: time.Now(),
	}
	s.in.init(far, s.beforeRead)
	done := make(chan struct{})
	go func() { defer close(done); s.run() }()
	defer func() { near.Close(); <-done }()
	if err := near.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return err
	}
	talk := &relayTalk{conn: near, r: bufio.NewReader(near)}
	if code := talk.reply(); code != 220 {
		return fmt.Errorf("greeting %d: %v", code, talk.err)
	}
	hello := "EHLO "
	if as == roleLMTP {
		hello = "LHLO "
	}
	talk.say(hello + foreignDomain)
	for _, sender := range relaySenders {
		sender = r.ours(sender)
		if talk.say("MAIL FROM:<"+sender+">") != 250 {
			r.report.Tried += len(relayRcpts)
			continue
		}
		for _, rcpt := range relayRcpts {
			rcpt = r.ours(rcpt)
			r.report.Tried++
			if talk.say("RCPT TO:<"+rcpt+">") == 250 {
				r.accepted(ctx, as, ip, sender, rcpt)
			}
		}
		talk.say("RSET")
	}
	return talk.err
}

func (r *relayCheck) ours(s string) string {
	return strings.NewReplacer("OURS", r.conf.MyDomain, "HOST", r.conf.Hostname).Replace(s)
}

// accepted follows a recipient that was taken to where its mail would go. One of
// our domain that another host of ours gets as it is, such as a%b@OURS, is no relay:
// what that makes of it is its own policy.
func (r *relayCheck) accepted(ctx context.Context, as role, ip netip.Addr, sender, rcpt string) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.limits.router)
	defer cancel()
	addr, _, err := path("<" + rcpt + ">")
	if err != nil {
		return // it was not taken, then
	}
	s := r.policy.Session(ctx, &policy.Message{ID: string(spool.NewID()), Sender: sender, Client: clientText(ip), External: true})
	defer s.Close()
	s.Route(policy.Recipient{Addr: addr.String()}, func(d *policy.Decision) bool {
		to := d.User
		if a, err := rfc5322.ParseAddress(to); err == nil {
			to = a.Domain
		}
		for _, host := range foreignHosts {
			if d.Action == policy.Deliver && d.Channel != "local" && strings.Contains(strings.ToLower(d.Host+" "+to), host) {
				r.report.Open = append(r.report.Open, fmt.Sprintf("%s as %s, from <%s> to <%s>: %s", clientText(ip), as, sender, rcpt, d))
				return false
			}
		}
		return true
	})
}

// relayTalk is the client's end of the session.
type relayTalk struct {
	conn net.Conn
	r    *bufio.Reader
	err  error
}

func (t *relayTalk) say(line string) int {
	if t.err == nil {
		_, t.err = io.WriteString(t.conn, line+"\r\n")
	}
	return t.reply()
}

// reply reads a reply and returns its code, 0 after an error.
func (t *relayTalk) reply() (code int) {
	for t.err == nil {
		var line string
		if line, t.err = t.r.ReadString('\n'); t.err != nil {
			break
		}
		if len(line) < 4 {
			t.err = fmt.Errorf("reply %q", line)
		} else if line[3] == ' ' {
			code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
			return code
		}
	}
	return 0
}

// relayCommand is smtpserver --check-relay.
func relayCommand(ctx context.Context, conf *shellcfg.Conf, out io.Writer) error {
	report, err := CheckRelay(ctx, conf, nil)
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	for _, line := range report.Open {
		if _, err := fmt.Fprintln(out, "open relay: "+line); err != nil {
			return proc.Exit(proc.IOErr, "%w", err)
		}
	}
	if len(report.Open) > 0 {
		return proc.Silent(proc.Config)
	}
	_, err = fmt.Fprintf(out, "no open relay: %d combinations of client, sender and recipient\n", report.Tried)
	return err
}
