package scheduler

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"
	"unique"

	"golang.org/x/sys/unix"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// Intake: control files are found by the watcher, which tells of each as the
// router closes it, and by scans. Both lead to consider, which knows what is known.

// consider takes up a control file unless it is known. scanned says that it was
// found by a scan: the message may then be what a crash has left, and its message
// file is looked for.
func (q *Queue) consider(id spool.ID, scanned bool, done func()) {
	key := msgID([]byte(id))
	if _, busy := q.loading[key]; busy {
		q.loading[key] = true // changed since it was read
		done()
		return
	}
	if q.stopping || q.shard(key)[key] != nil {
		done()
		return
	}
	q.loading[key] = false
	q.atDisk(id, func() func() {
		l := q.read(id, scanned)
		return func() {
			again := q.loading[key]
			delete(q.loading, key)
			switch {
			case l.control != nil:
				q.admit(key, l.control, scanned)
			case again && l.incomplete:
				q.consider(id, scanned, done)
				return
			case scanned && l.incomplete:
				// The router tells when it has finished the file. If it does not, it is
				// looked at when it is known to be damaged, not at the next scan.
				q.after(abandonAge+time.Second, func() { q.consider(id, true, func() {}) })
			}
			done()
		}
	})
}

type loaded struct {
	control    *spool.Control // nil: nothing to take up
	incomplete bool
}

// read reads a control file, at the disk. What cannot be understood is set aside;
// what the router has not finished, or what is finished already, is passed over.
func (q *Queue) read(id spool.ID, scanned bool) loaded {
	if scanned {
		var st unix.Stat_t
		if err := unix.Lstat(q.spool.QueuePath(id), &st); err == unix.ENOENT {
			// State "orphan" of the spool's table: finished, Recover removes it.
			return loaded{}
		}
	}
	c, err := readControl(q.spool.ControlPath(id))
	if err == nil && c.ID != id {
		// A file of the pool that a power cut left with what it held before: to the
		// router, this is a message that it has not finished.
		err = spool.ErrIncomplete
	}
	switch {
	case err == nil:
		return loaded{control: c}
	case errors.Is(err, fs.ErrNotExist):
		return loaded{}
	case errors.Is(err, spool.ErrIncomplete) && !q.abandoned(id):
		return loaded{incomplete: true}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		// The disk, not the file: the next scan tries again.
		q.log.Error("control file cannot be read", "spoolid", id, "err", err)
		return loaded{}
	}
	q.log.Error("control file is set aside", "spoolid", id, "err", err, "quarantine", q.spool.Quarantine(id, err.Error()))
	return loaded{}
}

// abandonAge is how old an incomplete control file is that no router will finish,
// and how long the scheduler waits for the router's recovery to take care of it.
const abandonAge = 5 * time.Minute

// abandoned says that an incomplete control file was damaged while the mailer ran:
// the router writes one in a moment, and recovers those it did not finish at its
// start. It is called by a scan, at the disk.
func (q *Queue) abandoned(id spool.ID) bool {
	var st unix.Stat_t
	if time.Since(q.stats.start) < abandonAge || unix.Lstat(q.spool.ControlPath(id), &st) != nil {
		return false
	}
	return time.Since(time.Unix(st.Mtim.Unix())) > abandonAge
}

// admit enters a message into the index.
func (q *Queue) admit(key msgID, c *spool.Control, scanned bool) {
	m := &message{id: key, heapIdx: -1, due: never, reportAt: never, arrival: secOf(c.Arrival), sender: unique.Make("")}
	m.since = max(m.arrival, secOf(c.Released), begins(c))
	m.size = uint32(min(c.Size, 1<<32-1))
	m.priority = priorityOf(c.Attr.Priority)
	if c.Held {
		m.flags |= msgHeld
	}
	if keeps(c) {
		m.flags |= msgKept
	}
	if wantsSuccess(c) {
		m.flags |= msgSuccess
	}
	if len(c.Groups) > 0 {
		m.sender = unique.Make(c.Groups[0].Sender.User)
	}
	q.shard(key)[key] = m
	q.stats.entered(m, q.now, !scanned || q.scan.scans > 0)
	users, all, warned := q.admitRcpts(m, c)
	if owed(c) {
		m.flags |= msgOwes
		m.reportAt = q.sec().add(q.conf.ReportInterval)
	}
	if warned == all {
		m.flags |= msgWarned
	}
	if toldLate(c) {
		m.flags |= msgLate
	}
	if !scanned {
		m.fresh = &fresh{users: users}
	}
	if m.live == 0 {
		q.complete(m)
		return
	}
	q.setDue(m)
	for v := m.vertices; v != nil; v = v.sibling {
		q.touch(v.th)
	}
}

