package smtp

import (
	"net/netip"
	"strings"
	"sync"
	"time"
)

// A poolKey says which sessions are alike: a job that would open a session with
// this key may use any other one with it.
type poolKey struct {
	address string
	mode    tlsMode
	name    string // names that the certificate was verified for
	check   string // records or fingerprints that it was checked for
	login   credentials
	from    netip.Addr
}

func (su *setup) key() poolKey {
	k := poolKey{address: su.target.address, mode: su.mode, check: su.check(), from: su.from}
	switch su.mode {
	case tlsVerify:
		k.name = su.target.name
	case tlsDANE:
		k.name = strings.Join(su.names(su.target), " ")
	}
	if su.creds != nil {
		k.login = *su.creds
	}
	return k
}

// A pool keeps sessions that nobody uses. Each leaves it by being taken, or by
// its own timer, which quits it.
type pool struct {
	mu     sync.Mutex
	idle   map[poolKey][]*session
	total  int
	max    int
	closed bool
	quits  sync.WaitGroup
}

func newPool(max int) *pool {
	return &pool{idle: make(map[poolKey][]*session), max: max}
}

// take returns the session that was put back last, or nil. The caller owns it.
func (p *pool) take(key poolKey) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	s := list[len(list)-1]
	p.remove(key, len(list)-1)
	s.idle.Stop()
	return s
}

// has tells whether take would find one.
func (p *pool) has(key poolKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle[key]) > 0
}

// remove needs p.mu.
func (p *pool) remove(key poolKey, i int) {
	list := p.idle[key]
	last := len(list) - 1
	copy(list[i:], list[i+1:])
	list[last] = nil
	p.total--
	if last == 0 {
		delete(p.idle, key)
		return
	}
	p.idle[key] = list[:last]
}

// put gives a session back. One that is of no use any more is quit.
func (p *pool) put(s *session) {
	p.mu.Lock()
	if p.closed || p.total >= p.max || s.spent(time.Now()) || s.in.br.Buffered() > 0 {
		p.quits.Go(s.quit) // the peer's goodbye is not worth a job's time
		p.mu.Unlock()
		return
	}
	defer p.mu.Unlock()
	s.reused = true
	s.begin(time.Time{})
	p.idle[s.key] = append(p.idle[s.key], s)
	p.total++
	if s.idle == nil {
		s.idle = time.AfterFunc(s.c.opt.idleTime, func() { p.expire(s) })
	} else {
		s.idle.Reset(s.c.opt.idleTime)
	}
}

// expire quits s if it is still idle. It may have been taken, used and put back
// since the timer fired; then it is quit a little early.
func (p *pool) expire(s *session) {
	p.mu.Lock()
	for i, other := range p.idle[s.key] {
		if other == s {
			p.remove(s.key, i)
			p.quits.Add(1)
			p.mu.Unlock()
			defer p.quits.Done()
			s.quit()
			return
		}
	}
	p.mu.Unlock()
}

// close quits all idle sessions and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for key, list := range p.idle {
		for _, s := range list {
			s.idle.Stop()
			p.quits.Go(s.quit)
		}
		delete(p.idle, key)
	}
	p.total = 0
	p.mu.Unlock()
	p.quits.Wait()
}

// A memory remembers addresses for a while, a bounded number of them.
type memory struct {
	mu    sync.Mutex
	until map[string]time.Time
	keep  time.Duration
}

const maxMemory = 1000

func newMemory(keep time.Duration) *memory {
	return &memory{until: make(map[string]time.Time), keep: keep}
}

func (m *memory) add(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.until) >= maxMemory {
		clear(m.until) // forgetting costs an attempt, nothing else
	}
	m.until[address] = time.Now().Add(m.keep)
}

func (m *memory) remove(address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.until, address)
}

func (m *memory) has(address string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.until[address]
	if ok && time.Now().After(t) {
		delete(m.until, address)
		ok = false
	}
	return ok
}
