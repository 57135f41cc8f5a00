package resolver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"zmailer/shellcfg/internal/lru"
	"zmailer/shellcfg/internal/watch"
)

// Config of a Client. The zero value asks the servers of /etc/resolv.conf.
type Config struct {
	ResolvConf string        // path; "" is /etc/resolv.conf
	Hosts      string        // path; "" is /etc/hosts, "-" is none
	Servers    []string      // asked instead of those in ResolvConf: ip or ip:port
	Timeout    time.Duration // for one server; 0: from ResolvConf
	Attempts   int           // rounds through the servers; 0: from ResolvConf
	TrustAD    bool          // believe the AD bit of servers that are not on this host
	CacheSize  int           // answers kept; 0: 20000, negative: none
	MaxTTL     time.Duration // 0: a day
	MaxNegTTL  time.Duration // for "there is none"; 0: a quarter of an hour
	FailTTL    time.Duration // for temporary failures; 0: a second, negative: none
	Log        *slog.Logger
}

// maxFlights bounds the queries that are under way: each holds a socket.
const maxFlights = 256

// Client asks name servers. It follows changes of resolv.conf and the hosts
// file, keeps answers for their time, and asks once for all who want the same
// thing at the same time. It is safe for concurrent use.
type Client struct {
	lookups
	conf    Config
	servers *resolvConf // from Config.Servers, else nil
	file    *watch.File[resolvConf]
	cache   *lru.Cache[question, outcome]
	slots   chan struct{}
	now     func() time.Time

	mu      sync.Mutex
	flights map[question]*flight
}

var _ Resolver = (*Client)(nil)

type question struct {
	name string
	typ  Type
}

// outcome is an answer or the error that stands for it.
type outcome struct {
	ans *Answer
	err error
}