// begins is when the first recipient may be tried, if none may be tried at once:
// the age of a message for a later day (RFC 4865) counts from that day.
func begins(c *spool.Control) sec {
	var first time.Time
	for i := range c.Groups {
		for j := range c.Groups[i].Rcpts {
			at := c.Groups[i].Rcpts[j].NotBefore
			if at.IsZero() {
				return 0
			}
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
	}
	return secOf(first)
}

// admitRcpts makes the message's vertices. It returns the users of all recipients,
// how many are pending, and how many of these were warned of a delay.
func (q *Queue) admitRcpts(m *message, c *spool.Control) (users []string, all, warned int) {
	parts := make(map[partKey]*part)
	var order []*part
	for i := range c.Groups {
		g := &c.Groups[i]
		by := deadlineOf(g)
		for j := range g.Rcpts {
			r := &g.Rcpts[j]
			users = append(users, r.User)
			if r.State != spool.Pending {
				continue
			}
			all++
			if strings.ContainsRune(r.Reported, rune(spool.ReportDelay)) {
				warned++
			}
			key := partKey{threadKey{unique.Make(r.Channel), unique.Make(strings.ToLower(r.Host))}, secOf(r.NotBefore), r.Kept, by, by != 0 && g.By.Return}
			p := parts[key]
			if p == nil || len(p.rcpts) == protocol.MaxJobRcpts {
				p = &part{partKey: key, next: never}
				parts[key] = p
				order = append(order, p)
			}
			p.add(r)
		}
	}
	for _, p := range order {
		q.addVertex(m, p)
	}
	return users, all, warned
}

// A partKey says which recipients of a message can go together.
type partKey struct {
	key    threadKey
	before sec  // not tried before, or 0
	kept   bool // until the message is released

	by      sec // the time that the sender has set, or 0
	returns bool
}

// A part is a vertex in the making.
type part struct {
	partKey
	rcpts    []int
	attempts int
	next     sec
	last     *spool.Rcpt // tried last
}

func (p *part) add(r *spool.Rcpt) {
	p.rcpts = append(p.rcpts, r.N)
	p.attempts = max(p.attempts, r.Attempts)
	next := p.before
	if r.Attempts > 0 {
		next = max(next, secOf(r.Next))
		if p.last == nil || r.LastTime.After(p.last.LastTime) {
			p.last = r
		}
	}
	p.next = min(p.next, next)
}

func (q *Queue) addVertex(m *message, p *part) {
	th := q.thread(p.key)
	v := &vertex{msg: m, th: th, heapIdx: -1, attempts: uint16(min(p.attempts, 1<<16-1)), kept: p.kept, by: p.by, returns: p.returns, state: gone}
	v.setRcpts(p.rcpts)
	v.sibling, m.vertices = m.vertices, v
	m.live++
	th.vertices++
	q.countRcpts(th, len(p.rcpts))
	if p.last != nil {
		th.reason = clip(p.last.Last.Text)
		if th.successAt.IsZero() {
			th.limit = 1 // a backlog of failed attempts: the destination has to prove itself
		}
	}
	q.place(v, p.next)
}

// owed says whether a report about c is outstanding.
func owed(c *spool.Control) bool {
	for i := range c.Groups {
		g := &c.Groups[i]
		for j := range g.Rcpts {
			if kind := owedKind(g.By, &g.Rcpts[j]); kind != 0 {
				return true
			}
		}
	}
	return false
}

// keeps says whether the policy has a recipient of c wait for its release.
func keeps(c *spool.Control) bool {
	for i := range c.Groups {
		for j := range c.Groups[i].Rcpts {
			if r := &c.Groups[i].Rcpts[j]; r.Kept && r.State == spool.Pending {
				return true
			}
		}
	}
	return false
}

func wantsSuccess(c *spool.Control) bool {
	for i := range c.Groups {
		for j := range c.Groups[i].Rcpts {
			if notify := c.Groups[i].Rcpts[j].Notify; dsn.WantsReport(notify, dsn.SuccessReport) || followed(c.Groups[i].By, notify) {
				return true
			}
		}
	}
	return false
}

// priorityOf is how many steps behind urgent mail a message stands.
func priorityOf(word string) uint8 {
	switch strings.ToLower(word) {
	case "high":
		return 0
	case "bulk", "junk":
		return 4
	}
	return 1
}

// watch feeds the watcher's notices to the owner until ctx ends.
func (q *Queue) watch(ctx context.Context, w *spool.Watcher) {
	nothing := func() {}
	for {
		var ids []spool.ID
		err := w.Next(ctx, func(id spool.ID) { ids = append(ids, id) })
		if len(ids) > 0 {
			q.inbox.postSlow(func() {
				for _, id := range ids {
					q.consider(id, false, nothing)
				}
			})
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, spool.ErrOverflow):
			q.log.Warn("notices of new mail were lost: scanning", "event", "overflow")
			q.requestScan()
		case err != nil:
			q.log.Error("watch of transport ended: new mail is found by scans alone", "err", err)
			q.post(func() { q.scan.often = true })
			q.requestScan() // or it would wait for the next one to learn of it
			return
		}
	}
}

