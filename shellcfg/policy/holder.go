package policy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/users"
)

// checkEvery is how often a holder looks whether its configuration has changed.
const checkEvery = 2 * time.Second

// loadTime bounds the loading of a configuration, and acceptTime its check and
// tests, which may have many aliases to route.
const (
	loadTime   = time.Minute
	acceptTime = 10 * time.Minute
)

// A Holder has the current version of a policy and puts a new one in its place
// when the files change. It is safe for concurrent use.
type Holder struct {
	cfg     Config
	reloads sync.Mutex // held by the one reload under way

	mu      sync.Mutex
	current *version
	failed  *Policy // the newest version, if it did not load
}

// version counts who uses a policy, to close it when the last one is done.
type version struct {
	policy *Policy
	users  int
	old    bool
}

// NewHolder loads the configuration for the first time.
func NewHolder(ctx context.Context, c Config) (*Holder, error) {
	if c.DNS == nil {
		dns, err := resolver.New(resolver.Config{Log: c.Log})
		if err != nil {
			return nil, fmt.Errorf("resolver: %w", err)
		}
		c.DNS = dns // the cache outlives a version
	}
	if c.Users == nil {
		src := users.System(c.Conf.Path("db/users"))
		src.Log = c.Log
		c.Users = users.New(src)
	}
	p, err := Load(ctx, c)
	if err != nil {
		return nil, err
	}
	return &Holder{cfg: c, current: &version{policy: p}}, nil
}

// Users are the local users, by whom all versions are asked.
func (h *Holder) Users() *users.Users { return h.cfg.Users }

// Conf is the zmailer.conf of the current version.
func (h *Holder) Conf() *shellcfg.Conf {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.policy.conf
}

// Acquire returns the current version for the time until release is called.
func (h *Holder) Acquire() (p *Policy, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.current
	v.users++
	return v.policy, func() { h.release(v) }
}

func (h *Holder) release(v *version) {
	h.mu.Lock()
	v.users--
	last := v.old && v.users == 0
	h.mu.Unlock()
	if last {
		h.close(v.policy)
	}
}

func (h *Holder) close(p *Policy) {
	if err := p.Close(); err != nil {
		p.log.Error("close configuration", "config", p.Version, "err", err)
	}
}

// Reload loads the configuration anew, zmailer.conf included. If that fails, or
// Accept refuses it, the current version goes on.
func (h *Holder) Reload(ctx context.Context) error {
	h.reloads.Lock() // what is accepted is what takes over
	defer h.reloads.Unlock()
	seen := look(h.cfg.Conf.File)
	conf, err := shellcfg.LoadConf(h.cfg.Conf.File)
	if err != nil {
		h.mu.Lock()
		h.failed = &Policy{sources: []source{seen}} // what else has changed counts when this is mended
		h.mu.Unlock()
		return err
	}
	c := h.cfg
	c.Conf = conf
	p, err := h.candidate(ctx, c)
	h.mu.Lock()
	if err != nil {
		h.failed = p
		h.mu.Unlock()
		return err
	}
	v := h.current
	h.current, h.failed = &version{policy: p}, nil
	v.old = true
	unused := v.users == 0
	h.mu.Unlock()
	if unused {
		h.close(v.policy)
	}
	return nil
}

// candidate loads the version that is to take over. With an error it knows its
// sources only.
func (h *Holder) candidate(ctx context.Context, c Config) (*Policy, error) {
	loading, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	p, err := load(loading, c)
	if err != nil || c.Accept == nil {
		return p, err
	}
	accepting, cancel := context.WithTimeout(ctx, acceptTime)
	defer cancel()
	if err := c.Accept(accepting, c.Conf); err != nil {
		return p, errors.Join(err, p.Close())
	}
	if p.Changed() { // under the hands of Accept
		return p, errors.Join(errMoved, p.Close())
	}
	return p, nil
}

var errMoved = errors.New("the files changed while they were checked")

// changed tells whether files differ from the newest version, good or bad.
func (h *Holder) changed() bool {
	h.mu.Lock()
	p := h.current.policy
	if h.failed != nil {
		p = h.failed
	}
	h.mu.Unlock()
	return p.Changed()
}

// Watch reloads the configuration when it changes, until the context ends. The
// outcome is logged.
func (h *Holder) Watch(ctx context.Context) {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if h.changed() {
			h.ReloadLogged(ctx)
		}
	}
}

// ReloadLogged is Reload for those who can only tell the log.
func (h *Holder) ReloadLogged(ctx context.Context) {
	old := h.version()
	switch err := h.Reload(ctx); {
	case errors.Is(err, context.Canceled):
	case err != nil:
		h.cfg.Log.Error("configuration does not load, the old one goes on", "config", old, "err", err)
	default:
		h.cfg.Log.Info("configuration loaded", "config", h.version())
	}
}

func (h *Holder) version() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.policy.Version
}

// Close closes the current version.
func (h *Holder) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.current.policy.Close()
}
