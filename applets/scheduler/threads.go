package scheduler

import (
	"maps"
	"strings"
	"time"
)

// thread returns the thread of key, making it if need be.
func (q *Queue) thread(key threadKey) *thread {
	if th := q.threads[key]; th != nil {
		return th
	}
	th := &thread{key: key, heapIdx: -1, wake: never, stats: q.stats.channel(key.channel.Value())}
	q.govern(th)
	th.limit = th.clause.Initial
	q.threads[key] = th
	q.stats.threads[threadIdle]++
	th.stats.threads[threadIdle]++
	return th
}

// govern puts the thread under the clause that matches it now.
func (q *Queue) govern(th *thread) {
	th.clause = q.conf.Match(th.channel(), th.host())
	if th.pool != nil {
		th.pool.threads--
	}
	th.pool = q.pool(th.clause, th.channel(), th.host())
	th.pool.threads++
	th.limit = min(th.limit, th.clause.MaxThr)
}

// place puts a vertex that is in no heap to where it belongs.
func (q *Queue) place(v *vertex, next sec) {
	th := v.th
	switch {
	case v.isHeld():
		v.state, v.next = held, next
		th.held++
	case next > q.sec():
		v.state, v.next, v.order = waiting, next, uint64(next)
		th.waiting.push(v)
	default:
		q.makeReady(v)
	}
}

// isHeld says whether an administrator or the policy keeps the vertex from being tried.
func (v *vertex) isHeld() bool { return v.kept || v.msg.is(msgHeld) }

// The order of ready vertices: fair turn, age or time of the next attempt. A
// message of lower priority stands as far behind as if it had come that much later,
// and no further: what comes later still is behind it, so that bulk mail gets on
// however much other mail there is.
const (
	turnsBehind = 64   // places of a thread's fair turns, by step of priority
	ageBehind   = 3600 // seconds, where the oldest goes first
	retryBehind = 600  // seconds of the time when it is due

	// notUrgent stands in the order of all but those that no rate limit holds: they
	// must not be behind those that it does hold.
	notUrgent = 1 << 63
)

func (q *Queue) makeReady(v *vertex) {
	th := v.th
	v.state = ready
	behind := uint64(v.msg.priority)
	switch {
	case th.clause.AgeOrder:
		v.order = uint64(v.msg.arrival) + behind*ageBehind
	case v.attempts == 0:
		v.order = th.fairTurn(v.msg) + behind*turnsBehind
	default:
		q.order++
		v.order = (uint64(q.sec())+behind*retryBehind)<<20 | q.order&(1<<20-1)
	}
	if !th.clause.rated() || !v.msg.exempt() {
		v.order |= notUrgent
	}
	if v.attempts == 0 {
		th.fresh.push(v)
	} else {
		th.retry.push(v)
	}
}

// fairFrom is the backlog from which on a thread keeps account of senders. Most
// threads never have one, and are not to pay for it.
const fairFrom = 4

// A tagKey has an account in fair queueing: a sender, for each priority of his mail.
type tagKey struct {
	sender   word
	priority uint8
}

// fairTurn returns the place of a new message: behind the sender's own ones, but
// not behind all those of somebody who has sent thousands (start-time fair
// queueing with equal shares).
func (th *thread) fairTurn(m *message) uint64 {
	start := th.vtime + uint64(min(len(th.fresh), fairFrom))
	if len(th.fresh) < fairFrom {
		return start + 1
	}
	if th.tags == nil {
		th.tags = make(map[tagKey]uint64, 1)
	}
	key := tagKey{m.sender, m.priority}
	turn := max(start, th.tags[key]) + 1
	if len(th.tags) > 2*len(th.fresh)+64 {
		// Those whose turns are over have no more account than strangers.
		maps.DeleteFunc(th.tags, func(_ tagKey, turn uint64) bool { return turn <= th.vtime })
	}
	th.tags[key] = turn
	return turn
}

// takeOut removes a vertex from its heap.
func (v *vertex) takeOut() {
	th := v.th
	switch v.state {
	case waiting:
		th.waiting.remove(v)
	case ready:
		if v.attempts == 0 {
			th.fresh.remove(v)
		} else {
			th.retry.remove(v)
		}
	case held:
		th.held--
	}
	v.state = gone
}

// peek returns the vertex whose turn it is: new mail and retries alternate, so that
// a backlog does not hold up new mail, nor new mail the backlog. What no rate limit holds
// goes before both.
func (th *thread) peek() *vertex {
	switch {
	case len(th.fresh) == 0:
		return th.retry[0]
	case len(th.retry) == 0:
		return th.fresh[0]
	}
	fresh, retry := th.fresh[0], th.retry[0]
	urgent := retry.order < notUrgent
	if urgent && fresh.order >= notUrgent || th.turn%4 == 3 && urgent == (fresh.order < notUrgent) {
		return retry
	}
	return fresh
}

