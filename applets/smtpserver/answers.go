package smtpserver

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/spool"
)

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
