package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool/dsn"
)

// A launcher starts the processes of agents.
type launcher interface {
	launch(s *agentSpec) (*child, error)
}

// An agentSpec says what to start.
type agentSpec struct {
	env, argv   []string
	user, group string
	nice        int
	log         func(line string) // what the agent prints on its standard error
}

// A child is an agent's process and its pipes.
type child struct {
	pid  int
	in   io.WriteCloser
	out  io.Reader
	kill func()
	wait func() error // returns when the process has ended and out is at its end
}

// An agent is one transport agent.
type agent struct {
	pool  *pool
	name  string // channel, and host if it serves one
	child *child // nil until it is launched
	peer  *protocol.Peer

	jobs     map[uint64]*run
	credits  int
	greeted  bool // has said #hungry
	draining bool // gets no more jobs; its input is closed
	hung     bool // a job is over its deadline: killed when the others are done
	killed   bool
	answered int
	garbage  int
	started  time.Time
	idleFrom time.Time
}

// A run is a job at an agent.
type run struct {
	v       *vertex
	started time.Time
}

func (a *agent) usable() bool {
	c := a.pool.clause
	return a.credits > 0 && !a.draining && !a.hung && (c.Overfeed < 0 || len(a.jobs) <= c.Overfeed)
}

func (a *agent) idle() bool { return a.credits > 0 && len(a.jobs) == 0 && !a.draining }

const (
	helloTime   = time.Minute     // from start to the first #hungry
	hungGrace   = 2 * time.Minute // the other jobs of an agent that hangs
	closeTime   = 30 * time.Second
	maxGarbage  = 1000 // lines
	garbageLogs = 10   // lines that are logged
	maxBackoff  = 5 * time.Minute
)

func (q *Queue) startAgent(p *pool) {
	a := &agent{pool: p, jobs: make(map[uint64]*run), started: q.now, idleFrom: q.now, name: p.key.channel}
	if p.key.host != "" {
		a.name += "/" + p.key.host
	}
	p.agents = append(p.agents, a)
	p.starting++
	q.agents++
	q.perChan[p.key.channel]++
	q.stats.agentStarts++
	c := p.clause
	env, argv := c.command(p.key.channel, p.key.host)
	spec := &agentSpec{env: env, argv: argv, user: c.User, group: c.Group, nice: c.Nice}
	spec.log = func(line string) { q.log.Info("agent", "channel", p.key.channel, "text", line) }
	go q.tendProcess(a, spec)
}

// tendProcess lives as long as the agent's process.
func (q *Queue) tendProcess(a *agent, spec *agentSpec) {
	c, err := q.launcher.launch(spec)
	if err != nil {
		q.post(func() { q.agentGone(a, fmt.Errorf("start %s: %w", strings.Join(spec.argv, " "), err)) })
		return
	}
	peer := protocol.NewPeer(c.in)
	q.post(func() { q.agentLaunched(a, c, peer) })
	readErr := peer.Read(c.out, func(batch []protocol.Event) {
		events := slices.Clone(batch)
		q.inbox.postSlow(func() {
			for i := range events {
				q.agentSays(a, &events[i])
			}
		})
	})
	// Its output has ended: so should the agent.
	timer := time.AfterFunc(closeTime, c.kill)
	peer.CloseInput()
	err = c.wait()
	timer.Stop()
	if err == nil {
		err = readErr
	}
	q.post(func() { q.agentGone(a, err) })
}

func (q *Queue) agentLaunched(a *agent, c *child, peer *protocol.Peer) {
	a.child, a.peer = c, peer
	q.log.Info("agent started", "channel", a.pool.key.channel, "host", a.pool.key.host, "pid", c.pid)
	switch {
	case a.killed: // while it was being started
		c.kill()
	case q.stopping:
		q.drain(a)
	}
}

func (q *Queue) agentSays(a *agent, ev *protocol.Event) {
	switch ev.Kind {
	case protocol.Hungry:
		if !a.greeted {
			a.greeted = true
			a.pool.starting--
			a.pool.capacity = ev.Credits
		}
		a.credits += ev.Credits
		a.idleFrom = q.now
		q.mark(a.pool)
	case protocol.Result:
		r := a.jobs[ev.Job.Number]
		delete(a.jobs, ev.Job.Number)
		a.answered++
		a.pool.failures = 0
		q.jobDone(r, ev.Job.Rcpts, ev.Results, false)
	case protocol.Log:
		msg, attrs := agentLine(ev.Text)
		q.log.LogAttrs(context.Background(), slog.LevelInfo, msg, append(attrs, slog.Int("pid", a.child.pid))...)
	case protocol.Remark:
		q.log.Debug("agent", "channel", a.pool.key.channel, "pid", a.child.pid, "text", ev.Text)
	case protocol.Garbage:
		q.heardGarbage(a, ev.Text)
	}
}

