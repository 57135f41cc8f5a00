package scheduler

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
)

// status answers with the totals.
func (c *client) status() error {
	st := newStatus()
	if err := c.ask(func() { c.q.fillStatus(st) }); err != nil {
		return err
	}
	st.Memory = memoryInUse()
	return c.send(&queuesock.Answer{Status: st, Done: true})
}

func newStatus() *queuesock.Status {
	return &queuesock.Status{Pid: os.Getpid(), Threads: make(map[string]int), Rates: make(map[string]queuesock.Rates)}
}

func memoryInUse() int64 {
	var m runtime.MemStats // package runtime/metrics costs every program 0.1 ms at its start
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}

func (q *Queue) fillStatus(st *queuesock.Status) {
	s := &q.stats
	st.Uptime = int64(q.now.Sub(s.start) / time.Second)
	st.Config = q.conf.File
	st.Messages, st.Recipients, st.Bytes, st.Held = s.messages, s.rcpts, s.bytes, s.held
	if s.messages > 0 {
		st.Oldest = int64(s.oldest())
	}
	for state, n := range s.threads {
		st.Threads[threadStateNames[state]] = n
	}
	for _, p := range q.pools {
		st.Agents = append(st.Agents, p.describe())
	}
	slices.SortFunc(st.Agents, func(a, b queuesock.Agents) int {
		return strings.Compare(a.Pattern+"\x00"+a.Host, b.Pattern+"\x00"+b.Host)
	})
	st.Rates["minute"], st.Rates["hour"], st.Rates["day"] = s.minute.sum(q.now), s.hour.sum(q.now), s.day.sum(q.now)
	st.Rates["total"] = s.total
	st.Scan = queuesock.Scan{Running: q.scan.running, Done: 1, Files: q.scan.files, Scans: q.scan.scans, Seconds: q.scan.took.Seconds()}
	if q.scan.running {
		st.Scan.Done = float64(q.scan.dirs) / float64(len(spool.HashDirs()))
		st.Scan.Seconds = q.now.Sub(q.scan.started).Seconds()
	}
	st.Problems = queuesock.Problems{AgentDeaths: s.agentDeaths, Garbage: s.garbage, DiskErrors: s.diskErrors}
}

func (p *pool) describe() queuesock.Agents {
	a := queuesock.Agents{
		Pattern: p.key.pattern, Channel: p.key.channel, Host: p.key.host, Waiting: p.ring.len(), Failing: p.failures > 0 || p.clause.Command == "", Pids: []int{},
	}
	if p.ring.len() > 0 {
		a.Pending = p.pend
	}
	for _, ag := range p.agents {
		if ag.child == nil {
			continue
		}
		a.Pids = append(a.Pids, ag.child.pid)
		a.Jobs += len(ag.jobs)
		if len(ag.jobs) > 0 {
			a.Running++
		} else {
			a.Idle++
		}
	}
	return a
}

// threads answers with the threads selected.
func (c *client) threads(sel *queuesock.Selection) error {
	var all []queuesock.Thread
	if err := c.ask(func() {
		for _, th := range c.q.threads {
			if sel.Thread(th.channel(), th.host()) && (sel.State == "" || sel.State == threadStateNames[th.state]) {
				all = append(all, c.q.describeThread(th))
			}
		}
	}); err != nil {
		return err
	}
	for i := range all {
		if err := c.send(&queuesock.Answer{Thread: &all[i]}); err != nil {
			return err
		}
	}
	return c.send(&queuesock.Answer{Done: true})
}

func (q *Queue) describeThread(th *thread) queuesock.Thread {
	t := queuesock.Thread{
		Channel: th.channel(), Host: th.host(), State: threadStateNames[th.state], Messages: th.vertices,
		Recipients: th.rcpts, Active: th.active, Limit: th.limit, Failures: th.failures, Reason: th.reason,
	}
	if th.wake != never {
		t.NextTry = int64(th.wake)
	}
	switch {
	case th.rateUntil > q.sec():
		t.Pending = "rate limit"
	case th.inRing:
		t.Pending = th.pool.pend
	}
	return t
}

// A seen is what the memory knows of a message, copied for a client.
type seen struct {
	id      spool.ID
	sender  string
	arrival time.Time
	size    int64
	held    bool
	state   []seenRcpts
}

type seenRcpts struct {
	channel, host string
	state         vertexState
	next          sec
	warns         sec
	expires       sec
	attempts      int
	rcpts         []int
}

var vertexStateNames = [...]string{ready: "ready", waiting: "waiting", running: "running", settling: "settling", held: "held", gone: "gone"}