// New makes a Client. It fails if the servers of c or the resolv.conf cannot
// be understood; a resolv.conf that does not exist means the server on this
// host, as for the C library.
func New(c Config) (*Client, error) {
	setDefault(&c.ResolvConf, "/etc/resolv.conf")
	setDefault(&c.Hosts, "/etc/hosts")
	setDefault(&c.CacheSize, 20000)
	setDefault(&c.MaxTTL, 24*time.Hour)
	setDefault(&c.MaxNegTTL, 15*time.Minute)
	setDefault(&c.FailTTL, time.Second) // RFC 9520 §3.2: at least one second
	cl := &Client{
		conf:    c,
		cache:   lru.New[question, outcome](c.CacheSize),
		slots:   make(chan struct{}, maxFlights),
		now:     time.Now,
		flights: map[question]*flight{},
	}
	cl.lookups = lookups{query: cl.Query, shuffle: true}
	if c.Hosts != "-" {
		cl.lookups.hosts = orEmpty(&watch.File[hosts]{Path: c.Hosts, Load: loadHosts, Log: c.Log}, &hosts{})
	}
	if len(c.Servers) > 0 {
		rc := &resolvConf{timeout: 5 * time.Second, attempts: 2}
		for _, s := range c.Servers {
			srv, err := parseServer(s)
			if err != nil {
				return nil, err
			}
			rc.servers = append(rc.servers, srv)
		}
		cl.servers = rc
		return cl, nil
	}
	cl.file = &watch.File[resolvConf]{Path: c.ResolvConf, Load: loadResolvConf, Log: c.Log}
	_, err := cl.settings()
	return cl, err
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// orEmpty reads a file that need not exist.
func orEmpty[T any](f *watch.File[T], empty *T) func() (*T, error) {
	return func() (*T, error) {
		v, err := f.Get()
		if errors.Is(err, fs.ErrNotExist) {
			return empty, nil
		}
		return v, err
	}
}

// settings are the servers to ask now.
func (c *Client) settings() (*resolvConf, error) {
	rc := c.servers
	if rc == nil {
		var err error
		rc, err = orEmpty(c.file, &resolvConf{servers: defaultServers(), timeout: 5 * time.Second, attempts: 2})()
		if err != nil {
			return nil, err
		}
	}
	if c.conf.Timeout == 0 && c.conf.Attempts == 0 && !c.conf.TrustAD {
		return rc, nil
	}
	own := *rc
	if c.conf.Timeout > 0 {
		own.timeout = c.conf.Timeout
	}
	if c.conf.Attempts > 0 {
		own.attempts = min(c.conf.Attempts, maxAttempts)
	}
	own.trustAD = own.trustAD || c.conf.TrustAD
	return &own, nil
}

// Query looks up the records of one type and follows aliases to them.
func (c *Client) Query(ctx context.Context, name string, t Type) (*Answer, error) {
	canon, ok := clean(name)
	if !ok {
		return nil, impossible(name, t)
	}
	q := question{canon, t}
	if o, ok := c.cache.Get(q, c.now()); ok {
		return o.ans, o.err
	}
	o := c.join(ctx, q)
	return o.ans, o.err
}

// Flush forgets all answers.
func (c *Client) Flush() { c.cache.Flush() }

// flight is a lookup under way and those who wait for it.
type flight struct {
	done    chan struct{}
	out     outcome // valid when done is closed
	waiters int
	cancel  context.CancelFunc
}

// join waits for the lookup of q, starting it if nobody did. The lookup goes
// on for the others when one gives up, and ends with the last.
func (c *Client) join(ctx context.Context, q question) outcome {
	c.mu.Lock()
	f := c.flights[q]
	if f == nil {
		fctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		c.flights[q] = f
		go c.fly(fctx, q, f)
	}
	f.waiters++
	c.mu.Unlock()

	select {
	case <-f.done:
		return f.out
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.cancel()
		if c.flights[q] == f {
			delete(c.flights, q)
		}
	}
	return outcome{err: &Error{Status: TempFail, Name: q.name, Type: q.typ, Reason: ctx.Err().Error(), Err: ctx.Err()}}
}

func (c *Client) fly(ctx context.Context, q question, f *flight) {
	defer f.cancel()
	f.out = c.guarded(ctx, q)
	c.mu.Lock()
	if c.flights[q] == f {
		delete(c.flights, q)
	}
	c.mu.Unlock()
	close(f.done)
}

// guarded keeps a message that trips the parser from ending the process: this
// goroutine has no caller that could catch it.
func (c *Client) guarded(ctx context.Context, q question) (out outcome) {
	defer func() {
		if r := recover(); r != nil {
			err := fmt.Errorf("panic: %v", r)
			if c.conf.Log != nil {
				c.conf.Log.Error("dns lookup panicked", "host", q.name, "err", err)
			}
			out = outcome{err: &Error{Status: TempFail, Name: q.name, Type: q.typ, Reason: err.Error(), Err: err}}
		}
	}()
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return outcome{err: &Error{Status: TempFail, Name: q.name, Type: q.typ, Reason: ctx.Err().Error(), Err: ctx.Err()}}
	}
	return c.lookup(ctx, q)
}

// lookup asks and decides how long the outcome holds.
func (c *Client) lookup(ctx context.Context, q question) outcome {
	ch := newChase(q.name, q.typ)
	err := c.resolve(ctx, ch)
	var life time.Duration
	var no *negative
	out := outcome{err: err}
	switch {
	case err == nil:
		life = lifetime(ch.ttl, c.conf.MaxTTL)
		ch.ans.Expires = c.now().Add(life)
		out.ans = &ch.ans
	case errors.As(err, &no):
		out.err = no.err
		if no.known { // RFC 2308 §5: without a SOA it must not be kept
			life = lifetime(no.ttl, c.conf.MaxNegTTL)
		}
	case ctx.Err() == nil:
		life = c.conf.FailTTL
	}
	if life > 0 {
		c.cache.Put(q, out, c.now().Add(life))
	}
	return out
}

// resolve follows the aliases from message to message.
func (c *Client) resolve(ctx context.Context, ch *chase) error {
	for {
		m, secure, err := c.ask(ctx, ch)
		if err != nil {
			return err
		}
		if done, err := ch.absorb(m, secure); done || err != nil {
			return err
		}
	}
}