func (q *Queue) heardGarbage(a *agent, text string) {
	a.garbage++
	q.stats.garbage++
	if a.garbage <= garbageLogs {
		q.log.Warn("agent does not follow the protocol", "channel", a.pool.key.channel, "pid", a.child.pid, "err", text)
	}
	if a.garbage == maxGarbage {
		q.log.Error("agent killed: it does not follow the protocol", "channel", a.pool.key.channel, "pid", a.child.pid, "size", a.garbage)
		q.kill(a)
	}
}

// agentGone enters the end of an agent: what it had is deferred.
func (q *Queue) agentGone(a *agent, err error) {
	p := a.pool
	p.agents = slices.DeleteFunc(p.agents, func(b *agent) bool { return a == b })
	q.agents--
	if q.perChan[p.key.channel]--; q.perChan[p.key.channel] == 0 {
		delete(q.perChan, p.key.channel)
	}
	if !a.greeted {
		p.starting--
	}
	lost := len(a.jobs)
	q.logEnd(a, lost, err)
	switch {
	case a.answered > 0 || a.draining || q.stopping:
	case scarce(err):
		// Descriptors, memory or processes of this host: there will be some in a moment.
		p.until = q.now.Add(time.Second)
	default:
		// Nothing came of it: the next one waits.
		p.failures++
		p.until = q.now.Add(min(time.Second<<min(p.failures-1, 10), maxBackoff))
	}
	if a.peer != nil {
		q.abandon(a)
	}
	a.credits = 0
	a.draining = true
	for _, other := range q.pools { // maxta and maxchannel may have kept them waiting
		if other.ring.len() > 0 {
			q.mark(other)
		}
	}
}

// scarce says that an agent could not be started for want of something that comes and
// goes.
func scarce(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (q *Queue) logEnd(a *agent, lost int, err error) {
	attrs := []any{"channel", a.pool.key.channel, "host", a.pool.key.host, "nrcpt", lost}
	if a.child != nil {
		attrs = append(attrs, "pid", a.child.pid)
	}
	switch {
	case err == nil && lost == 0:
		q.log.Info("agent ended", attrs...)
	default:
		q.stats.agentDeaths++
		q.log.Error("agent died", append(attrs, "err", err)...)
	}
}

// abandon defers what a dead agent had. At the end of the scheduler it is left
// as it is: pending, and tried again by the next one.
func (q *Queue) abandon(a *agent) {
	text := "transport agent died"
	if a.killed {
		text = "transport agent was killed: it did not answer in time"
	}
	for _, ev := range a.peer.Abandon(dsn.Temp("4.3.0", "%s", text)) {
		r := a.jobs[ev.Job.Number]
		delete(a.jobs, ev.Job.Number)
		if r == nil || q.stopping {
			continue
		}
		q.jobDone(r, ev.Job.Rcpts, ev.Results, true)
	}
}

// drain lets an agent finish what it has.
func (q *Queue) drain(a *agent) {
	if !a.draining && a.peer != nil {
		a.draining = true
		a.idleFrom = q.now
		a.peer.CloseInput()
	}
}

func (q *Queue) kill(a *agent) {
	a.killed = true
	if a.child != nil {
		a.child.kill()
	}
}

// tendAgent closes agents that are idle and kills those that hang.
func (q *Queue) tendAgent(a *agent) {
	c := a.pool.clause
	idle := q.now.Sub(a.idleFrom)
	switch {
	case a.child == nil || a.killed:
	case a.draining && len(a.jobs) == 0 && idle > closeTime:
		q.kill(a) // does not end although its input has
	case a.idle() && (a.hung || a.pool.old || idle >= c.IdleMax):
		q.drain(a)
	case !a.greeted && q.now.Sub(a.started) > helloTime:
		q.log.Error("agent killed: it does not say #hungry", "channel", a.pool.key.channel, "pid", a.child.pid)
		q.kill(a)
	default:
		q.checkDeadlines(a)
	}
}

// checkDeadlines kills an agent that holds a job for too long. Killing is the
// only way to be sure that it does not deliver the message after all, while it is
// given to another one; its other jobs get a while to finish.
func (q *Queue) checkDeadlines(a *agent) {
	var worst time.Duration
	late := 0
	for _, r := range a.jobs {
		if d := q.now.Sub(r.started) - a.pool.clause.Deadline; d > 0 {
			late++
			worst = max(worst, d)
		}
	}
	if late == 0 {
		return
	}
	a.hung = true
	if late == len(a.jobs) || worst > hungGrace {
		q.log.Error("agent killed: it holds a job for too long", "channel", a.pool.key.channel, "pid", a.child.pid, "nrcpt", late, "delay", worst+a.pool.clause.Deadline)
		q.kill(a)
	}
}

// stop begins the end: agents finish what they have and get nothing more.
func (q *Queue) stop() {
	q.stopping = true
	for _, p := range q.pools {
		for _, a := range p.agents {
			q.drain(a)
		}
	}
}

func (q *Queue) killAgents() {
	for _, p := range q.pools {
		for _, a := range p.agents {
			q.kill(a)
		}
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