// pop takes the vertex that peek has returned.
func (th *thread) pop(v *vertex) *vertex {
	th.turn++
	if v.attempts == 0 && !th.clause.AgeOrder {
		behind := uint64(v.msg.priority) * turnsBehind
		if turn := v.order &^ notUrgent; turn > behind {
			th.vtime = max(th.vtime, turn-behind)
		}
	}
	v.takeOut()
	if len(th.fresh) == 0 {
		th.tags = nil
	}
	return v
}

// touch brings the thread's state in order after any change to it: what is due
// becomes ready, a thread that can run stands in its pool's ring, one that must
// wait is in the heap of timers, one without work is forgotten.
func (q *Queue) touch(th *thread) {
	now := q.sec()
	for len(th.waiting) > 0 && th.waiting[0].next <= now {
		v := th.waiting.pop()
		q.makeReady(v)
	}
	if th.runnable(now) {
		q.enqueue(th)
	}
	th.wake = th.nextTime(now)
	if th.vertices == 0 && th.account.owes(q.now) {
		th.wake = min(th.wake, th.account.even())
	}
	if th.wake == never {
		q.wakeups.remove(th)
	} else {
		q.wakeups.set(th)
	}
	q.setState(th, th.stateNow(now))
	if th.vertices == 0 && th.active == 0 && th.until <= now && th.failures == 0 && !th.account.owes(q.now) && !th.inRing {
		q.stats.threads[th.state]--
		th.stats.threads[th.state]--
		th.pool.threads--
		delete(q.threads, th.key)
	}
}

// runnable says that the thread may be given a job now.
func (th *thread) runnable(now sec) bool {
	if th.readyLen() == 0 || th.active >= th.limit {
		return false
	}
	if th.rateUntil > now && !th.peek().msg.exempt() {
		return false
	}
	return th.forced > 0 || th.until <= now && !th.clause.QueueOnly
}

// nextTime is when the thread has to be touched again if nothing happens before.
func (th *thread) nextTime(now sec) sec {
	switch {
	case th.until > now:
		return th.until
	case th.rateUntil > now && th.readyLen() > 0 && len(th.waiting) > 0:
		return min(th.rateUntil, th.waiting[0].next) // which no limit may hold for
	case th.rateUntil > now && th.readyLen() > 0:
		return th.rateUntil
	case len(th.waiting) > 0:
		return th.waiting[0].next
	case th.vertices == 0 && th.failures > 0:
		// Remember a dead destination for a while after its last message, lest the
		// next one start at the beginning of the retry table.
		return max(th.until, now).add(time.Hour)
	}
	return never
}

func (th *thread) stateNow(now sec) threadState {
	switch {
	case th.active > 0:
		return threadRunning
	case th.until > now && th.vertices > 0:
		return threadBackoff
	case th.readyLen() > 0 && th.clause.QueueOnly && th.forced == 0:
		return threadParked
	case th.readyLen() > 0:
		return threadReady
	case len(th.waiting) > 0:
		return threadWaiting
	}
	return threadIdle
}

func (q *Queue) setState(th *thread, s threadState) {
	q.stats.threads[th.state]--
	q.stats.threads[s]++
	th.stats.threads[th.state]--
	th.stats.threads[s]++
	th.state = s
}

// dueThreads touches the threads whose time has come.
func (q *Queue) dueThreads() {
	now := q.sec()
	for q.wakeups.next() <= now {
		th := q.wakeups[0]
		if th.vertices == 0 && th.until < now {
			th.failures = 0 // the memory of a dead destination ends
		}
		q.touch(th)
		if th.heapIdx == 0 && th.wake <= now {
			panic("scheduler: thread " + th.channel() + "/" + th.host() + " is due for ever")
		}
	}
}

// reached notes a job that reached its destination.
func (th *thread) reached(now time.Time) {
	th.successAt = now
	th.failures = 0
	th.until = 0
	if th.limit < th.clause.MaxThr {
		th.limit++
	}
}

// notReached notes a job, given at started, that could not reach its destination,
// which wants to be left alone for atLeast. Jobs in flight at the same time count
// as one failure. If others got through meanwhile, the destination is only busy:
// fewer jobs at once, but no back-off.
func (th *thread) notReached(now, started time.Time, atLeast time.Duration) {
	switch {
	case !started.After(th.failedAt):
		return
	case started.Before(th.successAt):
		th.limit = max(1, th.limit/2)
		th.failedAt = now
		return
	}
	th.failures++
	th.failedAt = now
	th.limit = 1
	th.until = secOf(now).add(max(atLeast, th.clause.delay(th.failures)))
}

const maxReason = 200

// clip bounds a text that is kept for people to see.
func clip(s string) string {
	if len(s) <= maxReason {
		return s
	}
	return strings.ToValidUTF8(s[:maxReason], "")
}
