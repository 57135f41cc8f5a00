package scheduler

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// A Rate limits how many messages are given to agents in a time; the zero Rate is
// no limit. As many may go at once; then they go at even distances.
type Rate struct {
	N   int
	Per time.Duration
}

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

// A bucket is the account of one limit: the generic cell rate algorithm, which
// needs one time and no clockwork. tat is when the next message would be due if
// all went at even distances, in nanoseconds since 1970.
type bucket struct{ tat int64 }

// when is the earliest time for the next message.
func (b *bucket) when(now time.Time, r Rate) time.Time {
	burst := r.Per - r.Per/time.Duration(r.N)
	return time.Unix(0, max(b.tat-int64(burst), now.UnixNano()))
}

// take enters a message.
func (b *bucket) take(now time.Time, r Rate) {
	b.tat = max(b.tat, now.UnixNano()) + int64(r.Per)/int64(r.N)
}

// owes says that messages went faster than at even distances, so that the account
// must not be forgotten; even is when it may.
func (b *bucket) owes(now time.Time) bool { return b.tat > now.UnixNano() }
func (b *bucket) even() sec               { return secOf(time.Unix(0, b.tat)) + 1 }

// limits are the accounts that are not of one thread.
type limits struct {
	senders  map[senderKey]*bucket
	channels map[string]*bucket
}

type senderKey struct {
	clause *Clause
	sender word
}

// rated says that the clause limits rates.
func (c *Clause) rated() bool { return c.Rate.N > 0 || c.SenderRate.N > 0 || c.ChannelRate.N > 0 }

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
	wait := func(b *bucket, r Rate) bool {
		at := b.when(q.now, r)
		if at.After(q.now) {
			th.rateUntil = secOf(at.Add(time.Second - 1))
			return true
		}
		return false
	}
	var channel *bucket
	if c.ChannelRate.N > 0 {
		channel = bucketOf(&q.limits.channels, th.channel())
		if wait(channel, c.ChannelRate) {
			return true
		}
	}
	if c.Rate.N > 0 && wait(&th.bucket, c.Rate) {
		return true
	}
	if c.SenderRate.N > 0 && !v.reserved && q.postpone(th, v) {
		return true
	}
	if channel != nil {
		channel.take(q.now, c.ChannelRate)
	}
	if c.Rate.N > 0 {
		th.bucket.take(q.now, c.Rate)
	}
	v.reserved = false
	return false
}

// postpone reserves a time for the vertex within its sender's limit. If that is
// not now the vertex waits for it, and others of the thread go first.
func (q *Queue) postpone(th *thread, v *vertex) bool {
	c := th.clause
	b := bucketOf(&q.limits.senders, senderKey{c, v.msg.sender})
	at := b.when(q.now, c.SenderRate)
	b.take(q.now, c.SenderRate)
	if !at.After(q.now) {
		return false
	}
	v.reserved = true
	v.takeOut()
	q.place(v, secOf(at.Add(time.Second-1)))
	return true
}

func bucketOf[K comparable](m *map[K]*bucket, key K) *bucket {
	if *m == nil {
		*m = make(map[K]*bucket)
	}
	b := (*m)[key]
	if b == nil {
		b = new(bucket)
		(*m)[key] = b
	}
	return b
}

// forgetRates drops the accounts that are even again: those of senders who have
// not sent for a while.
func (q *Queue) forgetRates() {
	for key, b := range q.limits.senders {
		if !b.owes(q.now) {
			delete(q.limits.senders, key)
		}
	}
}
