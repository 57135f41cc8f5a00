package scheduler

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// Reports are made from the control file, which holds all that was appended
// before: nothing of them is kept in memory.

// A reporter makes the reports that are owed.
type reporter struct {
	host         string // this host, as the reporting MTA
	forms        *dsn.FormSet
	doubleBounce string
}

// sendReports reports what is owed about a message, and moves it on.
func (q *Queue) sendReports(m *message) {
	// What fails while the report is being made is owed anew.
	m.flags &^= msgOwes
	m.reportAt = never
	q.work(m, "report", func(r *reporter, c *spool.Control) ([]byte, error) { return r.owed(q, c) }, func(err error) {
		if err != nil {
			q.owe(m)
			m.reportAt = q.sec().add(reportRetry)
		}
	})
}

// sendWarning tells the sender that recipients are delayed.
func (q *Queue) sendWarning(m *message) {
	until := m.lastExpiry()
	q.work(m, "warning", func(r *reporter, c *spool.Control) ([]byte, error) {
		return r.delays(q, c, spool.ReportDelay, until)
	}, func(err error) {
		if err == nil {
			m.flags |= msgWarned
		}
	})
}

// lastExpiry is when the last attempt can be made for any recipient.
func (m *message) lastExpiry() time.Time {
	last := m.since
	for v := m.vertices; v != nil; v = v.sibling {
		at := m.since.add(v.th.clause.Expiry)
		if v.returns {
			at = min(at, v.by)
		}
		last = max(last, at)
	}
	return last.time()
}

// work has reports made at the disk and appends the events that make returns; done
// hears how it went. After a failure the message stays and it is tried again.
func (q *Queue) work(m *message, what string, make func(*reporter, *spool.Control) ([]byte, error), done func(error)) {
	m.flags |= msgWorking
	id, r := m.id.spool(), q.reporter
	q.atDisk(id, func() func() {
		c, err := q.control(id, spool.ReadControl)
		if q.isDamage(id, err) {
			return func() { q.damaged(m, err) }
		}
		var events []byte
		if err == nil {
			events, err = make(&r, c)
		}
		if err != nil {
			q.log.Error("report cannot be made: trying again", "spoolid", id, "action", what, "err", err)
		}
		return q.noteReports(m, events, func() {
			m.flags &^= msgWorking
			done(err)
			if err != nil {
				q.stats.diskErrors++
			}
			q.worked(m, err)
		})
	})
}

// noteReports appends the events of reports that were sent, at the disk; then is
// called when they are written. Until then this alone is tried again: a report that
// was sent is not sent again.
func (q *Queue) noteReports(m *message, events []byte, then func()) (done func()) {
	if len(events) == 0 {
		return then
	}
	id := m.id.spool()
	err := q.spool.AppendEvents(id, events)
	if err == nil {
		return then
	}
	if q.isDamage(id, err) {
		return func() { q.damaged(m, err) }
	}
	q.log.Error("control file cannot be written: trying again", "spoolid", id, "err", err)
	return func() {
		q.stats.diskErrors++
		q.after(diskRetry, func() {
			q.atDisk(id, func() func() { return q.noteReports(m, events, then) })
		})
	}
}

func (q *Queue) worked(m *message, err error) {
	switch {
	case m.live > 0:
		q.setDue(m)
	case err != nil:
		q.after(reportRetry, func() { q.complete(m) })
	default:
		q.complete(m)
	}
}

// owedKind is the report that is owed about a recipient, or 0.
func owedKind(by spool.DeliverBy, r *spool.Rcpt) spool.ReportKind {
	kind, wanted := spool.ReportFailure, false
	switch r.State {
	case spool.Bounced:
		wanted = dsn.WantsReport(r.Notify, dsn.FailureReport)
	case spool.Done:
		kind = spool.ReportSuccess
		wanted = tracked(by, r) || dsn.WantsReport(r.Notify, dsn.SuccessReport) && !passedOn(r)
	}
	if !wanted || strings.ContainsRune(r.Reported, rune(kind)) {
		return 0
	}
	return kind
}

