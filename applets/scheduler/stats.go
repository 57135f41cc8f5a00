package scheduler

import (
	"context"
	"fmt"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool/dsn"
)

// stats are the counters of the queue. They are kept as things happen, so that
// asking for them costs nothing however long the queue is.
type stats struct {
	start    time.Time
	messages int
	rcpts    int
	bytes    int64
	held     int
	threads  [threadStates]int
	channels map[string]*channelStats
	latency  histogram   // from acceptance to delivery
	arrivals map[sec]int // messages in the queue by the minute of their arrival

	agentStarts int
	agentDeaths int
	garbage     int
	diskErrors  int

	total  tally
	minute history // a slot a second
	hour   history // a slot a minute
	day    history // a slot an hour
}

// status says how the queue is, unless it hangs.
func (q *Queue) status(ctx context.Context) (text string) {
	q.ask(ctx, func() {
		text = fmt.Sprintf("%d messages for %d recipients in the queue", q.stats.messages, q.stats.rcpts)
	})
	return text
}

// A tally counts what happened in some time.
type tally = queuesock.Rates

// A history is a ring of tallies and their sum.
type history struct {
	slots []tally
	step  time.Duration
	at    int64 // number of the current slot since 1970
}

func (h *history) slot(now time.Time) *tally {
	n := now.UnixNano() / int64(h.step)
	if n-h.at >= int64(len(h.slots)) || n < h.at {
		clear(h.slots)
		h.at = n
	}
	for h.at < n {
		h.at++
		h.slots[h.at%int64(len(h.slots))] = tally{}
	}
	return &h.slots[n%int64(len(h.slots))]
}

func (h *history) sum(now time.Time) (t tally) {
	h.slot(now)
	for _, s := range h.slots {
		t.Add(s)
	}
	return t
}

func (s *stats) init(now time.Time) {
	s.start = now
	s.arrivals = make(map[sec]int)
	s.channels = make(map[string]*channelStats)
	s.minute = history{slots: make([]tally, 60), step: time.Second}
	s.hour = history{slots: make([]tally, 60), step: time.Minute}
	s.day = history{slots: make([]tally, 24), step: time.Hour}
}

func (s *stats) enter(now time.Time, t tally) {
	s.total.Add(t)
	s.minute.slot(now).Add(t)
	s.hour.slot(now).Add(t)
	s.day.slot(now).Add(t)
}

// count counts n recipients with the same outcome.
func (s *stats) count(a dsn.Action, n int, now time.Time) {
	switch a {
	case dsn.OK:
		s.enter(now, tally{Delivered: n})
	case dsn.Failed:
		s.enter(now, tally{Failed: n})
	case dsn.Deferred, dsn.RetryAt:
		s.enter(now, tally{Deferred: n})
	}
}

// entered and left keep the account of the messages in the queue. What the first scan
// finds has entered it before.
func (s *stats) entered(m *message, now time.Time, fresh bool) {
	s.messages++
	s.bytes += int64(m.size)
	s.arrivals[m.arrival/60]++
	if m.is(msgHeld | msgKept) {
		s.held++
	}
	if fresh {
		s.enter(now, tally{In: 1})
	}
}

func (s *stats) left(m *message, now time.Time) {
	s.messages--
	s.bytes -= int64(m.size)
	if s.arrivals[m.arrival/60]--; s.arrivals[m.arrival/60] == 0 {
		delete(s.arrivals, m.arrival/60)
	}
	if m.is(msgHeld | msgKept) {
		s.held--
	}
	s.enter(now, tally{Out: 1})
}

// oldest is when the oldest message came, to the minute; never if there is none.
func (s *stats) oldest() sec {
	oldest := never
	for minute := range s.arrivals {
		oldest = min(oldest, minute*60)
	}
	return oldest
}
