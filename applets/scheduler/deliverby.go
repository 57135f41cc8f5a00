package scheduler

import (
	"strings"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// The time for delivery that the sender has set: RFC 2852. With mode R a recipient who
// does not have the message by then goes back, with mode N the sender is told of the
// delay and it goes on. He is also told of hosts that it was passed on to: with mode N of
// those that do not know of the time, with a trace of all.

// deadlineOf is the time of a group, or 0: what was over when the message came is no
// time of ours.
func deadlineOf(g *spool.Group) sec {
	if g.By.IsZero() || g.By.Told {
		return 0
	}
	return secOf(g.By.At)
}

// toldLate says that the sender knows of the delay of all that are late.
func toldLate(c *spool.Control) bool {
	told := false
	for i := range c.Groups {
		g := &c.Groups[i]
		if deadlineOf(g) == 0 || g.By.Return {
			continue
		}
		for j := range g.Rcpts {
			if r := &g.Rcpts[j]; r.State != spool.Pending {
				continue
			} else if !strings.ContainsRune(r.Reported, rune(spool.ReportLate)) {
				return false
			}
			told = true
		}
	}
	return told
}

// tellsLate is when the sender is told that the time is over.
func (v *vertex) tellsLate() sec {
	if v.by == 0 || v.returns || v.msg.is(msgLate) {
		return never
	}
	return v.by
}

// lastTry moves the next attempt forward to one shortly before the time is over, if it
// would come after that.
func (v *vertex) lastTry(next, now sec) sec {
	if v.by == 0 || next < v.by {
		return next
	}
	last := v.by - min(v.by, sec(v.th.clause.ByWindow/time.Second))
	if last > now {
		return last
	}
	return next
}

// followed says that the sender may want to hear of the host that a recipient was given
// to, whatever he says of success.
func followed(by spool.DeliverBy, notify string) bool {
	return !by.IsZero() && (by.Trace || !by.Return) && !strings.EqualFold(notify, "NEVER")
}

// tracked says that the sender is to hear of the host that a recipient was given to:
// RFC 2852 §4.1.4.
func tracked(by spool.DeliverBy, r *spool.Rcpt) bool {
	return followed(by, r.Notify) && r.Last.Remote && (by.Trace || r.Last.Status == relayedOnly)
}

// gaveUp is the end of a vertex that was tried for so long.
func (v *vertex) gaveUp(now sec, after time.Duration, problem string) dsn.Result {
	if v.returns && v.by <= now {
		return dsn.Perm("5.4.7", "%s", inTime(v.by.time(), problem))
	}
	return expired(after, problem)
}

func inTime(by time.Time, problem string) string {
	if problem == "" {
		problem = noAttempt
	}
	return "could not be delivered by " + rfc5322.FormatDate(by) + ", the time that the sender has set; last problem: " + problem
}

// sendLate tells the sender that the time is over.
func (q *Queue) sendLate(m *message) {
	until := m.lastExpiry()
	q.work(m, "late", func(r *reporter, c *spool.Control) ([]byte, error) {
		return r.delays(q, c, spool.ReportLate, until)
	}, func(err error) {
		if err == nil {
			m.flags |= msgLate
		}
	})
}