// relayedOnly is the status of a recipient that was given to a host which will not
// report success itself: RFC 3886.
const relayedOnly = "2.1.9"

// passedOn says that another host has taken over the duty to report success: it
// knows RFC 3461, or the agent would have said otherwise.
func passedOn(r *spool.Rcpt) bool { return r.Last.Remote && r.Last.Status != relayedOnly }

// owed makes the reports about finished recipients and returns their events.
func (r *reporter) owed(q *Queue, c *spool.Control) (events []byte, err error) {
	for _, kind := range []spool.ReportKind{spool.ReportFailure, spool.ReportSuccess} {
		for _, g := range groups(c, func(by spool.DeliverBy, r *spool.Rcpt) bool { return owedKind(by, r) == kind }) {
			event, e := r.send(q, c, g, kind, time.Time{})
			events = append(events, event...)
			err = errors.Join(err, e)
		}
	}
	return events, err
}

// delays makes the delay warnings, or the notices that the time is over which the
// sender has set. Who has got the latter needs no warning any more.
func (r *reporter) delays(q *Queue, c *spool.Control, kind spool.ReportKind, until time.Time) (events []byte, err error) {
	pending := func(by spool.DeliverBy, r *spool.Rcpt) bool {
		if kind == spool.ReportLate && (by.IsZero() || by.Return || by.Told) || strings.ContainsAny(r.Reported, string([]rune{rune(kind), rune(spool.ReportLate)})) {
			return false
		}
		return r.State == spool.Pending && dsn.WantsReport(r.Notify, dsn.DelayReport)
	}
	for _, g := range groups(c, pending) {
		if silent(c, g) {
			continue
		}
		event, e := r.send(q, c, g, kind, until)
		events = append(events, event...)
		err = errors.Join(err, e)
	}
	return events, err
}

// groups returns c's groups with the recipients chosen, those of one sender, who has
// set one time, in one group.
func groups(c *spool.Control, choose func(spool.DeliverBy, *spool.Rcpt) bool) []*spool.Group {
	type asker struct {
		sender string
		by     spool.DeliverBy
	}
	var out []*spool.Group
	bySender := make(map[asker]*spool.Group)
	for i := range c.Groups {
		g := &c.Groups[i]
		for j := range g.Rcpts {
			if !choose(g.By, &g.Rcpts[j]) {
				continue
			}
			key := asker{g.Sender.User, g.By}
			to := bySender[key]
			if to == nil {
				to = &spool.Group{Sender: g.Sender, By: g.By, Header: g.Header}
				bySender[key] = to
				out = append(out, to)
			}
			to.Rcpts = append(to.Rcpts, g.Rcpts[j])
		}
	}
	return out
}

// silent says that nobody is told what became of the group: it is a report
// itself, or has no sender.
func silent(c *spool.Control, g *spool.Group) bool { return c.Attr.ErrorMsg || g.NullSender() }

var reportKinds = map[spool.ReportKind]dsn.Kind{
	spool.ReportFailure: dsn.FailureReport, spool.ReportDelay: dsn.DelayReport, spool.ReportLate: dsn.DelayReport, spool.ReportSuccess: dsn.SuccessReport,
}

