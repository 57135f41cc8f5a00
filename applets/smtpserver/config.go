package smtpserver

import (
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// Stock is the smtpserver.conf of a new instance. It is also what runs when an
// instance has none.
//
//go:embed smtpserver.conf
var Stock []byte

// A role is what a listener is for.
type role string

const (
	roleMX         role = "mx"         // mail for our domains
	roleSubmission role = "submission" // mail from our users only
	roleLMTP       role = "lmtp"       // RFC 2033
)

// limits are the bounds an administrator may want to move.
type limits struct {
	size       int64 // octets of a message
	rcpts      int   // recipients of a message
	sessions   int   // at the same time
	perAddress int   // of one IPv4 address or IPv6 /64 of a stranger
	errors     int   // of the protocol, in a session
	rejects    int   // refused recipients and messages in a session
	idle       int   // commands that lead to no mail, in a session
	logins     int   // failed ones of one neighbourhood, in ten to twenty minutes
	userLogins int   // failed ones of one user, likewise
	free       int64 // octets of disk that are left alone
	routers    int   // router processes that are asked; each answers many questions at once

	command  time.Duration // for the next command
	data     time.Duration // for the next piece of a message
	router   time.Duration // for an answer of the router
	hook     time.Duration // for one call of policy
	shutdown time.Duration // for sessions in the middle of a message
	rate     int64         // octets a second a message must have in the long run
}

func defaultLimits() limits {
	return limits{
		size: 50 << 20, rcpts: 1000, sessions: 1000, perAddress: 50, errors: 10, rejects: 100, idle: 100, logins: 20, userLogins: 100,
		free: 64 << 20, routers: 1,
		command: 5 * time.Minute, data: 3 * time.Minute, router: 30 * time.Second, hook: 10 * time.Second,
		shutdown: 10 * time.Second, rate: 100,
	}
}

// hooks tells which functions the policy defines.
type hooks struct{ connect, helo, mail, rcpt, data, message bool }

// asks tells which questions are put to the router.
type asks struct{ mail, rcpt, vrfy, expn bool }

// A config is smtpserver.conf as loaded. It never changes.
type config struct {
	conf              *shellcfg.Conf
	listens           []listenSpec
	relay             []netip.Prefix
	proxies, xclients []netip.Prefix
	etrns             []netip.Prefix
	by                byRule
	limits            limits
	tls               *tls.Config // nil: no certificate
	askingTLS         *tls.Config // the same, where clients are asked for theirs; nil: nowhere
	prog              *shell.Program
	hooks             hooks
	asks              asks
	checks            checks
	milters           []*milterSpec
	contact           string
	shared            *relations.Relation // where a fleet counts together; nil: here

	auth    authentication
	senders senders

	log     *slog.Logger
	carried carried
	certs   certificates
	acme    *acmeSpec // nil: no authority is asked
	minTLS  uint16
	ciphers []uint16 // of TLS 1.2; nil: Go's
	use     usage
}

// loadConfig runs the instance's smtpserver.conf, or the stock one. Errors name
// file and line.
func loadConfig(ctx context.Context, conf *shellcfg.Conf, log *slog.Logger) (*config, error) {
	return carried{}.load(ctx, conf, log)
}

// carried is what outlives a reload.
type carried struct {
	keeper *keyKeeper
	acme   *acmeClient
}

func (k carried) load(ctx context.Context, conf *shellcfg.Conf, log *slog.Logger) (*config, error) {
	file := conf.Path("smtpserver.conf")
	src, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		file, src = "smtpserver.conf (built in)", Stock
	case err != nil:
		return nil, fmt.Errorf("smtpserver.conf: %w", err)
	}
	return k.run(ctx, conf, log, file, bytes.NewReader(src))
}

func runConfig(ctx context.Context, conf *shellcfg.Conf, log *slog.Logger, file string, src io.Reader) (*config, error) {
	return carried{}.run(ctx, conf, log, file, src)
}

