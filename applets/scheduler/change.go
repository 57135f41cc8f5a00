package scheduler

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// Changes of the queue that an administrator asks for. They are made message by
// message, so that a change of 100,000 messages never keeps the owner from its
// work, and progress can be shown.

// A change is one operation on the recipients ns of a message; all says that these
// are all pending ones. It returns how many recipients it changed and how many it
// could not, because they are being delivered.
type change func(q *Queue, m *message, ns []int, all bool, text string) (changed, busy int)

var changes = map[string]change{
	queuesock.OpHold:    (*Queue).hold,
	queuesock.OpRelease: (*Queue).release,
	queuesock.OpRequeue: (*Queue).requeue,
	queuesock.OpFlush:   (*Queue).flush,
	queuesock.OpReroute: (*Queue).reroute,
	queuesock.OpDelete: func(q *Queue, m *message, ns []int, all bool, _ string) (int, int) {
		if all {
			m.flags |= msgKilled // what is running now ends when its result comes
		}
		return q.removeSome(m, ns, decision{silent: true, result: func(*spool.Rcpt) dsn.Result { return deleted() }})
	},
	queuesock.OpBounce: func(q *Queue, m *message, ns []int, _ bool, text string) (int, int) {
		text = cmp.Or(text, byAdministrator)
		return q.removeSome(m, ns, decision{result: func(*spool.Rcpt) dsn.Result { return dsn.Perm("5.7.0", "%s", text) }})
	},
	queuesock.OpExpire: func(q *Queue, m *message, ns []int, _ bool, _ string) (int, int) {
		age := q.sec().since(m.arrival)
		return q.removeSome(m, ns, decision{result: func(r *spool.Rcpt) dsn.Result { return expired(age, r.Last.Text) }})
	},
}

const byAdministrator = "returned by the administrator"

// A changer carries a change out, a batch of messages at a time.
type changer struct {
	*client
	req   *queuesock.Request
	fn    change
	total queuesock.Changed
	batch []target
	told  time.Time
}

// A target is a message with recipients to be changed.
type target struct {
	id  msgID
	ns  []int
	all bool
}

const (
	changeBatch   = 128
	progressEvery = time.Second
)

// change carries out a change on a selection.
func (c *client) change(req *queuesock.Request, fn change) error {
	ch := &changer{client: c, req: req, fn: fn, told: time.Now()}
	if err := ch.awaitScan(); err != nil {
		return err
	}
	ch.total.Unknown = unknown(c.q.spool, req.Select.IDs) // before they are deleted
	scanned, err := c.each(&req.Select, func(s *seen) error {
		ns, all, err := c.selected(s, &req.Select)
		if err != nil || len(ns) == 0 {
			return err
		}
		ch.batch = append(ch.batch, target{msgID([]byte(s.id)), ns, all})
		if len(ch.batch) < changeBatch {
			return nil
		}
		return ch.carryOut()
	})
	if err == nil {
		err = ch.carryOut()
	}
	if err == nil {
		err = ch.changeFrozen()
	}
	if err != nil {
		return err
	}
	ch.total.Scanned = scanned
	return c.send(&queuesock.Answer{Changed: &ch.total, Done: true})
}