// send submits one report and returns its event for the control file.
func (r *reporter) send(q *Queue, c *spool.Control, g *spool.Group, kind spool.ReportKind, until time.Time) ([]byte, error) {
	to := g.Sender.User
	var ns []int
	for i := range g.Rcpts {
		ns = append(ns, g.Rcpts[i].N)
	}
	now := time.Now()
	if silent(c, g) {
		if kind != spool.ReportFailure {
			return spool.AppendReport(nil, ns, now, kind, noReport), nil
		}
		q.log.Warn("double bounce", "spoolid", c.ID, "from", to, "nrcpt", len(ns), "to", queuesock.Address(g.Rcpts[0].Channel, g.Rcpts[0].User), "text", g.Rcpts[0].Last.Text, "user", r.doubleBounce)
		if to = r.doubleBounce; to == "" {
			return spool.AppendReport(nil, ns, now, kind, noReport), nil
		}
	}
	file, err := os.Open(q.spool.QueuePath(c.ID))
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody has removed it: the sender hears of it all the same.
		q.log.Error("message file is missing: its report goes without the content", "spoolid", c.ID)
	} else if err != nil {
		return nil, err
	}
	defer file.Close() // of nil it is an error that does not matter
	comment := ""
	if silent(c, g) {
		if comment = doubleBounced; file != nil && isDoubleBounce(file, c) {
			q.log.Error("mail for the postmaster cannot be delivered", "spoolid", c.ID, "user", to)
			return spool.AppendReport(nil, ns, now, kind, noReport), nil
		}
	}
	id := spool.NewID()
	rep := r.build(c, g, kind, until)
	rep.ID, rep.Date, rep.Sender = string(id), now, to
	if file != nil {
		rep.Body, rep.BodySize = io.NewSectionReader(file, c.BodyOffset, c.Size-c.BodyOffset), c.Size-c.BodyOffset
	}
	msg, bodyType := rep.Build()
	env := &spool.Envelope{ErrorMsg: true, Comment: comment, HasFrom: true, To: []spool.Recipient{{Addr: to}}, BodyType: bodyType, SMTPUTF8: rep.SMTPUTF8,
		RequireTLS: c.Attr.RequireTLS} // RFC 8689 §5
	sub, err := q.spool.SubmitAs(id, env)
	if err != nil {
		return nil, err
	}
	if _, err := sub.Write(msg); err != nil {
		sub.Abort()
		return nil, err
	}
	if err := sub.Commit(context.Background()); err != nil {
		return nil, err
	}
	q.log.Info("report", "spoolid", c.ID, "action", reportKinds[kind].String(), "msgid", id, "to", to, "nrcpt", len(ns))
	return spool.AppendReport(nil, ns, now, kind, id), nil
}

// noReport is the id in the control file of a report that nobody gets.
const noReport = "none"

// doubleBounced is the comment in the envelope of a report to the postmaster about
// mail that has nobody to report to: if that fails too it is the end.
const doubleBounced = "double bounce"

func isDoubleBounce(message io.ReaderAt, c *spool.Control) bool {
	env, _, err := spool.ReadEnvelope(bufio.NewReader(io.NewSectionReader(message, 0, c.HeaderOffset)))
	return err == nil && env.Comment == doubleBounced
}

func (r *reporter) build(c *spool.Control, g *spool.Group, kind spool.ReportKind, until time.Time) *dsn.Report {
	rep := &dsn.Report{
		Kind: reportKinds[kind], ReportingMTA: r.host, OriginalID: string(c.ID), Arrival: c.Arrival,
		DeliverBy: g.By.At, EnvID: c.Attr.EnvID, Ret: c.Attr.Ret, SMTPUTF8: c.Attr.SMTPUTF8, Header: g.Header,
		Form: r.forms.Choose(reportKinds[kind], g.Header),
	}
	if c.Attr.RequireTLS {
		// RFC 8689 §5: a report, which may travel without TLS, must not carry the content.
		rep.Ret = "HDRS"
	}
	for i := range g.Rcpts {
		rc := &g.Rcpts[i]
		res := rc.Last
		if kind == spool.ReportLate {
			res = dsn.Temp("4.4.7", "%s", inTime(g.By.At, res.Text))
		}
		rep.Rcpts = append(rep.Rcpts, dsn.ReportRcpt{
			Final: queuesock.Address(rc.Channel, rc.User), ORcpt: rc.ORcpt, Result: res, Last: rc.LastTime, Until: until,
		})
	}
	return rep
}
