package scheduler

import (
	"fmt"
	"slices"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// An outcome is the same result for several recipients of a vertex.
type outcome struct {
	rcpts  []int
	result dsn.Result
	next   sec // of those that are tried again
}

// A settlement brings the outcomes of one vertex to the disk, and what follows
// from them back to memory.
type settlement struct {
	q        *Queue
	m        *message
	v        *vertex
	id       spool.ID
	outcomes []outcome
	// decide makes the outcomes at the disk, from the control file: for recipients
	// that were not tried.
	decide   func(*spool.Control) ([]outcome, error)
	deciding []int // about whom
	left     []int // recipients that stay pending
	next     sec   // when those are tried again
	users    []string
	last     bool // the message is finished and nothing is owed: its files go
	at       time.Time

	revoked  bool // the message was to be finished, and is not
	appended bool
	logged   bool
	failed   bool // and said so
}

// jobDone enters the results of a job.
func (q *Queue) jobDone(r *run, rcpts []int, results []dsn.Result, died bool) {
	v := r.v
	th := v.th
	th.active--
	if !died {
		q.judge(th, r, results)
	}
	s := &settlement{q: q, m: v.msg, v: v, id: v.msg.id.spool(), at: q.now}
	for i, n := range rcpts {
		res := results[i]
		next := sec(0)
		if !res.Action.Final() {
			res, next = q.deferral(v, res)
		}
		s.add(n, res, next)
	}
	v.state = settling
	q.settle(s)
	q.touch(th)
}

// judge lets the thread learn from the results of a job.
func (q *Queue) judge(th *thread, r *run, results []dsn.Result) {
	var wait time.Duration
	refused := 0
	for i := range results {
		if results[i].Action == dsn.RetryAt {
			refused++
			wait = max(wait, results[i].RetryAfter)
		}
		if !results[i].Action.Final() {
			th.reason = clip(results[i].Text)
		}
	}
	if refused < len(results) {
		th.reached(q.now)
	} else {
		th.notReached(q.now, r.started, min(wait, maxRetryAfter))
	}
}

// maxRetryAfter bounds how long a destination can ask to be left alone.
const maxRetryAfter = 24 * time.Hour

// deferral says what becomes of a recipient that was not reached: when it is
// tried again, or that it has been tried for long enough.
func (q *Queue) deferral(v *vertex, res dsn.Result) (dsn.Result, sec) {
	th := v.th
	switch {
	case v.msg.is(msgKilled):
		return deleted(), 0
	case !v.isHeld() && v.expires() <= q.sec():
		return v.gaveUp(q.sec(), th.clause.Expiry, res.Text), 0
	}
	next := v.lastTry(q.sec().add(th.clause.delay(int(v.attempts))), q.sec())
	if res.Action == dsn.RetryAt {
		next = max(next, th.until)
	}
	return res, next
}

func deleted() dsn.Result {
	return dsn.Result{Action: dsn.Expanded, Status: "2.0.0", Text: "deleted by the administrator"}
}

const noAttempt = "no attempt was possible"

func expired(after time.Duration, problem string) dsn.Result {
	if problem == "" {
		problem = noAttempt
	}
	return dsn.Perm("5.4.7", "could not be delivered within %s; last problem: %s", people(after), problem)
}

// people writes a time as one would say it.
func people(d time.Duration) string {
	unit, n := "minute", int(d/time.Minute)
	switch {
	case d >= 48*time.Hour:
		unit, n = "day", int(d/(24*time.Hour))
	case d >= 2*time.Hour:
		unit, n = "hour", int(d/time.Hour)
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// add adds the result of a recipient. Equal ones share an outcome, and so a line
// of the control file.
func (s *settlement) add(n int, res dsn.Result, next sec) {
	if !res.Action.Final() {
		s.left = append(s.left, n)
		s.next = max(s.next, next)
	}
	for i := range s.outcomes {
		if o := &s.outcomes[i]; o.result == res && o.next == next {
			o.rcpts = append(o.rcpts, n)
			return
		}
	}
	s.outcomes = append(s.outcomes, outcome{[]int{n}, res, next})
}

// settle sends a settlement to the disk.
func (q *Queue) settle(s *settlement) {
	m := s.m
	if m.is(msgDamaged) {
		s.writeLog() // there is no control file that could know of it
		q.dropDamaged(s.v)
		return
	}
	for i := range s.outcomes {
		switch s.outcomes[i].result.Action {
		case dsn.Failed:
			q.owe(m)
		case dsn.OK:
			if m.is(msgSuccess) {
				q.owe(m)
			}
		}
	}
	s.last = len(s.left) == 0 && m.live == 1 && !m.is(msgOwes|msgWorking)
	if s.last {
		m.flags |= msgWorking
	}
	if m.fresh != nil {
		s.users = m.fresh.users
	}
	if len(s.left) > 0 {
		m.fresh = nil
	}
	q.atDisk(s.id, s.run)
}

// owe notes that the sender is to hear of recipients that are finished.
func (q *Queue) owe(m *message) {
	if !m.is(msgOwes) {
		m.flags |= msgOwes
		m.reportAt = q.sec().add(q.conf.ReportInterval)
	}
}

const diskRetry = 15 * time.Second

// run does the disk's part.
func (s *settlement) run() (done func()) {
	err := s.write()
	if s.q.isDamage(s.id, err) {
		if !s.logged {
			s.writeLog()
		}
		return func() {
			s.q.damaged(s.m, err)
			s.q.dropDamaged(s.v)
		}
	}
	if err != nil {
		// The recipients stay in state settling: nobody delivers them again while
		// this is tried again.
		if !s.failed { // a full disk is full enough without a line for each attempt
			s.failed = true
			s.q.log.Error("control file cannot be written: trying again", "spoolid", s.id, "err", err)
		}
		return func() {
			s.q.stats.diskErrors++
			s.q.after(diskRetry, func() { s.q.atDisk(s.id, s.run) })
		}
	}
	return func() { s.q.settled(s) }
}

func (s *settlement) write() error {
	if s.users == nil {
		if err := s.consult(); err != nil {
			return err
		}
	}
	if !s.last && !s.appended && len(s.outcomes) > 0 {
		if err := s.q.spool.AppendEvents(s.id, s.events()); err != nil {
			return err
		}
		s.appended = true
	}
	if !s.logged {
		s.writeLog()
		s.logged = true
	}
	if !s.last {
		return nil
	}
	if err := s.q.spool.Finish(s.id); err != nil {
		return err
	}
	s.q.logDone(s.id, s.m.arrival, s.at)
	return nil
}

// consult reads the control file for what is not in memory.
func (s *settlement) consult() error {
	c, err := s.q.control(s.id, spool.ReadControl)
	if err != nil {
		return err
	}
	s.users = userList(c)
	if s.decide != nil {
		var err error
		if s.outcomes, err = s.decide(c); err != nil {
			s.q.log.Error("recipients stay in the queue", "spoolid", s.id, "err", err)
			s.keepUndecided()
		}
		s.decide = nil
	}
	return nil
}

// keepUndecided leaves recipients pending whose decision could not be carried out.
func (s *settlement) keepUndecided() {
	for _, n := range s.deciding {
		if !slices.ContainsFunc(s.outcomes, func(o outcome) bool { return slices.Contains(o.rcpts, n) }) {
			s.left = append(s.left, n)
		}
	}
	s.revoked, s.last = s.last, false
}

func userList(c *spool.Control) []string {
	var users []string
	for i := range c.Groups {
		for j := range c.Groups[i].Rcpts {
			users = append(users, c.Groups[i].Rcpts[j].User)
		}
	}
	return users
}

func (s *settlement) events() []byte {
	var b []byte
	for i := range s.outcomes {
		o := &s.outcomes[i]
		ev := spool.Event{Rcpts: o.rcpts, At: s.at, Result: o.result, Next: o.next.time()}
		b = ev.Append(b)
	}
	return b
}

var actionLog = [...]string{
	dsn.Deferred: "deferred", dsn.OK: "delivered", dsn.Failed: "failed", dsn.RetryAt: "deferred", dsn.Expanded: "replaced",
}

// writeLog writes a line for each recipient.
func (s *settlement) writeLog() {
	channel, host := s.v.th.channel(), s.v.th.host()
	delay := secOf(s.at).since(s.m.arrival)
	for i := range s.outcomes {
		o := &s.outcomes[i]
		for _, n := range o.rcpts {
			var to string
			if n >= len(s.users) {
				to = fmt.Sprintf("recipient %d", n) // of a control file that was lost
			} else {
				to = queuesock.Address(channel, s.users[n])
			}
			s.q.log.Info(actionLog[o.result.Action], "spoolid", s.id, "to", to, "channel", channel, "host", host,
				"relay", o.result.Relay, "dsn", o.result.FullStatus(), "delay", delay, "text", o.result.Text)
		}
	}
}

func (q *Queue) logDone(id spool.ID, arrival sec, at time.Time) {
	q.log.Info("done", "spoolid", id, "delay", secOf(at).since(arrival))
}

// settled does what follows, once the outcomes are on the disk.
func (q *Queue) settled(s *settlement) {
	m, v := s.m, s.v
	th := v.th
	if m.is(msgDamaged) {
		q.dropDamaged(v)
		return
	}
	if s.revoked {
		m.flags &^= msgWorking
	}
	finished := v.nrcpts() - len(s.left)
	q.countRcpts(th, -finished)
	for i := range s.outcomes {
		o := &s.outcomes[i]
		q.stats.count(o.result.Action, len(o.rcpts), q.now)
		q.stats.attempt(th.stats, &o.result, len(o.rcpts), secOf(s.at).since(m.arrival))
	}
	switch {
	case s.last:
		q.dropVertex(v)
		q.forget(m)
	case len(s.left) == 0:
		q.dropVertex(v)
		if m.live == 0 {
			q.complete(m)
		} else {
			q.setDue(m)
		}
	default:
		slices.Sort(s.left)
		v.setRcpts(s.left)
		next := s.next
		if v.again {
			v.again, next, th.until = false, 0, 0
		}
		q.place(v, next)
		if m.is(msgKilled) {
			q.removeAll(m, decision{silent: true, result: func(*spool.Rcpt) dsn.Result { return deleted() }})
		}
		q.setDue(m)
	}
	q.touch(th)
}

// dropVertex takes a vertex without recipients out of message and thread.
func (q *Queue) dropVertex(v *vertex) {
	m := v.msg
	for p := &m.vertices; *p != nil; p = &(*p).sibling {
		if *p == v {
			*p = v.sibling
			break
		}
	}
	m.live--
	v.th.vertices--
	v.state = gone
}

// complete moves on a message without pending recipients: reports, then removal.
func (q *Queue) complete(m *message) {
	if m.is(msgWorking|msgDamaged) || q.stopping {
		return // who works on it comes back here; or the next scheduler does
	}
	if m.is(msgOwes) {
		q.sendReports(m)
		return
	}
	m.flags |= msgWorking
	id, at := m.id.spool(), q.now
	q.atDisk(id, func() func() {
		err := q.spool.Finish(id)
		if err == nil {
			q.logDone(id, m.arrival, at)
			return func() { q.forget(m) }
		}
		q.log.Error("message cannot be removed: trying again", "spoolid", id, "err", err)
		return func() {
			m.flags &^= msgWorking
			q.stats.diskErrors++
			q.after(diskRetry, func() { q.complete(m) })
		}
	})
}

// forget removes a message whose files are gone.
func (q *Queue) forget(m *message) {
	q.deadline.remove(m)
	delete(q.shard(m.id), m.id)
	q.stats.left(m, q.now)
}