// awaitScan waits until the scheduler has read the queue, unless it knows all messages
// that are asked for: a change must not miss those it has not come to.
func (ch *changer) awaitScan() error {
	for {
		done := 1.0
		if err := ch.ask(func() { done = ch.q.scanned(ch.req.Select.IDs) }); err != nil || done == 1 {
			return err
		}
		if time.Since(ch.told) >= progressEvery {
			ch.told = time.Now()
			if err := ch.send(&queuesock.Answer{Changed: &queuesock.Changed{Reading: done}}); err != nil {
				return err
			}
			if err := ch.flush(); err != nil {
				return err
			}
		}
		select {
		case <-ch.ctx.Done():
			return ch.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// scanned is the part of the queue that has been read, 1 also when all of the ids
// are known.
func (q *Queue) scanned(ids []string) float64 {
	if q.scan.scans > 0 {
		return 1
	}
	known := len(ids) > 0
	for _, id := range ids {
		id, err := spool.ParseID(id)
		if err != nil {
			continue
		}
		key := msgID([]byte(id))
		known = known && q.shard(key)[key] != nil
	}
	if known {
		return 1
	}
	return min(max(0.01, float64(q.scan.dirs)/float64(len(spool.HashDirs()))), 0.99)
}

// unknown returns the ids that no message in the spool has.
func unknown(s *spool.Spool, ids []string) (list []string) {
	for _, text := range ids {
		if id, err := spool.ParseID(text); err != nil || !there(s, id) {
			list = append(list, text)
		}
	}
	return list
}

// there says whether a message is in the spool, in whatever state.
func there(s *spool.Spool, id spool.ID) bool {
	for range 2 { // it may be moved from a directory to one looked at before
		for _, path := range []string{s.ControlPath(id), s.QueuePath(id), s.Path(spool.RouterDir, id),
			s.Path(spool.DeferredDir, id), s.Path(spool.FreezerDir, id), s.Path(spool.PostmanDir, id)} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return true
			}
		}
	}
	return false
}

// carryOut changes the messages of the batch, and tells of the progress.
func (ch *changer) carryOut() error {
	if ch.req.DryRun {
		for _, t := range ch.batch {
			ch.count(len(t.ns), 0)
		}
	} else if err := ch.ask(func() {
		for _, t := range ch.batch {
			m := ch.q.shard(t.id)[t.id]
			if m == nil {
				continue // finished meanwhile
			}
			changed, busy := ch.fn(ch.q, m, t.ns, t.all, ch.req.Text)
			ch.count(changed, busy)
			if changed+busy == 0 {
				continue // not held, for one
			}
			ch.q.log.Info("changed by administrator", "spoolid", t.id.spool(), "action", ch.req.Op, "user", ch.uid, "nrcpt", changed)
		}
	}); err != nil {
		return err
	}
	ch.batch = ch.batch[:0]
	if time.Since(ch.told) < progressEvery {
		return nil
	}
	ch.told = time.Now()
	if err := ch.send(&queuesock.Answer{Changed: &ch.total}); err != nil {
		return err
	}
	return ch.flush()
}

func (ch *changer) count(changed, busy int) {
	if changed > 0 {
		ch.total.Messages++
	}
	ch.total.Recipients += changed
	ch.total.Busy += busy
}

// selected returns the recipients of a message that are selected, in ascending
// order. The control file is read only if the memory does not know enough.
func (c *client) selected(s *seen, sel *queuesock.Selection) (ns []int, all bool, err error) {
	if !sel.Detailed() {
		for i := range s.state {
			st := &s.state[i]
			if sel.Recip(&queuesock.Recipient{Channel: st.channel, Host: st.host, State: vertexStateNames[st.state]}) {
				ns = append(ns, st.rcpts...)
			}
		}
		slices.Sort(ns)
		return ns, sel.Channel == "" && sel.Host == "" && sel.Etrn == "" && sel.State == "", nil
	}
	e, err := c.entry(s, sel)
	if err != nil || e == nil {
		return nil, false, err
	}
	for i := range e.Recipients {
		ns = append(ns, e.Recipients[i].N)
	}
	slices.Sort(ns)
	return ns, false, nil
}

// chosen calls fn for the vertices of m that have recipients of ns.
func chosen(m *message, ns []int, fn func(v *vertex, some []int)) {
	var next *vertex
	for v := m.vertices; v != nil; v = next {
		next = v.sibling
		var some []int
		for _, n := range v.rcpts() {
			if _, found := slices.BinarySearch(ns, n); found {
				some = append(some, n)
			}
		}
		if len(some) > 0 {
			fn(v, some)
		}
	}
}

// removeSome ends recipients by decision.
func (q *Queue) removeSome(m *message, ns []int, decide decision) (changed, busy int) {
	chosen(m, ns, func(v *vertex, some []int) {
		if q.remove(v, some, decide) {
			changed += len(some)
		} else {
			busy += len(some)
		}
	})
	return changed, busy
}

// hold keeps the message from being tried. It is a property of the message.
func (q *Queue) hold(m *message, _ []int, _ bool, _ string) (changed, busy int) {
	if m.is(msgHeld) {
		return 0, 0
	}
	q.setHeld(m, true)
	for v := m.vertices; v != nil; v = v.sibling {
		if v.state == running || v.state == settling {
			busy += v.nrcpts() // held when their results come
			continue
		}
		changed += v.nrcpts()
		next := v.next
		if v.state == ready {
			next = 0
		}
		v.takeOut()
		q.place(v, next)
		q.touch(v.th)
	}
	q.setDue(m)
	return changed, busy
}

// release undoes hold, and frees what the policy keeps.
func (q *Queue) release(m *message, _ []int, _ bool, _ string) (changed, busy int) {
	if !m.is(msgHeld | msgKept) {
		return 0, 0
	}
	for v := m.vertices; v != nil; v = v.sibling {
		v.kept = false
	}
	q.setHeld(m, false)
	m.since = max(m.since, q.sec())
	for v := m.vertices; v != nil; v = v.sibling {
		if v.state == held {
			changed += v.nrcpts()
			v.takeOut()
			q.place(v, v.next)
			q.touch(v.th)
		}
	}
	q.setDue(m)
	return changed, busy
}

func (q *Queue) setHeld(m *message, held bool) {
	if m.is(msgHeld | msgKept) {
		q.stats.held--
	}
	if held {
		m.flags |= msgHeld
		q.stats.held++
	} else {
		m.flags &^= msgHeld | msgKept
	}
	q.appendHold(m.id.spool(), held, q.now)
}

// appendHold notes it in the control file.
func (q *Queue) appendHold(id spool.ID, held bool, at time.Time) {
	q.atDisk(id, func() func() {
		err := q.spool.AppendEvents(id, spool.AppendHold(nil, held, at))
		if err == nil {
			return func() {}
		}
		q.log.Error("control file cannot be written: the next scheduler will not know of the change", "spoolid", id, "held", held, "err", err)
		return func() { q.stats.diskErrors++ }
	})
}

// requeue has recipients tried now, and gives their destinations another chance. An
// attempt that is being made may have begun before what it failed for was mended: if
// it fails, there is another one.
func (q *Queue) requeue(m *message, ns []int, _ bool, _ string) (changed, busy int) {
	if m.is(msgHeld) {
		return 0, 0
	}
	chosen(m, ns, func(v *vertex, _ []int) {
		if v.state == running || v.state == settling {
			v.again = true
			busy += v.nrcpts()
			return
		}
		if v.state == held {
			return
		}
		changed += v.nrcpts()
		if v.state == waiting {
			v.takeOut()
			q.makeReady(v)
		}
		v.th.until = 0
		q.touch(v.th)
	})
	return changed, busy
}

// flush is requeue, also where scheduler.conf says queueonly.
func (q *Queue) flush(m *message, ns []int, all bool, text string) (changed, busy int) {
	if !m.is(msgHeld) {
		chosen(m, ns, func(v *vertex, _ []int) {
			if v.th.clause.QueueOnly && (v.state == ready || v.state == waiting) {
				v.th.forced++
			}
		})
	}
	return q.requeue(m, ns, all, text)
}
