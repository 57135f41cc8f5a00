package relations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of the connections to a server.
const (
	defaultTimeout     = 10 * time.Second
	defaultConnections = 8
	maxConnections     = 1000
	idleTime           = 5 * time.Minute // servers and firewalls forget a connection at some time
	downTime           = time.Second     // how long a server that could not be reached is left alone
)

// A pool is the connections to one server.
//
// No more than a number of them are open at once; whoever comes next waits for
// one, within the time limit of a lookup. Connections are kept and used again.
// One that fails is closed, and if it had been kept the question is put once
// more on a new one, as servers close what is idle. A server that cannot be
// reached is not tried again for downTime: a queue full of mail must not wait
// for the network once for every address.
type pool[C io.Closer] struct {
	name    string // what to call the server in errors
	timeout time.Duration
	dial    func(ctx context.Context) (C, error)
	slots   chan struct{}

	mu     sync.Mutex
	idle   []idling[C]
	closed bool
	down   error // why the last attempt to connect failed
	downAt time.Time
}

type idling[C io.Closer] struct {
	conn  C
	since time.Time
}

// reply is the outcome of a question that could be asked.
type reply struct {
	value string
	found bool
}

// newPool reads -o timeout and -o connections.
func newPool[C io.Closer](o *opening, name string, dial func(context.Context) (C, error)) (*pool[C], error) {
	timeout, err := o.duration("timeout", defaultTimeout)
	if err != nil {
		return nil, err
	}
	limit := defaultConnections
	if s, ok := o.Options["connections"]; ok {
		if limit, err = strconv.Atoi(s); err != nil || limit < 1 || limit > maxConnections {
			return nil, fmt.Errorf("-o connections: %q is not a number between 1 and %d", s, maxConnections)
		}
	}
	return &pool[C]{name: name, timeout: timeout, dial: dial, slots: make(chan struct{}, limit)}, nil
}

// lookup has ask put its question on a connection. The error of ask is that of
// the connection or of the answer; the connection is closed in either case.
// ask must end when its context does.
func (p *pool[C]) lookup(ctx context.Context, ask func(context.Context, C) (reply, error)) (string, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	// A context that has ended must not depend on which of the two is chosen.
	if err := ctx.Err(); err != nil {
		return "", false, fmt.Errorf("%s: %w", p.name, err)
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return "", false, fmt.Errorf("%s: wait for a connection: %w", p.name, ctx.Err())
	}
	r, err := p.exchange(ctx, ask)
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", p.name, cause(ctx, oneLine(err)))
	}
	return r.value, r.found, nil
}

func (p *pool[C]) exchange(ctx context.Context, ask func(context.Context, C) (reply, error)) (reply, error) {
	if c, ok := p.kept(); ok {
		if r, err := p.try(ctx, c, ask); err == nil || ctx.Err() != nil {
			return r, err
		}
	}
	if err := p.isDown(); err != nil {
		return reply{}, err
	}
	start := time.Now()
	c, err := p.dial(ctx)
	p.reached(ctx, err, time.Since(start))
	if err != nil {
		return reply{}, err
	}
	return p.try(ctx, c, ask)
}

// try ends with the connection kept, or closed if anything went wrong: nobody
// knows which question its next answer belongs to.
func (p *pool[C]) try(ctx context.Context, c C, ask func(context.Context, C) (reply, error)) (reply, error) {
	r, err := ask(ctx, c)
	if err == nil && ctx.Err() == nil && p.keep(c) {
		return r, nil
	}
	if cerr := c.Close(); err != nil && cerr != nil {
		err = fmt.Errorf("%w (close: %w)", err, cerr)
	}
	return r, err
}

func (p *pool[C]) isDown() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down != nil && time.Since(p.downAt) < downTime {
		return fmt.Errorf("%w (tried less than %v ago)", p.down, downTime)
	}
	return nil
}

// reached remembers whether the server answered. A caller who went away, or had
// little time left, says nothing about the server.
func (p *pool[C]) reached(ctx context.Context, err error, took time.Duration) {
	if err != nil && (ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)) && took < p.timeout/2 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.downAt = err, time.Now()
}

// kept takes the connection that was used last.
func (p *pool[C]) kept() (c C, ok bool) {
	p.mu.Lock()
	last := len(p.idle) - 1
	if last >= 0 && time.Since(p.idle[last].since) < idleTime {
		c, ok = p.idle[last].conn, true
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return c, ok
	}
	old := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, i := range old {
		i.conn.Close() // it is of no more use, so there is nothing to tell
	}
	return c, false
}

func (p *pool[C]) keep(c C) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.idle = append(p.idle, idling[C]{c, time.Now()})
	}
	return !p.closed
}

// Close closes what is idle now, and the rest when it has been used. What a
// connection that is given up says about it, such as that the server closed it
// long ago, is of no interest.
func (p *pool[C]) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, i := range p.idle {
		i.conn.Close()
	}
	p.idle = nil
	return nil
}

// oneLine keeps the text of an error from elsewhere on its line of the log.
func oneLine(err error) error {
	if s := err.Error(); strings.ContainsAny(s, "\r\n") || len(s) > 1000 {
		return lined{err}
	}
	return err
}

type lined struct{ error }

func (l lined) Error() string { return printable(l.error.Error()) }
func (l lined) Unwrap() error { return l.error }

// password reads the first line of the file of -o password-file, at every
// connection, so that a changed password needs no reload.
func (o *opening) password() (string, bool, error) {
	path := o.Options["password-file"]
	if path == "" {
		return "", false, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "", false, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSuffix(line, "\r"), true, nil
}

// lines gathers the values of an answer, one a line.
type lines struct {
	b     strings.Builder
	found bool
}

func (l *lines) add(s string) error {
	if l.b.Len()+len(s) >= maxValue {
		return fmt.Errorf("answer of more than %d bytes", maxValue)
	}
	if l.found {
		l.b.WriteByte('\n')
	}
	l.found = true
	l.b.WriteString(s)
	return nil
}

func (l *lines) reply() reply { return reply{l.b.String(), l.found} }
