package policy

import (
	"strconv"
	"time"

	"zmailer/shellcfg/shell"
)

// maxDelay bounds how long a policy can have a delivery wait by the clock.
const maxDelay = 365 * 24 * time.Hour

// A wait is what the policy wants of deliveries before they are tried first.
type wait struct {
	delay time.Duration // that long after they were decided
	hold  bool          // until an administrator releases the message
}

// waits returns the wait that a command is about: that of the address in work, for
// what is decided about it and what it expands to, or of the delivery in crossbar.
func waits(c *shell.Call) *wait {
	s, ok := during(c, routingPhase, crossbarPhase)
	switch {
	case !ok:
		return nil
	case s.phase == crossbarPhase:
		return &s.edit.wait
	}
	return &s.cur.wait
}

// delayCommand is delay SECONDS. The longest delay counts.
func delayCommand(c *shell.Call) int {
	w := waits(c)
	if w == nil {
		return 1
	}
	if len(c.Args) != 1 {
		return usage(c, "SECONDS")
	}
	n, err := strconv.ParseUint(c.Args[0], 10, 32)
	d := time.Duration(n) * time.Second
	if err != nil || d > maxDelay {
		return usage(c, "SECONDS: %q is not a number up to %.0f", c.Args[0], maxDelay.Seconds())
	}
	w.delay = max(w.delay, d)
	return 0
}

// holdCommand is hold.
func holdCommand(c *shell.Call) int {
	w := waits(c)
	if w == nil {
		return 1
	}
	if len(c.Args) != 0 {
		return usage(c, "takes no arguments")
	}
	w.hold = true
	return 0
}