// each calls fn with the messages that may match, a shard of the queue at a time,
// so that neither the owner nor the memory is taken up by a long queue.
func (c *client) each(sel *queuesock.Selection, fn func(*seen) error) (scanned int, err error) {
	var batch []seen
	for _, i := range c.q.shardsOf(sel) {
		clear(batch)
		batch = batch[:0]
		if err := c.ask(func() {
			for _, m := range c.q.messages[i] {
				scanned++
				if s, ok := c.q.see(m, sel); ok {
					batch = append(batch, s)
				}
			}
		}); err != nil {
			return scanned, err
		}
		for j := range batch {
			if err := fn(&batch[j]); err != nil {
				return scanned, err
			}
		}
	}
	return scanned, nil
}

// shardsOf lists the shards where messages of the selection can be.
func (q *Queue) shardsOf(sel *queuesock.Selection) []int {
	var list []int
	if len(sel.IDs) == 0 {
		for i := range q.messages {
			list = append(list, i)
		}
		return list
	}
	for _, id := range sel.IDs {
		if id, err := spool.ParseID(id); err == nil {
			list = append(list, shardOf(msgID([]byte(id))))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (q *Queue) see(m *message, sel *queuesock.Selection) (seen, bool) {
	id := m.id.spool()
	if !sel.Message(string(id), m.sender.Value(), m.arrival.time(), int64(m.size), q.now) {
		return seen{}, false
	}
	s := seen{id: id, sender: m.sender.Value(), arrival: m.arrival.time(), size: int64(m.size), held: m.is(msgHeld)}
	for v := m.vertices; v != nil; v = v.sibling {
		th := v.th
		if !sel.Thread(th.channel(), th.host()) {
			continue
		}
		next := v.next
		if v.state == ready {
			next = 0
		}
		if th.until > next && (v.state == ready || v.state == waiting) {
			next = th.until
		}
		s.state = append(s.state, seenRcpts{th.channel(), th.host(), v.state, next, min(v.warns(), v.tellsLate()), v.expires(), int(v.attempts), v.rcpts()})
	}
	return s, len(s.state) > 0
}

// list answers with the messages selected.
func (c *client) list(sel *queuesock.Selection) error {
	_, err := c.each(sel, func(s *seen) error {
		e, err := c.entry(s, sel)
		if err != nil || e == nil || !c.admin && e.Owner != strconv.Itoa(c.uid) {
			return err
		}
		return c.send(&queuesock.Answer{Entry: e})
	})
	if err != nil {
		return err
	}
	return c.send(&queuesock.Answer{Done: true})
}

// entry reads the control file of a message and makes the entry of its recipients
// that are selected; nil if there are none, or if the message is gone meanwhile.
func (c *client) entry(s *seen, sel *queuesock.Selection) (*queuesock.Entry, error) {
	ctl, err := c.q.control(s.id, readControl)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if c.q.isDamage(s.id, err) {
		c.q.post(func() { c.q.suspect(s.id) })
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if ctl.ID != s.id {
		return nil, nil // finished, and its control file reused, while it was read
	}
	e := &queuesock.Entry{
		QueueName: "incoming", QueueID: string(s.id), ArrivalTime: ctl.Arrival.Unix(), MessageSize: ctl.Size,
		Sender: s.sender, MessageID: ctl.MessageID, Priority: ctl.Attr.Priority, Owner: ctl.Attr.Owner,
	}
	for i := range s.state {
		st := &s.state[i]
		for _, n := range st.rcpts {
			r := ctl.Rcpt(n)
			if r == nil || r.State != spool.Pending {
				continue
			}
			rc := describeRcpt(ctl.GroupOf(n).By, r, st)
			if sel.Recip(&rc) {
				e.Recipients = append(e.Recipients, rc)
			}
			e.QueueName = busier(e.QueueName, st, rc.Attempts)
		}
	}
	if s.held {
		e.QueueName = "hold"
	}
	if len(e.Recipients) == 0 {
		return nil, nil
	}
	return e, nil
}

func busier(name string, st *seenRcpts, attempts int) string {
	switch {
	case st.state == running || name == "active":
		return "active"
	case attempts > 0:
		return "deferred"
	}
	return name
}

func describeRcpt(by spool.DeliverBy, r *spool.Rcpt, st *seenRcpts) queuesock.Recipient {
	rc := queuesock.FromRcpt(by, r)
	rc.Attempts = max(r.Attempts, st.attempts)
	rc.NextTry, rc.State = int64(st.next), vertexStateNames[st.state]
	if st.state != held {
		rc.Expires = int64(st.expires)
		if st.warns != never {
			rc.Warning = int64(st.warns) // or when the time for delivery is over
		}
	}
	return rc
}
