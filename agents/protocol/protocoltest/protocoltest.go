// Package protocoltest runs a transport agent in a test: against a real spool
// and over real pipe lines, but in the test's own process.
package protocoltest

import (
	"bufio"
	"context"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// NewSpool creates a spool that is gone when the test ends.
func NewSpool(t testing.TB) *spool.Spool {
	t.Helper()
	root := t.TempDir()
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	s.NoSync = true // what the agent syncs itself is the agent's matter
	return s
}

// A Message is what Route puts into the spool.
type Message struct {
	Env    spool.Envelope
	Attr   spool.Attributes
	Header string        // with its empty line; also the header of groups without one
	Body   string        // with LF line ends
	Groups []spool.Group // the router's decision
}

// To is a message with a small header and body from one sender to recipients.
func To(sender string, rcpts ...spool.Rcpt) Message {
	return Message{
		Header: "From: " + sender + "\nTo: you\nSubject: test\nMessage-ID: <1@example.org>\n\n",
		Body:   "hello\n",
		Groups: []spool.Group{{Sender: spool.Hop{User: sender}, Rcpts: rcpts}},
	}
}

// Rcpt is a recipient in the name of this process's user.
func Rcpt(channel, host, user string) spool.Rcpt {
	return spool.Rcpt{Hop: spool.Hop{Channel: channel, Host: host, User: user, Privilege: os.Getuid()}}
}

// Route submits m and routes it as its groups say.
func Route(t testing.TB, s *spool.Spool, m Message) spool.ID {
	t.Helper()
	id, err := s.SubmitMessage(context.Background(), &m.Env, io.MultiReader(strings.NewReader(m.Header), strings.NewReader(m.Body)))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := spool.OpenMessage(s.Path(spool.RouterDir, id), id)
	if err != nil {
		t.Fatal(err)
	}
	defer msg.Close()
	c := &spool.Control{
		ID: id, Size: msg.Size, HeaderOffset: msg.Header, BodyOffset: msg.Header + int64(len(m.Header)),
		Arrival: id.Time(), MessageID: "<1@example.org>", Attr: m.Attr, Groups: slices.Clone(m.Groups),
	}
	for i := range c.Groups {
		if c.Groups[i].Header == nil {
			c.Groups[i].Header = []byte(m.Header)
		}
	}
	if err := s.Route(spool.RouterDir, c, nil); err != nil {
		t.Fatal(err)
	}
	return id
}

// Jobs returns the jobs that a scheduler would make of a routed message, one for
// each channel and host of its pending recipients, numbered from first.
func Jobs(t testing.TB, s *spool.Spool, id spool.ID, first uint64) []protocol.Job {
	t.Helper()
	c, err := spool.ReadControl(s.ControlPath(id))
	if err != nil {
		t.Fatal(err)
	}
	var jobs []protocol.Job
	for _, g := range c.Groups {
		for _, r := range g.Rcpts {
			if r.State != spool.Pending {
				continue
			}
			i := slices.IndexFunc(jobs, func(j protocol.Job) bool { return j.Channel == r.Channel && j.Host == r.Host })
			if i < 0 {
				i = len(jobs)
				jobs = append(jobs, protocol.Job{Number: first + uint64(i), ID: id, Channel: r.Channel, Host: r.Host})
			}
			jobs[i].Rcpts = append(jobs[i].Rcpts, r.N)
		}
	}
	return jobs
}

// Results are what an agent reported, by job and recipient number.
type Results map[uint64]map[int]dsn.Result

// Run gives jobs to the agent, ends its input and returns its reports. It fails
// the test if the agent breaks the protocol: a result missing, doubled or not
// asked for.
func Run(t testing.TB, agent *protocol.Agent, jobs ...protocol.Job) Results {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	go func() {
		for i := range jobs {
			if _, err := inW.Write(jobs[i].Append(nil)); err != nil {
				return // the agent stopped reading; the missing results tell
			}
		}
		inW.Close()
	}()
	served := make(chan error, 1)
	go func() {
		err := protocol.Serve(t.Context(), agent, inR, outW)
		outW.Close()
		inR.Close()
		served <- err
	}()
	results := collect(t, outR)
	if err := <-served; err != nil {
		t.Errorf("agent: %v", err)
	}
	for i := range jobs {
		got := results[jobs[i].Number]
		if len(got) != len(jobs[i].Rcpts) {
			t.Errorf("job %d: %d results for recipients %v", jobs[i].Number, len(got), jobs[i].Rcpts)
		}
		for _, n := range jobs[i].Rcpts {
			if _, ok := got[n]; !ok {
				t.Errorf("job %d: no result for recipient %d", jobs[i].Number, n)
			}
		}
	}
	if len(results) > len(jobs) {
		t.Errorf("results for %d jobs, %d were given", len(results), len(jobs))
	}
	return results
}

func collect(t testing.TB, out io.Reader) Results {
	t.Helper()
	results := make(Results)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, protocol.MaxLine)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			if strings.HasPrefix(line, "#log ") {
				t.Log(line)
			}
			continue
		}
		r, err := protocol.ParseReport(line)
		if err != nil {
			t.Errorf("agent said %q: %v", line, err)
			continue
		}
		if results[r.Job] == nil {
			results[r.Job] = make(map[int]dsn.Result)
		}
		if _, double := results[r.Job][r.Rcpt]; double {
			t.Errorf("second result for job %d, recipient %d", r.Job, r.Rcpt)
		}
		results[r.Job][r.Rcpt] = r.Result
	}
	if err := lines.Err(); err != nil {
		t.Errorf("read agent: %v", err)
	}
	return results
}

// Deliver routes m, gives the agent its jobs, and returns the results in the
// order of the recipients' numbers.
func Deliver(t testing.TB, s *spool.Spool, agent *protocol.Agent, m Message) []dsn.Result {
	t.Helper()
	id := Route(t, s, m)
	jobs := Jobs(t, s, id, 1)
	byNumber := make(map[int]dsn.Result)
	for _, rcpts := range Run(t, agent, jobs...) {
		for n, r := range rcpts {
			byNumber[n] = r
		}
	}
	results := make([]dsn.Result, len(byNumber))
	for n, r := range byNumber {
		if n >= len(results) {
			t.Fatalf("result for recipient %d of %d", n, len(results))
		}
		results[n] = r
	}
	return results
}
