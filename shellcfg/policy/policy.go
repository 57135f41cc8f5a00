package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"maps"
	"strconv"
	"sync"

	"zmailer/shellcfg"
	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/shell"
	"zmailer/shellcfg/users"
	"zmailer/spool/rfc5322"
)

// A Config is what a policy is loaded with.
type Config struct {
	Conf  *shellcfg.Conf
	Log   *slog.Logger      // nil: nothing is logged
	DNS   resolver.Resolver // nil: the servers of resolv.conf
	Users *users.Users      // nil: db/users and the system's

	// Accept, if set, has the last word about a changed configuration that a Holder
	// has loaded: with an error the old version goes on.
	Accept func(context.Context, *shellcfg.Conf) error

	Fakes    map[string]Fake   // in a test: tables with declared content
	Isolated bool              // in a test: tables that are not in Fakes are empty
	Vars     map[string]string // in a test: variables of zmailer.conf that differ
	Trace    *shell.Trace
}

// A Fake is the content of a table in a test.
type Fake struct {
	Entries [][2]string // keys and values
	Fails   bool        // every lookup fails
}

// Bounds of the evaluation of one address. A message has as many of them as it
// has addresses; MaxRoutes and the context bound the whole.
const (
	fuel      = 100_000
	depth     = 64
	maxOutput = 32 << 20
)

// A Policy is one version of the configuration.
type Policy struct {
	Version string // hash of all sources

	conf     *shellcfg.Conf
	log      *slog.Logger
	users    *users.Users
	vars     map[string]string // Config.Vars
	dns      resolver.Resolver
	prog     *shell.Program
	tables   []*relations.Relation
	built    []Build
	sources  []source   // files that the version was made from, or that were missing
	presence []presence // files that decided by being there
	nobody   int
	sessions sync.Pool
	owners   owners

	// Functions that a policy may have. Without them there is nothing to call.
	hasProcess, hasIntercept, hasCrossbar, hasRewrite, hasMailfrom bool
}

// Load loads router.cf, or the stock policy if there is none.
func Load(ctx context.Context, c Config) (*Policy, error) {
	p, err := load(ctx, c)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// load returns a policy with an error too, which knows its sources only.
func load(ctx context.Context, c Config) (*Policy, error) { return loadFrom(ctx, c, false) }

func loadFrom(ctx context.Context, c Config, stock bool) (*Policy, error) {
	p := &Policy{conf: c.Conf, log: c.Log, users: c.Users, vars: c.Vars, dns: c.DNS}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.users == nil {
		p.users = users.New(users.System(c.Conf.Path("db/users")))
	}
	l := &loader{p: p, cfg: c, pure: stock, hash: sha256.New(), faked: make(map[string]bool)}
	if p.dns == nil {
		dns, err := resolver.New(resolver.Config{Log: p.log})
		if err != nil {
			return p, err
		}
		p.dns = dns
	}
	p.sources = append(p.sources, look(c.Conf.File))
	l.env = relations.Env{Log: p.log, DNS: p.dns}
	if err := p.findNobody(); err != nil {
		return p, err
	}
	if err := l.load(ctx); err != nil {
		return p, errors.Join(err, p.Close())
	}
	l.loaded = true
	p.Version = hex.EncodeToString(l.hash.Sum(nil))[:12]
	p.hasProcess = p.prog.HasFunc("process")
	p.hasIntercept = p.prog.HasFunc("intercept")
	p.hasCrossbar = p.prog.HasFunc("crossbar")
	p.hasRewrite = p.prog.HasFunc("rewrite")
	p.hasMailfrom = p.prog.HasFunc("mailfrom")
	return p, nil
}

// loader is the state of loading one version.
type loader struct {
	p     *Policy
	cfg   Config
	env   relations.Env
	hash  hash.Hash
	faked map[string]bool // fakes that a declaration has taken
	pure  bool            // the stock policy, whatever $MAILVAR has

	loaded bool // from here on many sessions use it at once
}

func (l *loader) load(ctx context.Context) error {
	file, text, err := l.main()
	if err != nil {
		return err
	}
	defer text.Close()
	vars := l.p.conf.Vars()
	maps.Copy(vars, l.cfg.Vars)
	if vars["PATH"] == "" {
		vars["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for _, name := range []string{"HOSTNAME", "MYDOMAIN"} {
		if d, err := rfc5322.CanonicalDomain(vars[name]); err == nil {
			vars[name] = d // compared with domains in this form
		}
	}
	l.p.prog, err = shell.Load(ctx, shell.Options{
		Commands: l.commands(), Vars: vars,
		Fuel: fuel, Depth: depth, MaxOutput: maxOutput,
		Open: l.open, Examined: l.examined, External: true, NoEval: true, Log: l.p.logLine, Trace: l.cfg.Trace,
	}, file, text)
	if err != nil {
		return err
	}
	for name := range l.cfg.Fakes {
		if !l.faked[name] {
			return fmt.Errorf("%s: no table %s is declared", file, name)
		}
	}
	for _, fn := range []string{"router", "member"} {
		if !l.p.prog.HasFunc(fn) {
			return fmt.Errorf("%s: function %s is not defined (source cf/router.cf, which has all of them)", file, fn)
		}
	}
	return nil
}

// logLine logs what a policy prints to standard error.
func (p *Policy) logLine(pos shell.Position, line string) {
	p.log.Warn("policy", "why", pos.String(), "err", line)
}

// Close gives tables and connections back. No session may be open.
func (p *Policy) Close() error {
	var err error
	for _, t := range p.tables {
		err = errors.Join(err, t.Close())
	}
	return err
}

// Program is the loaded program, for tools that look at it.
func (p *Policy) Program() *shell.Program { return p.prog }

// Tables are the declared tables, for tools and statistics.
func (p *Policy) Tables() []*relations.Relation { return p.tables }

// A Build is a table that is compiled from a file that people write.
type Build struct {
	Spec   relations.Spec // of the file; its Type says how to read it
	Target string         // the compiled table
}

// Builds are what the policy declares with "table" and has a file, and tables of
// type cdb beside whose file X.cdb there is a file X of keys and values.
func (p *Policy) Builds() []Build { return p.built }

// Nobody is the uid without rights.
func (p *Policy) Nobody() int { return p.nobody }

// findNobody takes NOBODY of zmailer.conf, a number or a name, or else the user
// nobody, or else the number that Linux reserves.
func (p *Policy) findNobody() error {
	p.nobody = 65534
	name := p.conf.Get("NOBODY")
	if n, err := strconv.Atoi(name); err == nil && n >= 0 {
		p.nobody = n
		return nil
	}
	given := name != ""
	if !given {
		name = "nobody"
	}
	u, found, err := p.users.Lookup(name)
	switch {
	case found:
		p.nobody = u.UID
	case given && err != nil:
		return fmt.Errorf("NOBODY=%s: %w", name, err)
	case given:
		return fmt.Errorf("NOBODY=%s: no such user", name)
	}
	return nil
}
