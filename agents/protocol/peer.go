package protocol

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"zmailer/spool/dsn"
)

// MaxCredits is the most jobs that one agent may have at once. It bounds what an
// agent that repeats "#hungry" can claim.
const MaxCredits = 10_000

// A Said is one line of an agent, understood.
type Said struct {
	Kind    SaidKind
	Credits int     // Hungry: how many more jobs the agent takes
	Report  *Report // Result
	Text    string  // Log: the text; Garbage: what was wrong with the line
}

// SaidKind is what kind of line it was.
type SaidKind uint8

const (
	Hungry  SaidKind = iota // "#hungry [N]"
	Result                  // "result ..."
	Log                     // "#log ..."
	Remark                  // any other line that begins with "#": for people
	Garbage                 // not of this protocol
)

// ParseSaid parses a line of an agent without its newline. It never fails: what
// is not understood is Garbage, which the scheduler logs, counts and passes over.
func ParseSaid(line string) Said {
	switch {
	case strings.HasPrefix(line, "result\t"):
		r, err := ParseReport(line)
		if err != nil {
			return Said{Kind: Garbage, Text: err.Error()}
		}
		return Said{Kind: Result, Report: r}
	case line == "#hungry":
		return Said{Kind: Hungry, Credits: 1}
	case strings.HasPrefix(line, "#hungry "):
		n, err := strconv.Atoi(line[len("#hungry "):])
		if err != nil || n < 1 || n > MaxCredits {
			return Said{Kind: Garbage, Text: fmt.Sprintf("want #hungry 1 to %d: %.60q", MaxCredits, line)}
		}
		return Said{Kind: Hungry, Credits: n}
	case strings.HasPrefix(line, "#log "):
		return Said{Kind: Log, Text: line[len("#log "):]}
	case strings.HasPrefix(line, "#"):
		return Said{Kind: Remark, Text: line}
	}
	return Said{Kind: Garbage, Text: fmt.Sprintf("not a line of the protocol: %.200q", line)}
}

// An Event is something an agent did that its scheduler acts upon.
type Event struct {
	Kind    SaidKind // Hungry, Log, Remark or Garbage; Result means that a job is complete
	Credits int
	Job     *Job
	Results []dsn.Result // of Job.Rcpts, in their order
	Text    string
}

// A Peer is the scheduler's end of the pipes to one agent. It keeps the agent's
// account: how many jobs it may be given, which it has, which recipients of them
// are still without a result. An agent cannot make it believe more than that: a
// result for a job it was not given is Garbage.
//
// Send and CloseInput never block. All methods are safe for concurrent use.
type Peer struct {
	in   io.WriteCloser // the agent's standard input
	mu   sync.Mutex
	wake *sync.Cond // something to write, or closing
	buf  []byte
	end  bool // no more jobs: close the agent's input when buf is written
	jobs map[uint64]*pending

	credits int
	most    int // the most the agent asked for: credits and jobs never exceed it
}

type pending struct {
	job     *Job
	results []dsn.Result
	got     []bool
	left    int
}

// NewPeer begins a conversation. in is the agent's standard input.
func NewPeer(in io.WriteCloser) *Peer {
	p := &Peer{in: in, jobs: make(map[uint64]*pending)}
	p.wake = sync.NewCond(&p.mu)
	go p.write()
	return p
}

// Send gives a job to the agent. The caller has seen a credit for it.
func (p *Peer) Send(job *Job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(job.Rcpts)
	p.jobs[job.Number] = &pending{job: job, results: make([]dsn.Result, n), got: make([]bool, n), left: n}
	p.credits--
	p.buf = job.Append(p.buf)
	p.wake.Signal()
}

// CloseInput tells the agent that there are no more jobs: it finishes what it has
// and exits.
func (p *Peer) CloseInput() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = true
	p.wake.Signal()
}

// Outstanding returns the jobs without a complete answer, in no order.
func (p *Peer) Outstanding() []*Job {
	p.mu.Lock()
	defer p.mu.Unlock()
	jobs := make([]*Job, 0, len(p.jobs))
	for _, o := range p.jobs {
		jobs = append(jobs, o.job)
	}
	return jobs
}

