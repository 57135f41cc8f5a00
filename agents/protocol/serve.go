package protocol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// An Agent is what a transport agent brings to Serve.
type Agent struct {
	Spool    *spool.Spool
	Capacity int // jobs at once; fewer where the process has few descriptors

	// Deliver works on one delivery and reports a result for each of its
	// recipients. Those it does not report are deferred. It is called from several
	// goroutines at once when Capacity is more than one.
	Deliver func(ctx context.Context, d *Delivery)
}

// A Delivery is a job with the files it needs.
type Delivery struct {
	Job
	Control *spool.Control
	File    *os.File // message file, open for reading at arbitrary offsets

	out  *output
	left map[int]bool // recipients not reported yet
	mu   sync.Mutex
}

// Groups returns the job's recipients as they belong together: one element for
// each group of the control file, holding only the recipients of this job that
// are still pending.
func (d *Delivery) Groups() []spool.Group {
	var groups []spool.Group
	for i := range d.Control.Groups {
		g := &d.Control.Groups[i]
		var rcpts []spool.Rcpt
		for _, r := range g.Rcpts {
			if d.left[r.N] {
				rcpts = append(rcpts, r)
			}
		}
		if len(rcpts) > 0 {
			groups = append(groups, spool.Group{Sender: g.Sender, By: g.By, Header: g.Header, Rcpts: rcpts})
		}
	}
	return groups
}

// Body returns a new reader of the message's body.
func (d *Delivery) Body() *io.SectionReader {
	return io.NewSectionReader(d.File, d.Control.BodyOffset, d.Control.Size-d.Control.BodyOffset)
}

// Report tells the scheduler what became of a recipient. A second report for the
// same recipient is ignored. Safe for concurrent use.
func (d *Delivery) Report(rcpt int, r dsn.Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left[rcpt] {
		delete(d.left, rcpt)
		d.out.report(&Report{Job: d.Number, Rcpt: rcpt, Result: r})
	}
}

// ReportAll reports the same result for all recipients not reported yet.
func (d *Delivery) ReportAll(r dsn.Result) {
	for _, n := range d.Rcpts {
		d.Report(n, r)
	}
}

// Log adds a line for the scheduler's log, as key=value pairs.
func (d *Delivery) Log(format string, args ...any) {
	d.out.remark("#log spoolid=" + string(d.ID) + " " + fmt.Sprintf(format, args...))
}

// Flush sends the reports and log lines so far. The end of the job does so too, in one
// write with the rest, and so does time: what is decided is not to be forgotten with an
// agent that dies.
func (d *Delivery) Flush() { d.out.flush() }

// output writes whole lines; a batch written while another write is under way
// goes out with the next one.
type output struct {
	mu      sync.Mutex
	w       io.Writer
	pending []byte
	writing bool
	idle    sync.Cond // not writing any more
	armed   bool      // a flush comes in flushAfter at most
	err     error
}

// flushAfter is how long a line waits for others.
const flushAfter = time.Second

func (o *output) add(fn func([]byte) []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = fn(o.pending)
	if !o.armed {
		o.armed = true
		time.AfterFunc(flushAfter, func() {
			o.mu.Lock()
			o.armed = false
			o.mu.Unlock()
			o.flush()
		})
	}
}

func (o *output) report(r *Report) { o.add(r.Append) }

func (o *output) remark(s string) {
	o.add(func(b []byte) []byte {
		return append(append(b, strings.Map(printable, s)...), '\n')
	})
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// flush writes what is pending. Only one goroutine writes at a time; the others
// leave their lines to it.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing {
		return
	}
	o.writing = true
	var spare []byte
	for len(o.pending) > 0 && o.err == nil {
		batch := o.pending
		o.pending = spare[:0]
		o.mu.Unlock()
		_, err := o.w.Write(batch)
		o.mu.Lock()
		spare = batch
		if err != nil {
			o.err = err
		}
	}
	o.writing = false
	o.idle.Broadcast()
}

// end returns when everything is written.
func (o *output) end() {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing { // what the timer has begun
		o.idle.Wait()
	}
}

// Serve runs the agent's end until in ends or ctx is cancelled, and returns when
// every job it took has been answered.
func Serve(ctx context.Context, a *Agent, in io.Reader, out io.Writer) error {
	o := &output{w: out}
	o.idle.L = &o.mu
	capacity := affordable(a.Capacity)
	o.remark(fmt.Sprintf("#hungry %d", capacity))
	o.flush()
	slots := make(chan struct{}, capacity)
	var wg sync.WaitGroup
	defer o.end()
	defer wg.Wait()
	// The reader is unblocked by closing in when ctx ends, if in can be closed.
	if c, ok := in.(io.Closer); ok {
		stop := context.AfterFunc(ctx, func() { c.Close() })
		defer stop()
	}
	r := bufio.NewReaderSize(in, MaxLine)
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF), ctx.Err() != nil:
			return nil // an unterminated last line means that the scheduler died
		case err != nil:
			return fmt.Errorf("read job: %w", err)
		}
		job, err := ParseJob(string(line[:len(line)-1]))
		if err != nil {
			// Nothing can be answered to a job that cannot be read; the scheduler
			// would wait for ever. Exiting makes it defer what is outstanding.
			return fmt.Errorf("read job: %w", err)
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			a.do(ctx, job, o)
			o.add(func(b []byte) []byte { return append(b, "#hungry\n"...) })
			o.flush()
		})
	}
}

// do answers one job, whatever happens.
func (a *Agent) do(ctx context.Context, job *Job, o *output) {
	d := &Delivery{Job: *job, out: o, left: make(map[int]bool, len(job.Rcpts))}
	for _, n := range job.Rcpts {
		d.left[n] = true
	}
	defer func() {
		if p := recover(); p != nil {
			stack := debug.Stack()
			d.Log("event=panic err=%q stack=%q", fmt.Sprint(p), stack[:min(len(stack), maxStack)])
			d.ReportAll(dsn.Temp("4.3.0", "transport agent: internal error: %v", p))
			return
		}
		d.ReportAll(dsn.Temp("4.3.0", "transport agent: no result for this recipient"))
	}()
	if err := d.open(a.Spool); err != nil {
		d.ReportAll(dsn.Temp("4.3.0", "%v", err))
		return
	}
	defer d.File.Close()
	a.Deliver(ctx, d)
}

// maxStack bounds what the log gets of the stack of a crash.
const maxStack = 2000

// open reads the control file and opens the message file. Recipients that the
// control file does not know as pending in this thread are answered at once.
func (d *Delivery) open(s *spool.Spool) (err error) {
	if d.Control, err = readControl(s.ControlPath(d.ID)); err != nil {
		return err
	}
	if d.Control.ID != d.ID {
		return fmt.Errorf("control file of %s is for %s", d.ID, d.Control.ID)
	}
	for _, n := range d.Rcpts {
		r := d.Control.Rcpt(n)
		switch {
		case r == nil, r.Channel != d.Channel, !strings.EqualFold(r.Host, d.Host):
			d.Report(n, dsn.Temp("4.3.0", "recipient %d of %s does not belong to %s/%s", n, d.ID, d.Channel, d.Host))
		case r.State != spool.Pending:
			// Already finished: say what the control file says.
			d.Report(n, r.Last)
		}
	}
	d.File, err = openMessage(s.QueuePath(d.ID), d.Control.Size)
	return err
}
