package smtpserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// The router is asked over pipes to "router -I" children. Requests and answers
// are lines of spool.AppendLine; requests are numbered, and answered in any
// order.
//
//	N rcpt ADDRESS SENDER CLIENTIP relay|norelay AUTHUSER
//	N mail ADDRESS CLIENTIP relay|norelay AUTHUSER
//	N vrfy ADDRESS CLIENTIP relay|norelay AUTHUSER
//	N expn ADDRESS CLIENTIP relay|norelay AUTHUSER
//
//	N ok|reject|defer|freeze SMTPCODE ENHANCED TEXT
//
// TEXT of ok is what vrfy and expn show, a line each; freeze takes the address
// and leaves it to the router to park the message.

// An answer is what the router says about an address.
type answer struct {
	ok   bool
	code int
	ec   smtp.EnhancedCode
	text string
}

func deferred(text string) answer {
	return answer{code: 451, ec: smtp.EnhancedCode{4, 3, 0}, text: text}
}

var (
	noAnswer   = deferred("No answer about this address, try again later")
	tooBusy    = deferred("Too many questions about addresses, try again later")
	routerDied = deferred("Address could not be checked, try again later")
)

// Bounds of the conversation with one router.
const (
	maxAsked      = 1000     // questions without an answer
	maxAnswerLine = 64 << 10 // octets of one answer
	maxTimeouts   = 20       // questions in a row without an answer, then it is replaced
	minUp         = 2 * time.Second
	maxBackOff    = 10 * time.Second
	closeGrace    = 5 * time.Second // for the open questions at the end
)

// A call is one question on its way.
type call struct {
	done  chan answer // buffered: one answer comes, always
	start time.Time
	to    *process // nil: not sent yet
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan answer, 1)} }}

// wait returns the answer; call it once.
func (c *call) wait() answer {
	a := <-c.done
	calls.Put(c)
	return a
}

// An asker is a pool of routers.
type asker struct {
	log     *slog.Logger
	command func() *exec.Cmd
	limit   time.Duration
	slots   []*slot

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	cache answers
}

// routerCommand makes the command of a router for the instance.
func routerCommand(conf *shellcfg.Conf) (func() *exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the router: %w", err)
	}
	return func() *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Args = []string{"zmailer", "router", "-I"}
		cmd.Env = append(os.Environ(), "ZCONFIG="+conf.File)
		return cmd
	}, nil
}

// newAsker starts n routers. They are restarted when they end, until close.
func newAsker(log *slog.Logger, command func() *exec.Cmd, n int, limit time.Duration) *asker {
	a := &asker{log: log, command: command, limit: limit}
	a.ctx, a.stop = context.WithCancel(context.Background())
	for range n {
		s := &slot{asker: a, waiting: make(map[uint64]*call)}
		a.slots = append(a.slots, s)
		a.tasks.Add(1)
		go s.run()
	}
	a.tasks.Add(1)
	go a.watch()
	return a
}

// close lets the routers answer what they have been asked, and waits for their
// end. A configuration that changed gets a new asker before the old one is closed.
func (a *asker) close() {
	a.stop()
	a.tasks.Wait()
}

// watch looks for questions that wait too long.
func (a *asker) watch() {
	defer a.tasks.Done()
	tick := time.NewTicker(min(time.Second, max(a.limit/4, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case now := <-tick.C:
			for _, s := range a.slots {
				s.expire(now.Add(-a.limit))
			}
		}
	}
}

// ask sends a question to the router that has least to do. The caller must wait
// for the call. It returns nil when the asker has been closed.
func (a *asker) ask(fields ...string) *call {
	c := calls.Get().(*call)
	c.start, c.to = time.Now(), nil
	best := a.slots[0]
	least := best.load()
	for _, s := range a.slots[1:] {
		if n := s.load(); n < least {
			best, least = s, n
		}
	}
	if !best.send(c, fields) {
		calls.Put(c)
		return nil
	}
	return c
}

// A slot is the place of one router in the pool; processes come and go in it.
type slot struct {
	asker *asker

	mu       sync.Mutex
	cur      *process // nil: none runs, questions are kept
	next     uint64
	waiting  map[uint64]*call
	out      []byte // questions that are not written yet
	spare    []byte
	writing  bool
	timeouts int // since the last answer
	closed   bool
}

// A process is one router.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	done  chan struct{} // closed when it has ended and its questions are answered
	begun time.Time
}

func (s *slot) load() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.waiting)
	if s.cur == nil {
		n += maxAsked / 2 // rather one that runs
	}
	return n
}

func (s *slot) send(c *call, fields []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if len(s.waiting) >= maxAsked {
		c.done <- tooBusy
		return true
	}
	s.next++
	s.out = strconv.AppendUint(s.out, s.next, 10)
	s.out = append(s.out, '\t')
	s.out = spool.AppendLine(s.out, fields...)
	s.waiting[s.next] = c
	c.to = s.cur
	s.flush()
	return true
}

// flush writes the questions. While one goroutine writes, others only add to
// what it will write next, so that a busy pipe carries many with one write.
func (s *slot) flush() {
	if s.writing || s.cur == nil {
		return
	}
	s.writing = true
	for len(s.out) > 0 && s.cur != nil {
		b, p := s.out, s.cur
		s.out, s.spare = s.spare[:0], nil
		s.mu.Unlock()
		_, err := p.stdin.Write(b)
		s.mu.Lock()
		s.spare = b
		if err != nil && s.cur == p {
			// Its reader sees the end, too; what it has been asked is answered there.
			s.cur = nil
			s.kill(p)
		}
	}
	s.writing = false
}