// Abandon takes back the jobs without a complete answer, after the agent's death.
// Results that did arrive are kept; the recipients without one get r.
func (p *Peer) Abandon(r dsn.Result) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	events := make([]Event, 0, len(p.jobs))
	for _, o := range p.jobs {
		for i := range o.results {
			if !o.got[i] {
				o.results[i] = r
			}
		}
		events = append(events, Event{Kind: Result, Job: o.job, Results: o.results})
	}
	clear(p.jobs)
	return events
}

// write copies jobs to the agent. An agent that is gone shows as the end of its
// output, so the error of a write needs no report of its own.
func (p *Peer) write() {
	var spare []byte
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for len(p.buf) == 0 && !p.end {
			p.wake.Wait()
		}
		if len(p.buf) == 0 {
			break
		}
		batch := p.buf
		p.buf = spare[:0]
		p.mu.Unlock()
		_, err := p.in.Write(batch)
		p.mu.Lock()
		spare = batch
		if err != nil {
			break
		}
	}
	p.in.Close()
}

// batchSize bounds how many events Read collects before it hands them over.
const batchSize = 256

// Read reads the agent's output until it ends and calls fn with what it means, a
// batch at a time. fn must not keep the slice.
func (p *Peer) Read(out io.Reader, fn func([]Event)) error {
	r := bufio.NewReaderSize(out, MaxLine)
	var batch []Event
	flush := func() {
		if len(batch) > 0 {
			fn(batch)
			clear(batch)
			batch = batch[:0]
		}
	}
	defer flush()
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			batch = append(batch, Event{Kind: Garbage, Text: fmt.Sprintf("line longer than %d bytes: %.60q", MaxLine, line)})
			err = skipLine(r)
		case err == nil:
			batch = p.hear(batch, string(bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'})))
		case len(line) > 0:
			batch = append(batch, Event{Kind: Garbage, Text: fmt.Sprintf("output ends within a line: %.200q", line)})
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(batch) >= batchSize || !lineBuffered(r) {
			flush()
		}
	}
}

// skipLine passes over the rest of a line that is too long.
func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

func lineBuffered(r *bufio.Reader) bool {
	b, err := r.Peek(r.Buffered())
	return err == nil && bytes.IndexByte(b, '\n') >= 0
}

// hear enters one line into the account and appends what follows from it.
func (p *Peer) hear(batch []Event, line string) []Event {
	said := ParseSaid(line)
	switch said.Kind {
	case Result:
		return p.result(batch, said.Report)
	case Hungry:
		return p.hungry(batch, said.Credits)
	}
	return append(batch, Event{Kind: said.Kind, Text: said.Text})
}

func (p *Peer) hungry(batch []Event, n int) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, n)
	if p.credits+len(p.jobs)+n > p.most {
		return append(batch, Event{Kind: Garbage, Text: fmt.Sprintf("#hungry for %d more with %d jobs and %d credits of %d", n, len(p.jobs), p.credits, p.most)})
	}
	p.credits += n
	return append(batch, Event{Kind: Hungry, Credits: n})
}

func (p *Peer) result(batch []Event, r *Report) []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.jobs[r.Job]
	if o == nil {
		return append(batch, Event{Kind: Garbage, Text: fmt.Sprintf("result for job %d, which is not outstanding", r.Job)})
	}
	i := position(o.job.Rcpts, r.Rcpt)
	if i < 0 || o.got[i] {
		return append(batch, Event{Kind: Garbage, Text: fmt.Sprintf("job %d of %s: no result expected for recipient %d", r.Job, o.job.ID, r.Rcpt)})
	}
	o.got[i], o.results[i] = true, r.Result
	if o.left--; o.left > 0 {
		return batch
	}
	delete(p.jobs, r.Job)
	return append(batch, Event{Kind: Result, Job: o.job, Results: o.results})
}

// position finds n in the ascending list ns.
func position(ns []int, n int) int {
	lo, hi := 0, len(ns)
	for lo < hi {
		mid := (lo + hi) / 2
		if ns[mid] < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(ns) && ns[lo] == n {
		return lo
	}
	return -1
}
