package scheduler

import (
	"context"
	"os"
	"slices"

	"zmailer/agents/protocol"
	"zmailer/agents/resubmit"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// reroute gives recipients back to the router, which decides by its present policy.
// Their message is submitted anew for them, as the agent reroute does, and is
// durable before the control file says that they are gone from here: a crash in
// between delivers twice, never not at all.
func (q *Queue) reroute(m *message, ns []int, _ bool, _ string) (changed, busy int) {
	id, r := m.id.spool(), &resubmit.Resubmitter{Spool: q.spool, Hostname: q.reporter.host, Via: "reroute"}
	return q.removeSome(m, ns, decision{silent: true, perform: func(c *spool.Control, ns []int) ([]outcome, error) {
		return resubmitted(q.spool, r, id, c, ns)
	}})
}

// resubmitted submits the message of c for the recipients ns, at the disk.
func resubmitted(s *spool.Spool, r *resubmit.Resubmitter, id spool.ID, c *spool.Control, ns []int) ([]outcome, error) {
	file, err := os.Open(s.QueuePath(id))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	d := &protocol.Delivery{Job: protocol.Job{ID: id}, Control: c, File: file}
	var all settlement
	for i := range c.Groups {
		g := c.Groups[i]
		g.Rcpts = slices.DeleteFunc(slices.Clone(g.Rcpts), func(rc spool.Rcpt) bool {
			_, chosen := slices.BinarySearch(ns, rc.N)
			return !chosen || rc.State != spool.Pending
		})
		if len(g.Rcpts) == 0 {
			continue
		}
		fresh, err := r.Group(context.Background(), d, &g)
		if err != nil {
			// Groups submitted before this one stay submitted: their recipients are
			// done with here, the others stay.
			return all.outcomes, err
		}
		for j := range g.Rcpts {
			all.add(g.Rcpts[j].N, dsn.Result{Action: dsn.Expanded, Status: "2.1.5", Text: "reroute: submitted again as " + string(fresh)}, 0)
		}
	}
	return all.outcomes, nil
}
