package mailq

import (
	"fmt"
	"time"

	"zmailer/applets/scheduler/queuesock"
)

const watchEvery = 2 * time.Second

// watchStatus shows the status, or with -Q the destinations, until the program is
// interrupted, with what happened since it was shown before.
func (v *viewer) watchStatus() error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var before *queuesock.Status
	var beforeAt time.Time
	for {
		v.now = time.Now()
		if !v.json {
			v.out.WriteString("\x1b[H\x1b[2J") // clear the screen
		}
		st, err := v.watched()
		if err != nil {
			return err
		}
		if st != nil && before != nil && !v.json {
			v.printRates(before, st, v.now.Sub(beforeAt))
		}
		before, beforeAt = st, v.now
		if err := v.out.Flush(); err != nil {
			return err
		}
		select {
		case <-v.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// watched shows what is watched, and returns the scheduler's totals at that time.
func (v *viewer) watched() (*queuesock.Status, error) {
	if v.threads {
		st, err := v.schedulerStatus()
		if err != nil || st == nil {
			return st, err
		}
		return st, v.listThreads()
	}
	h := v.examine()
	return h.Scheduler, v.report(h)
}

// printRates prints the speed at which mail moves.
func (v *viewer) printRates(before, st *queuesock.Status, passed time.Duration) {
	a, b := before.Rates["total"], st.Rates["total"]
	if b.In < a.In || passed <= 0 { // another scheduler
		return
	}
	per := func(before, now int) float64 { return float64(now-before) / passed.Seconds() }
	fmt.Fprintf(v.out, "%-12s%10.1f%10.1f%10.1f%10.1f%10.1f  in a second; queue %+d\n", "now",
		per(a.In, b.In), per(a.Out, b.Out), per(a.Delivered, b.Delivered), per(a.Deferred, b.Deferred), per(a.Failed, b.Failed),
		st.Messages-before.Messages)
}
