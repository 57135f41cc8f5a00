package smtp

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/shellcfg/resolver"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A driver is the scheduler's end of an agent under test.
type driver struct {
	tb    testing.TB
	spool *spool.Spool
	c     *client
	in    *os.File
	from  *os.File // what out reads
	out   *bufio.Scanner
	done  chan error
	next  uint64
	logs  []string
	last  spool.ID // of the letter put last
}

var spoolRoot string // of all tests of the package

// sharedSpool makes one spool for all tests: its many directories take longer to
// make than most tests to run.
var sharedSpool = sync.OnceValues(func() (*spool.Spool, error) {
	if err := spool.Create(spoolRoot, false); err != nil {
		return nil, err
	}
	return spool.Open(spoolRoot)
})

func TestMain(m *testing.M) {
	if args, ok := os.LookupEnv(agentArgs); ok {
		os.Exit(beAgent(args))
	}
	code := 1
	defer func() { os.Exit(code) }()
	var err error
	if spoolRoot, err = os.MkdirTemp("", "smtp-test"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer os.RemoveAll(spoolRoot)
	code = m.Run()
}

// start runs an agent with options changed by set.
func start(tb testing.TB, set func(*options)) *driver {
	tb.Helper()
	return startContext(tb, context.Background(), set)
}

func startContext(tb testing.TB, ctx context.Context, set func(*options)) *driver {
	tb.Helper()
	o := defaultOptions()
	o.hello = "us.test"
	fake, err := resolver.NewFake()
	if err != nil {
		tb.Fatal(err)
	}
	o.resolver = fake
	if set != nil {
		set(&o)
	}
	sp, err := sharedSpool()
	if err != nil {
		tb.Fatal(err)
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	d := &driver{tb: tb, spool: sp, c: newClient(o), in: inW, from: outR, out: bufio.NewScanner(outR), done: make(chan error, 1)}
	d.out.Buffer(nil, protocol.MaxLine)
	go func() {
		err := protocol.Serve(ctx, &protocol.Agent{Spool: sp, Capacity: o.capacity, Deliver: d.c.Deliver}, inR, outW)
		d.c.close()
		outW.Close()
		inR.Close()
		d.done <- err
	}()
	tb.Cleanup(d.stop)
	return d
}

// stop ends the agent and waits for it.
func (d *driver) stop() {
	if d.in == nil {
		return
	}
	d.in.Close()
	d.in = nil
	for d.out.Scan() {
	}
	d.from.Close()
	if err := <-d.done; err != nil {
		d.tb.Errorf("agent: %v", err)
	}
}

// A letter is a message for the spool.
type letter struct {
	groups []spool.Group
	attr   spool.Attributes
	body   string
}

// put writes the letter into the queue; the recipients get channel and host.
func (d *driver) put(l letter, host string) *spool.Control {
	d.tb.Helper()
	id := spool.NewID()
	d.last = id
	file := "env-end\n" + l.body
	c := &spool.Control{ID: id, Size: int64(len(file)), HeaderOffset: 8, BodyOffset: 8, Arrival: time.Now(), Attr: l.attr, Groups: l.groups}
	for i := range c.Groups {
		for k := range c.Groups[i].Rcpts {
			r := &c.Groups[i].Rcpts[k]
			r.Channel, r.Host = "smtp", host
		}
	}
	control := c.Append(nil)
	if err := os.WriteFile(d.spool.QueuePath(id), []byte(file), 0o600); err != nil {
		d.tb.Fatal(err)
	}
	if err := os.WriteFile(d.spool.ControlPath(id), control, 0o600); err != nil {
		d.tb.Fatal(err)
	}
	return c
}

// deliver sends a letter as one job and returns the result of each recipient.
func (d *driver) deliver(l letter, host string) []dsn.Result {
	d.tb.Helper()
	c := d.put(l, host)
	var rcpts []int
	for _, g := range c.Groups {
		for _, r := range g.Rcpts {
			rcpts = append(rcpts, r.N)
		}
	}
	d.next++
	job := protocol.Job{Number: d.next, ID: c.ID, Channel: "smtp", Host: host, Rcpts: rcpts}
	if _, err := d.in.Write(job.Append(nil)); err != nil {
		d.tb.Fatal(err)
	}
	results := make([]dsn.Result, len(rcpts))
	got := make([]bool, len(rcpts))
	for left := len(rcpts); left > 0 && d.out.Scan(); {
		said := protocol.ParseSaid(d.out.Text())
		switch said.Kind {
		case protocol.Result:
			n := said.Report.Rcpt
			if said.Report.Job != d.next || got[n] {
				d.tb.Errorf("unexpected report: %q", d.out.Text())
				continue
			}
			got[n], results[n] = true, said.Report.Result
			left--
		case protocol.Log:
			d.logs = append(d.logs, said.Text)
		case protocol.Garbage:
			d.tb.Errorf("garbage on the pipe: %s", said.Text)
		}
	}
	for n := range got {
		if !got[n] {
			d.tb.Errorf("recipient %d has no result", n)
		}
	}
	return results
}

// simple is a letter to some recipients in one group.
func simple(rcpts ...string) letter {
	return letterOf("Subject: test\n\n", "hello\n", rcpts...)
}

func letterOf(header, body string, rcpts ...string) letter {
	g := spool.Group{Sender: spool.Hop{Channel: "smtp", User: "from@us.test"}, Header: []byte(header)}
	for _, r := range rcpts {
		g.Rcpts = append(g.Rcpts, spool.Rcpt{Hop: spool.Hop{User: r}})
	}
	return letter{groups: []spool.Group{g}, body: body}
}

// outcome writes results in short: "ok 2.0.0, error 5.1.1".
func outcome(results []dsn.Result) string {
	var parts []string
	for _, r := range results {
		parts = append(parts, fmt.Sprintf("%s %s", r.Action, r.Status))
	}
	return strings.Join(parts, ", ")
}

// quick makes the time limits of a test short.
func quick(o *options) {
	o.timeouts = timeouts{connect: 2 * time.Second, data: 2 * time.Second, dot: 2 * time.Second, job: 20 * time.Second}
	o.timeouts.commands(2 * time.Second)
}