// expire answers the questions asked before the given time.
func (s *slot) expire(before time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.settle(noAnswer, func(c *call) bool { return c.start.Before(before) })
	if n == 0 {
		return
	}
	s.asker.log.Warn("router does not answer", "nrcpt", n)
	if s.timeouts += n; s.timeouts >= maxTimeouts && s.cur != nil {
		s.kill(s.cur)
	}
}

// settle gives the same answer to all questions that match.
func (s *slot) settle(a answer, match func(*call) bool) (n int) {
	for id, c := range s.waiting {
		if match(c) {
			delete(s.waiting, id)
			c.done <- a
			n++
		}
	}
	return n
}

func (s *slot) kill(p *process) {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.asker.log.Error("kill router", "pid", p.cmd.Process.Pid, "err", err)
	}
}

// run keeps a router in the slot.
func (s *slot) run() {
	defer s.asker.tasks.Done()
	var backOff time.Duration
	for {
		p, err := s.start()
		if err != nil {
			s.asker.log.Error("start router", "err", err)
		} else if !s.serve(p) {
			return
		}
		if err == nil && time.Since(p.begun) > minUp {
			backOff = 0
		} else {
			backOff = min(max(2*backOff, 50*time.Millisecond), maxBackOff)
		}
		if !s.pause(backOff) {
			s.end()
			return
		}
	}
}

func (s *slot) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.asker.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// serve waits for the end of p. It returns false when the asker is being closed.
func (s *slot) serve(p *process) bool {
	select {
	case <-p.done:
		return true
	case <-s.asker.ctx.Done():
	}
	s.end()
	p.stdin.Close() // its end is waited for, whatever this says
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		s.kill(p)
		<-p.done
	}
	return false
}

// end refuses further questions and answers those that no router has got.
func (s *slot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.cur = true, nil
	s.settle(routerDied, func(c *call) bool { return c.to == nil })
}

// start starts a router and makes it the slot's.
func (s *slot) start() (*process, error) {
	cmd := s.asker.command()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &complaints{log: s.asker.log}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{}), begun: time.Now()}
	go s.read(p, stdout)

	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		if c.to == nil {
			c.to = p
		}
	}
	s.cur, s.timeouts = p, 0
	s.flush()
	return p, nil
}

// read takes the answers of p until it ends.
func (s *slot) read(p *process, stdout io.Reader) {
	err := s.answers(p, stdout)
	if err != nil {
		s.asker.log.Error("router speaks nonsense", "pid", p.cmd.Process.Pid, "err", err)
		s.kill(p)
	}
	if err := p.cmd.Wait(); err != nil && s.asker.ctx.Err() == nil {
		s.asker.log.Error("router ended", "pid", p.cmd.Process.Pid, "err", err)
	}
	s.mu.Lock()
	if s.cur == p {
		s.cur = nil
		s.out = s.out[:0]
	}
	s.settle(routerDied, func(c *call) bool { return c.to == p })
	s.mu.Unlock()
	close(p.done)
}

func (s *slot) answers(p *process, stdout io.Reader) error {
	r := bufio.NewReaderSize(stdout, maxAnswerLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("endless line")
		}
		if err != nil {
			return nil // it has ended; Wait knows why
		}
		n, a, err := parseAnswer(string(line[:len(line)-1]))
		if err != nil {
			return err
		}
		s.mu.Lock()
		// An answer that comes too late has no call any more.
		if c := s.waiting[n]; c != nil && c.to == p {
			delete(s.waiting, n)
			c.done <- a
		}
		s.timeouts = 0
		s.mu.Unlock()
	}
}

// parseAnswer reads one answer. A code that contradicts the word before it is
// replaced by the word's own.
func parseAnswer(line string) (n uint64, a answer, err error) {
	f, err := spool.SplitLine(line, 5)
	if err != nil {
		return 0, a, err
	}
	if len(f) < 2 {
		return 0, a, fmt.Errorf("answer %.60q", line)
	}
	f = append(f, "", "", "")
	if n, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return 0, a, fmt.Errorf("answer %.60q: no number", line)
	}
	class := 0
	switch f[1] {
	case "ok", "freeze":
		class = 2
		a = answer{ok: true, code: 250, ec: smtp.EnhancedCode{2, 1, 5}, text: "Ok"}
	case "reject":
		class = 5
		a = answer{code: 550, ec: smtp.EnhancedCode{5, 1, 1}, text: "Address refused"}
	case "defer":
		class = 4
		a = noAnswer
	default:
		return 0, a, fmt.Errorf("answer %.60q: unknown word", line)
	}
	if code, err := strconv.Atoi(f[2]); err == nil && code/100 == class && code%100 < 60 {
		a.code = code
	}
	if ec, ok := parseEnhanced(f[3]); ok && ec[0] == class {
		a.ec = ec
	}
	if f[4] != "" {
		a.text = f[4]
	}
	return n, a, nil
}

// complaints logs what a router prints to its standard error, line by line.
type complaints struct {
	log *slog.Logger
	buf []byte
}

const maxComplaint = 1 << 10

func (c *complaints) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || len(c.buf) == maxComplaint {
			c.log.Warn("router says", "text", string(c.buf))
			c.buf = c.buf[:0]
		}
		if b != '\n' {
			c.buf = append(c.buf, b)
		}
	}
	return len(p), nil
}
