package tatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A bench runs the checks.
type bench struct {
	*options
	ctx    context.Context
	argv   []string
	spool  *spool.Spool
	conf   string
	out    io.Writer
	number uint64
	failed int
	notes  []string
}

// A check is one thing an agent must do right. run gets an agent that has said
// #hungry; afterwards its input is closed and it must exit.
type check struct {
	name string
	run  func(b *bench, a *agent) error
}

// checks are run in this order, each with a process of its own.
var checks = []check{
	{"says #hungry, and exits at the end of its input", func(*bench, *agent) error { return nil }},
	{"answers a job for one recipient", func(b *bench, a *agent) error { return b.deliver(a, 1, 1) }},
	{"answers each recipient of a job once", func(b *bench, a *agent) error { return b.deliver(a, 1, 10) }},
	{"works through many jobs", func(b *bench, a *agent) error { return b.deliver(a, b.jobs, 2) }},
	{"finishes what it has when its input ends", (*bench).endEarly},
	{"defers a message whose files are not there", (*bench).missing},
	{"defers a message whose file is cut short", (*bench).short},
	{"defers a recipient that is not the job's", (*bench).foreign},
	{"does not deliver again what is done", (*bench).finished},
	{"ignores a last line without newline", (*bench).torn},
}

func (b *bench) check(c check) error {
	b.notes = nil
	begin := time.Now()
	a, err := b.start()
	if err != nil {
		return fmt.Errorf("start %s: %w", strings.Join(b.argv, " "), err)
	}
	err = a.hello()
	if err == nil {
		err = c.run(b, a)
	}
	if err != nil {
		a.kill()
	} else {
		err = a.end()
	}
	if err == nil && len(a.faults) > 0 {
		err = fmt.Errorf("%d lines against the protocol, the first: %s", len(a.faults), a.faults[0])
	}
	if b.ctx.Err() != nil {
		return b.ctx.Err()
	}
	verdict := "ok  "
	if err != nil {
		verdict = "FAIL"
		b.failed++
	}
	fmt.Fprintf(b.out, "%s  %s (%v)\n", verdict, c.name, time.Since(begin).Round(time.Millisecond))
	if err != nil {
		fmt.Fprintf(b.out, "      %v\n", err)
	}
	if err != nil || b.verbose {
		b.show(a)
	}
	return nil
}

func (b *bench) note(text string) {
	if len(b.notes) < maxStderr {
		b.notes = append(b.notes, text)
	}
}

func (b *bench) show(a *agent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, line := range a.stderr {
		fmt.Fprintf(b.out, "      stderr: %s\n", line)
	}
	for _, line := range b.notes {
		fmt.Fprintf(b.out, "      log: %s\n", line)
	}
}

const body = "a line\n.a line with a dot\n\nFrom a line\nand the last one, \xe4\xf6\xfc\n"

// message puts a message with n recipients into the spool.
func (b *bench) message(n int) (*spool.Control, error) {
	header := "From: <" + b.sender + ">\nTo: <" + b.users[0] + ">\nSubject: test of a transport agent\n\n"
	env := &spool.Envelope{HasFrom: true, From: b.sender}
	id, err := b.spool.SubmitMessage(b.ctx, env, strings.NewReader(header+body))
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(b.spool.Path(spool.RouterDir, id))
	if err != nil {
		return nil, err
	}
	g := spool.Group{Sender: spool.Hop{Channel: "local", User: b.sender, Privilege: os.Getuid()}, Header: []byte(header)}
	for i := range n {
		g.Rcpts = append(g.Rcpts, spool.Rcpt{Hop: spool.Hop{Channel: b.channel, Host: b.host, User: b.users[i%len(b.users)], Privilege: os.Getuid()}})
	}
	c := &spool.Control{
		ID: id, Size: st.Size(), BodyOffset: st.Size() - int64(len(body)), HeaderOffset: st.Size() - int64(len(header)+len(body)),
		Arrival: time.Now(), MessageID: "<" + string(id) + "@ta-test.example>", Groups: []spool.Group{g},
	}
	return c, b.spool.Route(spool.RouterDir, c, nil)
}

func (b *bench) job(id spool.ID, rcpts ...int) *protocol.Job {
	b.number++
	return &protocol.Job{Number: b.number, ID: id, Channel: b.channel, Host: b.host, Rcpts: rcpts}
}

