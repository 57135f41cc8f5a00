package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool"
)

// A Router routes the messages of one spool.
type Router struct {
	spool  *spool.Spool
	policy *policy.Holder
	log    *slog.Logger
	queue  *queue
	trust  atomic.Pointer[trust]
	limits limits
	counts *counts
	now    func() time.Time
}

// limits of a message.
type limits struct {
	hops   int           // Received fields
	expiry time.Duration // of an address that cannot be routed
	time   time.Duration // for all recipients of a message
	stall  time.Duration // from one decision to the next
}

var defaultLimits = limits{hops: 50, expiry: 5 * 24 * time.Hour, time: 5 * time.Minute, stall: time.Minute}

// read takes what zmailer.conf says of the limits.
func (l *limits) read(conf *shellcfg.Conf) error {
	for _, v := range []struct {
		name, unit, word string
		limit            *time.Duration
	}{
		{"ROUTEREXPIRY", "h", "hours", &l.expiry},
		{"ROUTERTIME", "s", "seconds", &l.time},
	} {
		text := conf.Get(v.name)
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text + v.unit)
		if err != nil || d <= 0 {
			return fmt.Errorf("%s=%s: not a number of %s", v.name, text, v.word)
		}
		*v.limit = d
	}
	return nil
}

// grace is how long messages in work may take when the router ends. What is not
// routed then stays where it is.
const grace = 3 * time.Second

// rescan is how often router/ is read for messages that inotify did not tell of.
const rescan = time.Minute

// New returns a router.
func New(s *spool.Spool, h *policy.Holder, log *slog.Logger) (*Router, error) {
	r := &Router{spool: s, policy: h, log: log, queue: newQueue(), limits: defaultLimits, counts: newCounts(), now: time.Now}
	conf := h.Conf()
	if err := r.limits.read(conf); err != nil {
		return nil, err
	}
	t, err := newTrust(conf, h.Users())
	if err != nil {
		return nil, err
	}
	r.trust.Store(t)
	return r, nil
}

// Run routes messages with n workers until ctx ends, and then finishes those it
// is at. watcher tells of new ones.
func (r *Router) Run(ctx context.Context, n int, watcher *spool.Watcher) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(grace, stop) })()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { r.work(working) })
	}
	wg.Go(func() { r.queue.clock(ctx) })
	wg.Go(func() { r.watch(ctx, watcher) })
	err := r.scanDeferred()
	if err == nil {
		err = r.rescan(ctx)
	}
	r.queue.end()
	wg.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// rescan reads router/ now and then.
func (r *Router) rescan(ctx context.Context) error {
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	for {
		if err := r.scan(spool.RouterDir); err != nil {
			r.log.Error("scan", "err", err)
		}
		if n, err := r.spool.Sweep(24 * time.Hour); err != nil {
			r.log.Error("sweep", "err", err)
		} else if n > 0 {
			r.log.Info("unfinished submissions removed", "count", n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *Router) scan(dir string) error {
	var ids []spool.ID
	err := spool.EachID(filepath.Join(r.spool.Root, dir), func(id spool.ID) error {
		ids = append(ids, id)
		return nil
	})
	sortIDs(ids)
	for _, id := range ids {
		r.queue.add(job{id: id, dir: dir})
	}
	return err
}

// scanDeferred tries what an earlier router deferred, after the new mail.
func (r *Router) scanDeferred() error {
	return spool.EachID(filepath.Join(r.spool.Root, spool.DeferredDir), func(id spool.ID) error {
		r.later(job{id: id, dir: spool.DeferredDir}, time.Second)
		return nil
	})
}

// later has a message that is not in the queue tried after a while.
func (r *Router) later(j job, wait time.Duration) {
	q := r.queue
	q.mu.Lock()
	_, known := q.known[j.id]
	q.known[j.id] = nil
	q.mu.Unlock()
	if !known {
		q.retry(j, r.now().Add(wait))
	}
}

// watch takes ids from inotify.
func (r *Router) watch(ctx context.Context, w *spool.Watcher) {
	for ctx.Err() == nil {
		err := w.Next(ctx, func(id spool.ID) { r.queue.add(job{id: id, dir: spool.RouterDir}) })
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, spool.ErrOverflow):
			if err := r.scan(spool.RouterDir); err != nil {
				r.log.Error("scan", "err", err)
			}
		default:
			r.log.Error("watch: new mail is found by scanning only", "err", err)
			return
		}
	}
}

// work routes messages one after the other.
func (r *Router) work(ctx context.Context) {
	w := newWorker(r)
	for {
		j, ok := r.queue.take()
		if !ok {
			return
		}
		r.settle(j, w.guarded(ctx, j))
	}
}

// errDeferred says that the message is in deferred/.
var errDeferred = errors.New("deferred")

// settle decides what comes after an attempt.
func (r *Router) settle(j job, err error) {
	var panicked *panicError
	switch {
	case err == nil:
		r.queue.done(j.id)
	case errors.Is(err, errDeferred):
		j.dir = spool.DeferredDir
		wait := backOff(j.attempts)
		j.attempts++
		r.queue.retry(j, r.now().Add(wait))
	case errors.As(err, &panicked) && j.panics+1 >= maxPanics:
		r.giveUp(j, panicked)
	case errors.As(err, &panicked):
		j.panics++
		r.log.Error("panic", "spoolid", string(j.id), "err", panicked, "stack", string(panicked.stack))
		r.queue.retry(j, r.now().Add(time.Second))
	default:
		r.log.Error("message stays", "spoolid", string(j.id), "err", err)
		wait := min(10*time.Second<<min(j.attempts, 6), 10*time.Minute)
		j.attempts++
		r.queue.retry(j, r.now().Add(wait))
	}
}

// maxPanics is how often a message may crash the router before it is set aside.
const maxPanics = 3

type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func (r *Router) giveUp(j job, p *panicError) {
	why := fmt.Sprintf("routing crashed %d times\n%v\n%s", maxPanics, p.value, p.stack)
	if err := r.spool.SetAside(j.dir, spool.PostmanDir, j.id, why); err != nil {
		r.log.Error("message stays", "spoolid", string(j.id), "err", err)
		r.queue.retry(j, r.now().Add(time.Hour))
		return
	}
	r.counts.message(setAsidePostman, 0)
	r.log.Error("set aside", "spoolid", string(j.id), "action", "postman", "err", p, "stack", string(p.stack))
	r.queue.done(j.id)
}

// guarded routes a message and turns a panic into an error.
func (w *worker) guarded(ctx context.Context, j job) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
			w.reset()
		}
	}()
	return w.route(ctx, j)
}

// discard removes a message that no recipient is left of.
func (r *Router) discard(j job) error {
	return r.spool.Discard(j.dir, j.id)
}
