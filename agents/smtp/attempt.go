package smtp

import (
	"context"
	"slices"
	"time"

	"zmailer/spool/dsn"
)

var outOfTime = dsn.Temp("4.4.7", "no time left in this attempt")

// try offers the work to targets in turn. It returns true when all of it is done.
func (j *job) try(ctx context.Context, targets []target) bool {
	for set := j.setups(ctx, targets); len(set) > 0; {
		if time.Now().After(j.end) {
			j.note(outOfTime)
			return false
		}
		var su *setup
		if su, set = j.next(ctx, set); su != nil && j.visit(ctx, su) {
			return true
		}
		if ctx.Err() != nil {
			j.note(dsn.Temp("4.3.2", "this mailer is being stopped")) // not the host's fault
			return false
		}
	}
	return false
}

// setups decides how each target is to be used, and puts them in the order of
// attempts: within a preference those with a connection that waits come first,
// and those that could not be reached a moment ago come last of all.
func (j *job) setups(ctx context.Context, targets []target) []setup {
	c := j.c
	var set []setup
	for i := range targets {
		su := setup{target: &targets[i]}
		su.from = c.opt.sources.of(su.target, j.sender())
		var err error
		if su.trust, err = c.trustFor(ctx, su.target, j.wish); err != nil {
			c.countUnusable(su.target, &su.trust, err)
			j.note(unreachable("4.7.5", "%s: %v", su.target.relay, err))
			continue
		}
		if c.opt.credFile != "" {
			if su.creds, err = readCredentials(c.opt.credFile, su.target, j.sender()); err != nil {
				j.note(unreachable("4.7.0", "credentials: %v", err))
				continue
			}
		}
		if set = append(set, su); len(set) == maxTargets {
			break
		}
	}
	if len(set) > 1 {
		rank := func(su setup) int {
			switch {
			case c.pool.has(su.key()):
				return 0
			case c.dead.has(su.target.address):
				return 2
			}
			return 1
		}
		slices.SortStableFunc(set, func(a, b setup) int {
			ra, rb := rank(a), rank(b)
			if ra/2 != rb/2 {
				return ra - rb
			}
			if a.target.pref != b.target.pref {
				return a.target.pref - b.target.pref
			}
			return ra - rb
		})
	}
	return set
}

// sender is the sender of the work, for what is chosen by it: see bySender.
func (j *job) sender() string {
	if len(j.work) == 0 {
		return ""
	}
	return j.work[0].group.Sender.User
}

// visit works with one target until all is done or the target fails.
func (j *job) visit(ctx context.Context, su *setup) bool {
	fresh := false // an idle connection was dead: use a new one
	for {
		s, fail := j.session(ctx, su, fresh)
		if fail != nil {
			j.failed(su, fail)
			return false
		}
		failed := j.converse(ctx, s)
		stale := failed != nil && failed.silent && s.reused
		j.c.pool.put(s)
		switch {
		case failed == nil && j.done():
			return true
		case failed == nil: // the session is spent, but the host is well
		case stale && !fresh:
			fresh = true
		default:
			j.note(failed.Result)
			return false
		}
	}
}

// failed notes and logs that a target does not take mail.
func (j *job) failed(su *setup, res *dsn.Result) {
	j.note(*res)
	j.d.Log("msg=unreachable channel=%s host=%q relay=%q dsn=%s err=%q", j.d.Channel, j.d.Host, su.target.relay, res.Status, res.Text)
}

// unreached is failed for a target that could not be connected to.
func (j *job) unreached(su *setup, err error) {
	fail := j.c.unreachable(su.target, err)
	fail.Relay = su.target.relay
	j.failed(su, &fail.Result)
}

func (j *job) session(ctx context.Context, su *setup, fresh bool) (*session, *dsn.Result) {
	if !fresh && su.conn == nil {
		for {
			s := j.c.pool.take(su.key())
			if s == nil {
				break
			}
			if !s.quiet() {
				s.close()
				continue
			}
			s.target = *su.target // another name for the same address, perhaps
			s.begin(j.end)
			return s, nil
		}
	}
	return j.c.open(ctx, su, j.end)
}

func (j *job) done() bool {
	return !slices.ContainsFunc(j.work, func(b batch) bool { return len(b.rcpts) > 0 })
}

// converse sends the work over a session, in transactions as the peer can take
// them. It stops early without a failure when the session is spent.
func (j *job) converse(ctx context.Context, s *session) *failure {
	stop := context.AfterFunc(ctx, s.interrupt)
	defer stop()
	for i := range j.work {
		b := &j.work[i]
		for len(b.rcpts) > 0 {
			now := time.Now()
			if now.After(j.end) {
				return &failure{Result: outOfTime}
			}
			if s.spent(now) && s.sent > 0 {
				return nil
			}
			part := batch{group: b.group, rcpts: s.fitting(b.rcpts)}
			fail := s.transact(ctx, j, &part)
			b.drop()
			if fail != nil {
				return fail
			}
		}
	}
	return nil
}
