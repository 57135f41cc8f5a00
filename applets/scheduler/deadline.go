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
	due := never
	if m.is(msgOwes) {
		due = m.reportAt
	}
	if !m.is(msgHeld) {
		for v := m.vertices; v != nil; v = v.sibling {
			due = min(due, m.vertexDue(v.th.clause))
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

func (m *message) vertexDue(c *Clause) sec {
	due := m.arrival.add(c.Expiry)
	if !m.is(msgWarned) && c.DelayWarning > 0 {
		due = min(due, m.arrival.add(c.DelayWarning))
	}
	return due
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
	warn := false
	for v := m.vertices; v != nil && !m.is(msgHeld); v = v.sibling {
		c := v.th.clause
		if m.arrival.add(c.Expiry) <= now {
			q.expire(v)
		} else if c.DelayWarning > 0 && !m.is(msgWarned) && m.arrival.add(c.DelayWarning) <= now {
			warn = true
		}
	}
	switch {
	case m.is(msgWorking):
	case m.is(msgOwes) && m.reportAt <= now:
		q.sendReports(m)
	case warn:
		q.sendWarning(m)
	}
}

// expire ends a vertex that is not being worked on. One that is ends when its
// results come (deferral).
func (q *Queue) expire(v *vertex) {
	expiry, problem := v.th.clause.Expiry, v.th.reason
	q.remove(v, v.rcpts(), decision{result: func(r *spool.Rcpt) dsn.Result {
		if r.Last.Text != "" {
			problem = r.Last.Text
		}
		return expired(expiry, problem)
	}})
}

// A decision is the end of recipients that are not tried: their final results, made
// at the disk from the control file. If it is silent nobody is told of them.
type decision struct {
	result func(*spool.Rcpt) dsn.Result
	silent bool
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
	s.decide = func(c *spool.Control) []outcome {
		var all settlement
		for _, n := range ns {
			if r := c.Rcpt(n); r != nil {
				all.add(n, d.result(r), 0)
			}
		}
		return all.outcomes
	}
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
