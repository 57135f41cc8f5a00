package scheduler

import (
	"strings"
	"time"

	"zmailer/agents/protocol"
)

// A poolKey names the threads that can share agents: those whose agents are
// started the same way.
type poolKey struct {
	pattern, channel, host string // host only if the clause's agents serve one host
	command                string // with user, group and nice value
}

// A pool is the agents of its threads, and the ring in which threads with work
// wait for their turn.
type pool struct {
	key    poolKey
	clause *Clause // of the present configuration
	old    bool    // no clause uses it any more: agents end when they have answered

	threads int // that belong to it
	ring    ring
	dirty   bool

	agents   []*agent
	starting int
	capacity int // jobs at once of the agent that asked last
	failures int // agents that died without having done anything, in a row
	until    time.Time
	pend     string // why no agent is started although there is work
}

func (q *Queue) pool(c *Clause, channel, host string) *pool {
	key := poolKey{pattern: c.Pattern, channel: channel, command: c.signature()}
	if c.perHost() {
		key.host = host
	}
	p := q.pools[key]
	if p == nil {
		p = &pool{key: key, capacity: unknownCapacity}
		q.pools[key] = p
	}
	p.clause, p.old = c, false
	return p
}

// unknownCapacity is that of agents of which none has spoken yet: one is started, and
// its first #hungry says how many are needed.
const unknownCapacity = 1 << 20

// signature is what makes agents of two clauses different programs.
func (c *Clause) signature() string {
	return strings.Join([]string{c.Command, c.User, c.Group, itoa(c.Nice)}, "\x00")
}

// A ring is a first-in first-out queue of threads.
type ring struct {
	s    []*thread
	head int
}

func (r *ring) len() int       { return len(r.s) - r.head }
func (r *ring) front() *thread { return r.s[r.head] }

func (r *ring) push(th *thread) { r.s = append(r.s, th) }

func (r *ring) pop() *thread {
	th := r.s[r.head]
	r.s[r.head] = nil
	r.head++
	if r.head == len(r.s) {
		r.s, r.head = r.s[:0], 0
	} else if r.head > 1024 && r.head > len(r.s)/2 {
		r.s = append(r.s[:0], r.s[r.head:]...)
		r.head = 0
	}
	return th
}

func (q *Queue) enqueue(th *thread) {
	if !th.inRing {
		th.inRing = true
		th.pool.ring.push(th)
	}
	q.mark(th.pool)
}

func (q *Queue) mark(p *pool) {
	if !p.dirty {
		p.dirty = true
		q.dirty = append(q.dirty, p)
	}
}

// dispatch gives out jobs in all pools where something has changed.
func (q *Queue) dispatch() {
	q.evicted = false
	for len(q.dirty) > 0 {
		p := q.dirty[len(q.dirty)-1]
		q.dirty = q.dirty[:len(q.dirty)-1]
		p.dirty = false
		if !q.stopping {
			q.dispatchPool(p)
		}
	}
}

// dispatchPool gives jobs to agents, one job a thread in turn, until there are no
// agents or no threads that can use one.
func (q *Queue) dispatchPool(p *pool) {
	now := q.sec()
	for p.ring.len() > 0 {
		th := p.ring.front()
		if th.pool != p || !th.runnable(now) {
			p.ring.pop()
			th.inRing = false
			q.touch(th)
			continue
		}
		a := p.pick(th)
		if a == nil {
			q.start(p)
			return
		}
		p.ring.pop()
		th.inRing = false
		if v := th.peek(); !q.limited(th, v) {
			q.give(a, th, th.pop(v))
		}
		q.touch(th)
	}
	p.pend = ""
}

// pick returns an agent that takes a job, or nil. The one that has served the
// thread before may have a connection open; else the one with the most room.
func (p *pool) pick(th *thread) *agent {
	if th.last != nil && th.last.pool == p && th.last.usable() {
		return th.last
	}
	var best *agent
	for _, a := range p.agents {
		if a.usable() && (best == nil || a.credits > best.credits) {
			best = a
		}
	}
	return best
}

// give hands a vertex to an agent.
func (q *Queue) give(a *agent, th *thread, v *vertex) {
	q.jobs++
	m := v.msg
	job := &protocol.Job{Number: q.jobs, ID: m.id.spool(), Channel: th.channel(), Host: th.host(), Rcpts: v.rcpts()}
	v.state, v.tried = running, true
	if v.attempts < 1<<16-1 {
		v.attempts++
	}
	if th.forced > 0 {
		th.forced--
	}
	th.active++
	th.last = a
	a.credits--
	a.jobs[job.Number] = &run{v: v, started: q.now}
	a.peer.Send(job)
}

// start starts another agent if there is work for one and the limits allow it.
// Otherwise it notes why not; agents that end, and every second, bring it back.
func (q *Queue) start(p *pool) {
	c := p.clause
	switch {
	case c.Command == "":
		p.pend = "no command for " + p.key.pattern + " in scheduler.conf"
	case p.starting > 0 && p.starting*p.capacity >= p.demand():
		p.pend = "agent is starting"
	case q.now.Before(p.until):
		p.pend = "agent died: " + p.until.Sub(q.now).Round(time.Second).String() + " to the next start"
	case len(p.agents) >= c.MaxRing:
		p.pend = "maxring"
	case q.perChan[p.key.channel] >= c.MaxChannel:
		p.pend = "maxchannel"
	case q.agents >= c.MaxTA:
		p.pend = "maxta"
		q.evictIdle(p)
	case q.startable == 0:
		p.pend = "start rate"
	default:
		p.pend = "agent is starting"
		q.startable--
		q.startAgent(p)
	}
}

// demand estimates how many jobs could be given at once, looking at a bounded
// number of threads.
func (p *pool) demand() int {
	n := 0
	for _, th := range p.ring.s[p.ring.head:min(len(p.ring.s), p.ring.head+64)] {
		n += min(th.readyLen(), max(th.limit-th.active, 0))
	}
	return n
}

// evictIdle closes an idle agent of another pool, to make room below maxta. Once a turn:
// where each host has its pool, thousands of them want an agent.
func (q *Queue) evictIdle(wanting *pool) {
	if q.evicted {
		return
	}
	q.evicted = true
	for _, p := range q.pools {
		if p == wanting || p.ring.len() > 0 {
			continue
		}
		for _, a := range p.agents {
			if a.idle() {
				q.drain(a)
				return
			}
		}
	}
}

// tendPool does for a pool what has to be done now and then.
func (q *Queue) tendPool(p *pool) {
	for _, a := range p.agents {
		q.tendAgent(a)
	}
	switch {
	case p.ring.len() > 0:
		q.mark(p)
	case len(p.agents) == 0 && p.threads == 0 && !p.until.After(q.now):
		delete(q.pools, p.key)
	}
}
