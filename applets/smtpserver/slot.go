package smtpserver

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"zmailer/spool"
)

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
