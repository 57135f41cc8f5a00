package smtpserver

import (
	"bufio"
	"errors"
	"strconv"
	"sync"
	"time"

	"zmailer/spool"
)

// A slot is the place of one router in the pool; peers come and go in it.
type slot struct {
	asker *asker

	mu       sync.Mutex
	cur      *peer // nil: none runs, questions are kept
	next     uint64
	waiting  map[uint64]*call
	out      []byte // questions that are not written yet
	spare    []byte
	writing  bool
	timeouts int // since the last answer
	closed   bool
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
		_, err := p.in.Write(b)
		s.mu.Lock()
		s.spare = b
		if err != nil && s.cur == p {
			// Its reader sees the end, too; what it has been asked is answered there.
			s.cur = nil
			p.kill()
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
		s.cur.kill()
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
// A child only stands in for the router's daemon, and is let go when that is back.
func (s *slot) serve(p *peer) bool {
	var back <-chan time.Time
	if p.child && s.asker.source.socket != "" {
		tick := time.NewTicker(s.asker.source.look)
		defer tick.Stop()
		back = tick.C
	}
	for {
		select {
		case <-p.done:
			return true
		case <-back:
			daemon, err := s.asker.source.dial()
			if err != nil {
				continue
			}
			s.use(daemon)
			child := p
			s.asker.tasks.Go(func() { s.retire(child) })
			p, back = daemon, nil
			continue
		case <-s.asker.ctx.Done():
		}
		break
	}
	s.end()
	s.retire(p)
	return false
}

// retire lets p answer what it has been asked, and waits for its end.
func (s *slot) retire(p *peer) {
	if err := p.in.Close(); err != nil {
		s.asker.log.Warn("close the pipe to a router", "err", err)
	}
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-p.done:
	case <-grace.C:
		p.kill()
		<-p.done
	}
}

// end refuses further questions and answers those that no router has got.
func (s *slot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.cur = true, nil
	s.settle(routerDied, func(c *call) bool { return c.to == nil })
}

// start finds a router and makes it the slot's.
func (s *slot) start() (*peer, error) {
	p, err := s.asker.source.find(s.asker.ctx, s.asker.log)
	if err != nil {
		return nil, err
	}
	s.use(p)
	return p, nil
}

func (s *slot) use(p *peer) {
	go s.read(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		if c.to == nil {
			c.to = p
		}
	}
	s.cur, s.timeouts = p, 0
	s.flush()
}

// read takes the answers of p until it ends.
func (s *slot) read(p *peer) {
	err := s.answers(p)
	if err != nil {
		s.asker.log.Error("router speaks nonsense", "pid", p.pid, "err", err)
		p.kill()
	}
	if err := p.wait(); err != nil && s.asker.ctx.Err() == nil {
		s.asker.log.Error("router ended", "pid", p.pid, "err", err)
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

func (s *slot) answers(p *peer) error {
	r := bufio.NewReaderSize(p.out, maxAnswerLine)
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("endless line")
		}
		if err != nil {
			return nil // it has ended; wait knows why
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
