package router

import (
	"time"

	"zmailer/shellcfg/policy"
	"zmailer/spool/counters"
)

// The router's counters, by the ends of messages (see doc.go) and by the decisions
// about recipients.
type counts struct {
	set      counters.Set
	messages map[string]*counters.Counter // by what became of them
	rcpts    [policy.Discard + 1]*counters.Counter
	waited   *counters.Counter // milliseconds, of those that were routed
}

const setAsidePostman = "postman"

func newCounts() *counts {
	c := &counts{messages: make(map[string]*counters.Counter)}
	for _, action := range []string{"routed", "deferred", "frozen", "discarded", setAsidePostman} {
		c.messages[action] = c.set.Counter("router_messages_total", "Messages that the router was done with, or tried in vain", "action", action)
	}
	for action := range c.rcpts {
		c.rcpts[action] = c.set.Counter("router_recipients_total", "Decisions about recipients", "action", policy.Action(action).String())
	}
	c.waited = c.set.Counter("router_wait_milliseconds_total", "Time from submission to the queue, of the messages routed")
	return c
}

func (c *counts) message(action string, wait time.Duration) {
	if n := c.messages[action]; n != nil {
		n.Inc()
	}
	if action == "routed" {
		c.waited.Add(wait.Milliseconds())
	}
}

func (c *counts) rcpt(action policy.Action) {
	if int(action) < len(c.rcpts) {
		c.rcpts[action].Inc()
	}
}
