package scheduler

import (
	"context"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"zmailer/spool"
)

// A Queue is the scheduler's state and its owner.
type Queue struct {
	spool    *spool.Spool
	log      *slog.Logger
	conf     *Config
	launcher launcher
	reporter reporter

	inbox *inbox
	disk  *diskWorkers
	now   time.Time // of the turn of the loop

	messages [shards]map[msgID]*message // by shardOf
	loading  map[msgID]bool             // control files being read; true: read again
	threads  map[threadKey]*thread
	pools    map[poolKey]*pool
	dirty    []*pool            // have something to dispatch
	wakeups  timeHeap[*thread]  // threads by their next time
	deadline timeHeap[*message] // messages by report, warning, expiry

	order     uint64 // of vertices, see feed order
	jobs      uint64 // number of the last job
	agents    int    // all that exist
	perChan   map[string]int
	startable int  // agents that may still be started this second
	evicted   bool // in this turn, an idle agent was looked for to make room
	stopping  bool
	stopped   chan struct{}
	tasks     int // at the disk

	memory int64 // limit that is set
	limits limits
	scan   scanState
	stats  stats
}

func newQueue(s *spool.Spool, conf *Config, l launcher, log *slog.Logger) *Queue {
	q := &Queue{
		spool: s, log: log, conf: conf, launcher: l,
		inbox:   newInbox(),
		disk:    newDisk(max(4, 2*runtime.GOMAXPROCS(0))),
		now:     time.Now(),
		loading: make(map[msgID]bool),
		threads: make(map[threadKey]*thread),
		pools:   make(map[poolKey]*pool),
		perChan: make(map[string]int),
		stopped: make(chan struct{}),
	}
	for i := range q.messages {
		q.messages[i] = make(map[msgID]*message)
	}
	q.startable = conf.StartRate
	q.scan.want = make(chan struct{}, 1)
	q.stats.init(q.now)
	return q
}

// shards is how many parts the index has. What goes through all messages does so a
// part at a time, so that it holds up the owner for a moment only, and copies little.
const shards = 256

// shardOf is the part that a message belongs to: the last characters of ids differ.
func shardOf(id msgID) int {
	return int(id[spool.IDLen-1]%32)<<3 | int(id[spool.IDLen-2]%8)
}

func (q *Queue) shard(id msgID) map[msgID]*message { return q.messages[shardOf(id)] }
func (q *Queue) sec() sec                          { return secOf(q.now) }

// post has fn run by the owner.
func (q *Queue) post(fn func()) { q.inbox.post(fn) }

// atDisk runs task on the message's disk worker and then done by the owner.
func (q *Queue) atDisk(id spool.ID, task func() (done func())) {
	q.tasks++
	q.disk.do(id, func() {
		done := task()
		q.post(func() {
			q.tasks--
			done()
		})
	})
}

// after has fn run by the owner in a while.
func (q *Queue) after(d time.Duration, fn func()) {
	time.AfterFunc(d, func() { q.post(fn) })
}

// ask runs fn by the owner and waits for it; it returns false if the scheduler
// stops before.
func (q *Queue) ask(ctx context.Context, fn func()) bool {
	done := make(chan struct{})
	var abandoned atomic.Bool
	q.post(func() {
		defer close(done)
		if !abandoned.Load() {
			fn()
		}
	})
	select {
	case <-done:
		return true
	case <-q.stopped:
	case <-ctx.Done():
		// fn may be running now; wait for it, since it writes to the caller's variables.
		abandoned.Store(true)
		select {
		case <-done:
		case <-q.stopped:
		}
	}
	return false
}

// stopTime bounds how long agents may work on after the end was asked for.
const stopTime = 10 * time.Second

// run owns the queue until ctx ends and everything has stopped.
func (q *Queue) run(ctx context.Context) {
	defer close(q.stopped)
	defer q.inbox.close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var fns []func()
	end := ctx.Done()
	var kill <-chan time.Time
	for {
		q.now = time.Now()
		fns = q.inbox.take(fns)
		for _, fn := range fns {
			fn()
		}
		q.dueThreads()
		q.dueMessages()
		q.dispatch()
		if q.stopping && q.agents == 0 && q.tasks == 0 {
			q.disk.close()
			return
		}
		select {
		case <-q.inbox.ready:
		case <-tick.C:
			q.now = time.Now()
			q.everySecond()
		case <-end:
			end = nil
			kill = time.After(stopTime)
			q.stop()
		case <-kill:
			q.log.Warn("agents did not finish in time", "event", "kill")
			q.killAgents()
		}
	}
}

// everySecond does what needs no better precision. All of it is bounded by the
// number of pools, agents and their jobs.
func (q *Queue) everySecond() {
	q.startable = q.conf.StartRate
	q.forgetRates()
	q.boundMemory()
	for _, p := range q.pools {
		q.tendPool(p)
	}
}
