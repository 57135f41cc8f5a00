package smtp

import (
	"context"
	"net"
	"time"
)

// attemptDelay is how long an address of a host has for itself before the next one
// is tried beside it: RFC 8305 §5.
const attemptDelay = 250 * time.Millisecond

// dial connects to a target within the time limit. It is net.Dialer's but in tests.
type dial func(ctx context.Context, su *setup, limit time.Time) (net.Conn, error)

func dialTarget(ctx context.Context, su *setup, limit time.Time) (net.Conn, error) {
	d := net.Dialer{Deadline: limit, KeepAlive: -1, LocalAddr: su.localAddr()}
	return d.DialContext(ctx, su.target.network, su.target.address)
}

// dialLimit is when connecting must have succeeded.
func (c *client) dialLimit(end time.Time) time.Time {
	limit := time.Now().Add(c.opt.timeouts.connect)
	if !end.IsZero() && end.Before(limit) {
		return end
	}
	return limit
}

// sameHost is how many of the first setups are addresses of one host.
func sameHost(set []setup) int {
	n := 1
	for n < len(set) && set[n].target.name == set[0].target.name && set[n].target.port == set[0].target.port && set[n].target.pref == set[0].target.pref {
		n++
	}
	return n
}

// next takes one setup out of the set, to be visited now. Among the addresses of
// the first host it is the one that can be connected to soonest; those that
// cannot at all are gone, too. Hosts keep their order. It returns nil if there is
// none of this host left.
func (j *job) next(ctx context.Context, set []setup) (*setup, []setup) {
	n := sameHost(set)
	if n == 1 || j.c.pool.has(set[0].key()) {
		return &set[0], set[1:]
	}
	won, conn, failed := j.c.race(ctx, set[:n], j.end)
	var rest []setup
	for i := range set[:n] {
		switch {
		case failed[i] != nil && ctx.Err() == nil:
			j.unreached(&set[i], failed[i])
		case i != won:
			if i < won { // it had its time and was silent: do not wait for it again so soon
				j.c.dead.add(set[i].target.address)
			}
			rest = append(rest, set[i])
		}
	}
	rest = append(rest, set[n:]...)
	if conn == nil {
		return nil, rest
	}
	su := set[won]
	su.conn = conn
	return &su, rest
}

// race connects to addresses of one host, the next when the one before has failed
// or has taken attemptDelay, and returns the first connection. failed has the
// errors; an address with neither was not tried to its end.
func (c *client) race(ctx context.Context, set []setup, end time.Time) (won int, conn net.Conn, failed []error) {
	type outcome struct {
		i    int
		conn net.Conn
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	outcomes := make(chan outcome, len(set))
	limit := c.dialLimit(end)
	begun, over := 0, 0
	begin := func() {
		i := begun
		begun++
		go func() {
			nc, err := c.dial(ctx, &set[i], limit)
			outcomes <- outcome{i, nc, err}
		}()
	}
	defer func() {
		cancel()
		if left := begun - over; left > 0 {
			go func() { // they end soon, now that ctx has
				for range left {
					if o := <-outcomes; o.conn != nil {
						o.conn.Close()
					}
				}
			}()
		}
	}()
	failed = make([]error, len(set))
	begin()
	delay := time.NewTimer(attemptDelay)
	defer delay.Stop()
	for over < len(set) {
		select {
		case o := <-outcomes:
			over++
			if o.err == nil {
				return o.i, o.conn, failed
			}
			failed[o.i] = o.err
			if begun == len(set) {
				continue
			}
		case <-delay.C:
			if begun == len(set) {
				continue
			}
		}
		begin()
		delay.Reset(attemptDelay)
	}
	return 0, nil, failed
}