// makeJobs makes jobs for n messages with r recipients each.
func (b *bench) makeJobs(n, r int) ([]*protocol.Job, error) {
	var jobs []*protocol.Job
	for range n {
		c, err := b.message(r)
		if err != nil {
			return nil, err
		}
		rcpts := make([]int, r)
		for i := range rcpts {
			rcpts[i] = i
		}
		jobs = append(jobs, b.job(c.ID, rcpts...))
	}
	return jobs, nil
}

// deliver gives n jobs of r recipients, as many at once as the agent takes.
func (b *bench) deliver(a *agent, n, r int) error {
	jobs, err := b.makeJobs(n, r)
	if err != nil {
		return err
	}
	sent, done := 0, 0
	most := a.credits
	for done < n || a.credits < most {
		for a.credits > 0 && sent < n {
			a.send(jobs[sent])
			sent++
		}
		ev, err := a.next()
		if err != nil {
			return fmt.Errorf("%d jobs were given and %d answered: %w", sent, done, err)
		}
		if ev.Kind == protocol.Result {
			done++
		}
	}
	return nil
}

func (b *bench) endEarly(a *agent) error {
	jobs, err := b.makeJobs(min(a.credits, 10), 1)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		a.send(j)
	}
	a.peer.CloseInput()
	if _, err := a.results(len(jobs)); err != nil {
		if left := len(a.peer.Outstanding()); left > 0 {
			return fmt.Errorf("%d of %d jobs were not answered: %w", left, len(jobs), err)
		}
	}
	return nil // the last #hungry lines do not matter any more
}

// deferred gives one job and wants every recipient to be deferred.
func (b *bench) deferred(a *agent, j *protocol.Job) error {
	a.send(j)
	done, err := a.results(1)
	if err != nil {
		return err
	}
	for i, r := range done[0].Results {
		if r.Action != dsn.Deferred && r.Action != dsn.RetryAt {
			return fmt.Errorf("recipient %d: %v %s %q, want it deferred", j.Rcpts[i], r.Action, r.Status, r.Text)
		}
	}
	return nil
}

func (b *bench) missing(a *agent) error {
	return errors.Join(b.deferred(a, b.job(spool.NewID(), 0, 1)), b.deliver(a, 1, 1))
}

func (b *bench) short(a *agent) error {
	c, err := b.message(1)
	if err != nil {
		return err
	}
	if err := os.Truncate(b.spool.QueuePath(c.ID), c.Size-10); err != nil {
		return err
	}
	return b.deferred(a, b.job(c.ID, 0))
}

func (b *bench) foreign(a *agent) error {
	c, err := b.message(1)
	if err != nil {
		return err
	}
	return b.deferred(a, b.job(c.ID, 7))
}

// finished gives a job for a recipient that the control file knows as delivered.
// The text of the earlier result must come back: it shows that the agent looked.
func (b *bench) finished(a *agent) error {
	c, err := b.message(1)
	if err != nil {
		return err
	}
	before := dsn.Success("2.0.0", "delivered before")
	ev := spool.Event{Rcpts: []int{0}, At: time.Now(), Result: before}
	if err := b.spool.AppendEvents(c.ID, ev.Append(nil)); err != nil {
		return err
	}
	a.send(b.job(c.ID, 0))
	done, err := a.results(1)
	if err != nil {
		return err
	}
	if r := done[0].Results[0]; r.Action != dsn.OK || r.Text != before.Text {
		return fmt.Errorf("result %v %q, want the earlier one: ok %q", r.Action, r.Text, before.Text)
	}
	return nil
}

// torn ends the input within a line: the scheduler died. The job must not be done.
func (b *bench) torn(a *agent) error {
	c, err := b.message(1)
	if err != nil {
		return err
	}
	line := b.job(c.ID, 0).Append(nil)
	if _, err := a.stdin.Write(line[:len(line)-1]); err != nil {
		return err
	}
	a.peer.CloseInput()
	for {
		ev, err := a.next()
		if err != nil {
			break
		}
		if ev.Kind == protocol.Result {
			return errors.New("it worked on a line without newline")
		}
	}
	for _, f := range a.faults {
		if strings.Contains(f, "not outstanding") {
			return errors.New("it worked on a line without newline")
		}
	}
	return nil
}