func (k carried) run(ctx context.Context, conf *shellcfg.Conf, log *slog.Logger, file string, src io.Reader) (*config, error) {
	c := &config{conf: conf, log: log, carried: k, minTLS: tls.VersionTLS12, limits: defaultLimits(), asks: asks{rcpt: true}}
	vars := conf.Vars()
	if vars["PATH"] == "" {
		vars["PATH"] = "/usr/local/bin:/usr/bin:/bin"
	}
	prog, err := shell.Load(ctx, shell.Options{
		Commands: c.commands(),
		Vars:     vars,
		Open:     shell.FileOpener,
		External: true,
		Log: func(pos shell.Position, line string) {
			log.Warn("policy", "at", pos.String(), "text", line)
		},
	}, file, src)
	if err != nil {
		return nil, err
	}
	c.prog = prog
	c.hooks = hooks{
		connect: prog.HasFunc("smtp_connect"), helo: prog.HasFunc("smtp_helo"), mail: prog.HasFunc("smtp_mail"),
		rcpt: prog.HasFunc("smtp_rcpt"), data: prog.HasFunc("smtp_data"), message: prog.HasFunc("smtp_message"),
	}
	if len(c.listens) == 0 {
		for _, addr := range strings.FieldsFunc(conf.SMTPListen, func(r rune) bool { return r == ' ' || r == ',' }) {
			spec, err := parseListen([]string{addr})
			if err != nil {
				return nil, fmt.Errorf("%s: SMTPLISTEN=%s: %w", conf.File, conf.SMTPListen, err)
			}
			c.listens = append(c.listens, spec)
		}
	}
	if k.acme != nil && c.acme != nil && k.acme.spec.equal(c.acme) {
		c.useACME(k.acme)
	}
	c.makeTLS()
	c.auth.tokens = prog.HasFunc("smtp_token")
	if err := c.checkAuth(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.checkMilters(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, c.check(file)
}

// makeTLS makes the configurations of TLS. Certificates of an authority may be yet
// to come.
func (c *config) makeTLS() {
	if len(c.certs) == 0 && c.acme == nil {
		return
	}
	c.tls = serverTLS(c.certs, c.minTLS, c.ciphers)
	if c.auth.external != nil {
		c.askingTLS = c.auth.external.asking(c.tls)
	}
}

// useACME takes the certificates of a client of the authority.
func (c *config) useACME(a *acmeClient) {
	for _, cert := range a.ready {
		c.certs = append(c.certs, cert)
	}
	c.makeTLS()
}

// check finds what only the whole file can show.
func (c *config) check(file string) error {
	c.limits.sessions = min(c.limits.sessions, sessionsFor(descriptors()))
	seen := make(map[string]bool)
	for _, l := range c.listens {
		if seen[l.key()] {
			return fmt.Errorf("%s: listen %s: given twice", file, l.addr)
		}
		seen[l.key()] = true
		if l.tls && c.tls == nil {
			return fmt.Errorf("%s: listen %s tls: no certificate (tls CERT KEY, or acme NAME)", file, l.addr)
		}
	}
	return nil
}

// relays tells whether a client at ip may send to everybody.
func (c *config) relays(ip netip.Addr) bool {
	return contains(c.relay, ip)
}

// trusts tells whether the administrator knows the client: many sessions from
// there are no attack.
func (c *config) trusts(ip netip.Addr) bool {
	return ip.IsLoopback() || c.relays(ip) || contains(c.xclients, ip)
}

// CheckConf loads the instance's configuration and returns what is wrong with it.
func CheckConf(ctx context.Context, conf *shellcfg.Conf) error {
	_, err := loadConfig(ctx, conf, slog.New(slog.DiscardHandler))
	return err
}

// Check is CheckConf with warnings, for a command.
func Check(ctx context.Context, conf *shellcfg.Conf, warnings io.Writer) error {
	_, err := loadConfig(ctx, conf, slog.New(slog.NewTextHandler(warnings, nil)))
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	return nil
}

// sessionsFor is how many sessions n descriptors are enough for: a connection and a
// message file each, besides what the server has for itself. Without that bound they
// would hold all of them, wait for the router, and keep each other from reaching it.
func sessionsFor(n uint64) int { return max(1, int(min(n, 1<<30)-min(n, 24))/2) }

// descriptors is how many the process may have.
func descriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024
	}
	return limit.Cur
}
