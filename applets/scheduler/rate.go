package scheduler

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// A Rate limits how many messages, or recipients, are given to agents in a time;
// the zero Rate is no limit. As many may go at once; then they go at even distances.
type Rate struct {
	N   int
	Per time.Duration
}

// A Limit is what a clause says of one account.
type Limit struct{ Messages, Rcpts Rate }

func (l *Limit) set() bool { return l.Messages.N > 0 || l.Rcpts.N > 0 }

// parseRate reads "100/1h"; "0" is no limit.
func parseRate(v string) (r Rate, err error) {
	if v == "0" {
		return Rate{}, nil
	}
	n, per, ok := strings.Cut(v, "/")
	if !ok {
		return Rate{}, errors.New("want a number of messages and a time, such as 100/1h; 0: no limit")
	}
	if r.N, err = number(n, 1, 1_000_000); err != nil {
		return Rate{}, err
	}
	r.Per, err = duration(per, time.Second)
	return r, err
}

func (r Rate) String() string { return strconv.Itoa(r.N) + "/" + r.Per.String() }

// A bucket is the account of one rate: the generic cell rate algorithm, which
// needs one time and no clockwork. tat is when the next one would be due if all
// went at even distances, in nanoseconds since 1970.
type bucket struct{ tat int64 }

// when is the earliest time for n more. Who asks for more than the rate allows at
// once waits until nothing is owed.
func (b *bucket) when(now time.Time, r Rate, n int) time.Time {
	if r.N == 0 {
		return now
	}
	room := r.Per - r.Per/time.Duration(r.N)*time.Duration(min(n, r.N))
	return time.Unix(0, max(b.tat-int64(room), now.UnixNano()))
}

// take enters n.
func (b *bucket) take(now time.Time, r Rate, n int) {
	if r.N > 0 {
		b.tat = max(b.tat, now.UnixNano()) + int64(r.Per)/int64(r.N)*int64(n)
	}
}

// An account is kept of one limit.
type account struct{ messages, rcpts bucket }

// when is the earliest time for a message with n recipients.
func (a *account) when(now time.Time, l *Limit, n int) time.Time {
	at := a.messages.when(now, l.Messages, 1)
	if t := a.rcpts.when(now, l.Rcpts, n); t.After(at) {
		return t
	}
	return at
}

func (a *account) take(now time.Time, l *Limit, n int) {
	a.messages.take(now, l.Messages, 1)
	a.rcpts.take(now, l.Rcpts, n)
}

// owes says that messages went faster than at even distances, so that the account
// must not be forgotten; even is when it may.
func (a *account) owes(now time.Time) bool { return max(a.messages.tat, a.rcpts.tat) > now.UnixNano() }
func (a *account) even() sec {
	return secOf(time.Unix(0, max(a.messages.tat, a.rcpts.tat))) + 1
}

// limits are the accounts that are not of one thread.
type limits struct {
	senders  map[senderKey]*account
	channels map[string]*account
	sweep    time.Time // when those that are even are forgotten next
}

// A senderKey outlives the clause: the same one of a new configuration goes on with it.
type senderKey struct {
	pattern string
	sender  word
}

// rated says that the clause limits rates.
func (c *Clause) rated() bool { return c.Rate.set() || c.SenderRate.set() || c.ChannelRate.set() }

// exempt says that no limit holds for a message: reports, whose sender is null,
// are few, and holding them back makes matters worse.
func (m *message) exempt() bool { return m.sender.Value() == "" }

// limited applies the limits to the message whose turn it is in a thread. It
// returns true if it cannot go now; the thread or the vertex then waits.
func (q *Queue) limited(th *thread, v *vertex) bool {
	c := th.clause
	if v.msg.exempt() {
		return false
	}
	n := v.nrcpts()
	wait := func(a *account, l *Limit) bool {
		at := a.when(q.now, l, n)
		if at.After(q.now) {
			th.rateUntil = secOf(at.Add(time.Second - 1))
			return true
		}
		return false
	}
	var channel *account
	if c.ChannelRate.set() {
		channel = accountOf(&q.limits.channels, th.channel())
		if wait(channel, &c.ChannelRate) {
			return true
		}
	}
	if c.Rate.set() && wait(&th.account, &c.Rate) {
		return true
	}
	if c.SenderRate.set() && !v.reserved && q.postpone(th, v) {
		return true
	}
	if channel != nil {
		channel.take(q.now, &c.ChannelRate, n)
	}
	th.account.take(q.now, &c.Rate, n)
	v.reserved = false
	return false
}

// postpone reserves a time for the vertex within its sender's limit. If that is
// not now the vertex waits for it, and others of the thread go first.
func (q *Queue) postpone(th *thread, v *vertex) bool {
	c := th.clause
	a := accountOf(&q.limits.senders, senderKey{c.Pattern, v.msg.sender})
	at := a.when(q.now, &c.SenderRate, v.nrcpts())
	a.take(q.now, &c.SenderRate, v.nrcpts())
	if !at.After(q.now) {
		return false
	}
	v.reserved = true
	v.takeOut()
	q.place(v, secOf(at.Add(time.Second-1)))
	return true
}

func accountOf[K comparable](m *map[K]*account, key K) *account {
	if *m == nil {
		*m = make(map[K]*account)
	}
	a := (*m)[key]
	if a == nil {
		a = new(account)
		(*m)[key] = a
	}
	return a
}

// forgetRates drops the accounts that are even again: those of senders who have
// not sent for a while.
func (q *Queue) forgetRates() {
	if q.now.Before(q.limits.sweep) {
		return
	}
	q.limits.sweep = q.now.Add(time.Minute)
	for key, a := range q.limits.senders {
		if !a.owes(q.now) {
			delete(q.limits.senders, key)
		}
	}
}