// scanState is the progress of the scan of transport/.
type scanState struct {
	want  chan struct{}
	often bool // the watcher is gone

	running bool
	dirs    int // of HashDirs, done in this scan
	files   int // seen in this scan
	found   int // of them, new
	started time.Time
	took    time.Duration // of the last complete scan
	scans   int
}

func (q *Queue) requestScan() {
	select {
	case q.scan.want <- struct{}{}:
	default:
	}
}

const (
	scanInterval  = 10 * time.Minute
	scanOften     = 15 * time.Second
	scanAtOnce    = 256  // names handed over in one go
	scanUnsettled = 1024 // files being read at any time
)

// scanner scans transport/ at start and then now and then, as a safety net.
func (q *Queue) scanner(ctx context.Context) {
	for {
		q.scanAll(ctx)
		wait := scanInterval
		if !q.ask(ctx, func() {
			if q.scan.often {
				wait = scanOften
			}
		}) {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-q.scan.want:
			t.Stop()
		case <-t.C:
		}
	}
}

// scanAll goes through transport/ once. It holds back while files that it has
// found are still being read, so that new mail is never behind more than
// scanUnsettled of them.
func (q *Queue) scanAll(ctx context.Context) {
	slots := make(chan struct{}, scanUnsettled)
	release := func() { <-slots }
	q.post(func() {
		s := &q.scan
		s.running, s.dirs, s.files, s.found, s.started = true, 0, 0, 0, q.now
	})
	for _, h := range spool.HashDirs() {
		var ids []spool.ID
		hand := func() error {
			for range ids {
				select {
				case slots <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			batch := ids
			ids = nil
			q.inbox.postSlow(func() {
				q.scan.files += len(batch)
				for _, id := range batch {
					q.consider(id, true, release)
				}
			})
			return nil
		}
		err := spool.EachID(filepath.Join(q.spool.Root, spool.TransportDir, h), func(id spool.ID) error {
			if ids = append(ids, id); len(ids) < scanAtOnce {
				return nil
			}
			return hand()
		})
		if err == nil {
			err = hand()
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			q.log.Error("scan of transport", "err", err)
		}
		q.post(func() { q.scan.dirs++ })
	}
	for range cap(slots) { // wait for the last ones
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
	q.post(func() {
		s := &q.scan
		s.running, s.took, s.scans = false, q.now.Sub(s.started), s.scans+1
		q.log.Info("scanned transport", "event", "scan", "files", s.files, "messages", q.stats.messages, "took", s.took)
	})
}
