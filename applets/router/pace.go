package router

import (
	"context"
	"fmt"
	"time"
)

// A pace is the time that the policy may take for a message: all in all, and from one
// decision to the next. A function that hangs then costs a worker the latter only,
// while a list of many members may take its time.
type pace struct {
	context.Context
	stop  context.CancelCauseFunc
	timer *time.Timer
	limit time.Duration
}

// newPace needs a call of end.
func newPace(ctx context.Context, limit time.Duration) *pace {
	p := &pace{limit: limit}
	p.Context, p.stop = context.WithCancelCause(ctx)
	p.timer = time.AfterFunc(limit, p.late)
	return p
}

func (p *pace) late() { p.stop(fmt.Errorf("no decision within %v", p.limit)) }

// step is called at a decision.
func (p *pace) step() { p.timer.Reset(p.limit) }

func (p *pace) end() {
	p.timer.Stop()
	p.stop(nil)
}
