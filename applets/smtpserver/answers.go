package smtpserver

import (
	"sync"
	"time"
)

// answers remembers for a moment whom the router took mail for: a list server
// that sends one message after the other to the same people costs one question
// a second for each. Refusals are not remembered, they may be about to end.
type answers struct {
	mu   sync.Mutex
	m    map[question]answer
	born time.Time
}

// A question is all that an answer about a recipient depends on.
type question struct {
	rcpt, sender, client, auth string
	relay                      bool
}

const (
	answerAge  = time.Second
	maxAnswers = 4096
)

func (c *answers) get(q question) (answer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) == 0 || time.Since(c.born) > answerAge {
		return answer{}, false
	}
	a, ok := c.m[q]
	return a, ok
}

// put remembers a positive answer. All are forgotten together, a second after
// the first of them came.
func (c *answers) put(q question, a answer) {
	if !a.ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxAnswers || time.Since(c.born) > answerAge {
		clear(c.m)
	}
	if c.m == nil {
		c.m = make(map[question]answer)
	}
	if len(c.m) == 0 {
		c.born = time.Now()
	}
	c.m[q] = a
}

func (c *answers) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
}
