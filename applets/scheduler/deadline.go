package scheduler

import (
	"slices"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// Deadlines of messages: report of collected failures, delay warning, expiry.

// setDue computes when the message needs attention next.
func (q *Queue) setDue(m *message) {
	if m.is(msgDamaged) {
		return
	}
	due := never
	if m.is(msgOwes) {
		due = m.reportAt
	}
	for v := m.vertices; v != nil; v = v.sibling {
		if !v.isHeld() {
			due = min(due, v.due(q.sec()))
		}
	}
	// What is due already and could not be done, because a recipient is at an
	// agent or at the disk, is looked at again in a while.
	if soon := q.sec() + recheck; due < soon && m.due <= q.sec() {
		due = soon
	}
	m.due = due
	q.deadline.set(m)
}

// recheck is how often, in seconds, what could not be done is looked at.
const recheck = 30

// due is when the vertex needs attention. At its expiry it is looked at, even if it
// is to get more time by then: it may have been tried meanwhile.
func (v *vertex) due(now sec) sec {
	at := v.msg.since.add(v.th.clause.Expiry)
	if at <= now {
		at = v.expires()
	}
	if v.returns {
		at = min(at, v.by)
	}
	return min(at, v.warns(), v.tellsLate())
}

// expires is when the vertex goes back to the sender. What this scheduler has not
// tried gets more time: after the host was down for days everything in the queue is
// old, and yet may be deliverable. A destination in back-off counts as tried.
func (v *vertex) expires() sec {
	at := v.msg.since.add(v.th.clause.Expiry)
	if !v.tried && v.th.failedAt.IsZero() {
		at = at.add(v.th.clause.Expiry2)
	}
	if v.returns {
		return min(at, v.by)
	}
	return at
}

// warns is when the sender is told of the delay.
func (v *vertex) warns() sec {
	if v.msg.is(msgWarned) || v.th.clause.DelayWarning == 0 || v.by != 0 && !v.returns && v.msg.is(msgLate) {
		return never
	}
	return v.msg.since.add(v.th.clause.DelayWarning)
}

// dueMessages attends to the messages whose time has come.
func (q *Queue) dueMessages() {
	now := q.sec()
	for q.deadline.next() <= now && !q.stopping {
		m := q.deadline[0]
		q.attend(m)
		q.setDue(m)
	}
}

func (q *Queue) attend(m *message) {
	now := q.sec()
	warn, late := false, false
	for v := m.vertices; v != nil; v = v.sibling {
		if v.isHeld() {
			continue
		}
		if v.expires() <= now {
			q.expire(v)
			continue
		}
		late = late || v.tellsLate() <= now
		warn = warn || v.warns() <= now
	}
	switch {
	case m.is(msgWorking):
	case m.is(msgOwes) && m.reportAt <= now:
		q.sendReports(m)
	case late:
		q.sendLate(m)
	case warn:
		q.sendWarning(m)
	}
}

// expire ends a vertex that is not being worked on. One that is ends when its
// results come (deferral).
func (q *Queue) expire(v *vertex) {
	now, age, problem := q.sec(), q.sec().since(v.msg.arrival), v.th.reason
	q.remove(v, v.rcpts(), decision{result: func(r *spool.Rcpt) dsn.Result {
		if r.Last.Text != "" {
			problem = r.Last.Text
		}
		return v.gaveUp(now, age, problem)
	}})
}

// A decision is the end of recipients that are not tried: their final results, made
// at the disk from the control file. If it is silent nobody is told of them.
type decision struct {
	result func(*spool.Rcpt) dsn.Result
	silent bool
	// perform takes the place of result where something has to be done that can
	// fail. Recipients without an outcome stay in the queue.
	perform func(c *spool.Control, ns []int) ([]outcome, error)
}

// outcomes decides about recipients ns.
func (d *decision) outcomes(c *spool.Control, ns []int) ([]outcome, error) {
	if d.perform != nil {
		return d.perform(c, ns)
	}
	var all settlement
	for _, n := range ns {
		if r := c.Rcpt(n); r != nil {
			all.add(n, d.result(r), 0)
		}
	}
	return all.outcomes, nil
}

// remove ends recipients ns of a vertex by decision; it returns false if an agent or the disk is working on the vertex.
func (q *Queue) remove(v *vertex, ns []int, d decision) bool {
	if v.state == running || v.state == settling {
		return false
	}
	s := &settlement{q: q, m: v.msg, v: v, id: v.msg.id.spool(), at: q.now, next: v.next}
	if v.state == ready {
		s.next = 0
	}
	for _, n := range v.rcpts() {
		if _, found := slices.BinarySearch(ns, n); !found {
			s.left = append(s.left, n)
		}
	}
	s.decide = func(c *spool.Control) ([]outcome, error) { return d.outcomes(c, ns) }
	s.deciding = ns
	v.takeOut()
	v.state = settling
	v.msg.fresh = nil
	if !d.silent {
		q.owe(v.msg)
	}
	q.settle(s)
	q.touch(v.th)
	return true
}

// removeAll ends all recipients of a message that are not being worked on.
func (q *Queue) removeAll(m *message, d decision) {
	for v := m.vertices; v != nil; v = v.sibling {
		q.remove(v, v.rcpts(), d)
	}
}

const reportRetry = time.Minute
