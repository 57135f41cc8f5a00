package router

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"zmailer/spool"
)

// A job is a message to route.
type job struct {
	id       spool.ID
	dir      string // that it is in: router or deferred
	attempts int    // at which it was deferred
	panics   int
}

// queue holds the ids that wait for a worker, and knows which ones are in work.
// Each id is in it at most once.
type queue struct {
	mu    sync.Mutex
	ready *sync.Cond
	fifo  []job
	head  int
	known map[spool.ID]*retryItem // in later; nil: in the line or in work
	later retryHeap
	wake  chan struct{} // the head of later has changed
	ended bool
}

func newQueue() *queue {
	q := &queue{known: make(map[spool.ID]*retryItem), wake: make(chan struct{}, 1)}
	q.ready = sync.NewCond(&q.mu)
	return q
}

// add puts a message at the end of the line, unless it is known. One that waits for its
// time and was moved meanwhile, as "zmailer resubmit" does, has waited for long enough.
func (q *queue) add(j job) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch item, known := q.known[j.id]; {
	case !known:
	case item != nil && item.job.dir != j.dir:
		heap.Remove(&q.later, item.index)
	default:
		return
	}
	q.known[j.id] = nil
	q.push(j)
}

func (q *queue) push(j job) {
	if q.head > 1024 && q.head > len(q.fifo)/2 {
		q.fifo = q.fifo[:copy(q.fifo, q.fifo[q.head:])]
		q.head = 0
	}
	q.fifo = append(q.fifo, j)
	q.ready.Signal()
}

// take waits for a message. ok is false when the queue has ended.
func (q *queue) take() (j job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.fifo) && !q.ended {
		q.ready.Wait()
	}
	if q.ended {
		return job{}, false
	}
	j = q.fifo[q.head]
	q.head++
	return j, true
}

// status says how the queue is, unless it hangs.
func (q *queue) status(context.Context) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return fmt.Sprintf("%d messages to be routed, %d of them deferred", len(q.known), len(q.later))
}

// done ends the work on a message.
func (q *queue) done(id spool.ID) {
	q.mu.Lock()
	delete(q.known, id)
	q.mu.Unlock()
}

// retry ends the work on a message until at.
func (q *queue) retry(j job, at time.Time) {
	q.mu.Lock()
	item := &retryItem{job: j, at: at}
	q.known[j.id] = item
	heap.Push(&q.later, item)
	first := item.index == 0
	q.mu.Unlock()
	if first {
		q.poke()
	}
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// hurry makes everything that waits for its time ready.
func (q *queue) hurry() {
	q.mu.Lock()
	for i := range q.later {
		q.later[i].at = time.Time{}
	}
	q.mu.Unlock()
	q.poke()
}

// end lets the workers go when they have finished what they are at.
func (q *queue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.ready.Broadcast()
}

// clock moves messages whose time has come to the line, until ctx ends.
func (q *queue) clock(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(q.due(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}

// due moves what is due and returns the time until the next.
func (q *queue) due(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.later) > 0 {
		if wait := q.later[0].at.Sub(now); wait > 0 {
			return wait
		}
		j := heap.Pop(&q.later).(*retryItem).job
		q.known[j.id] = nil
		q.push(j)
	}
	return time.Hour
}

type retryItem struct {
	job   job
	at    time.Time
	index int // in later
}

// retryHeap has the earliest item on top.
type retryHeap []*retryItem

func (h retryHeap) Len() int           { return len(h) }
func (h retryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h retryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *retryHeap) Push(x any) {
	item := x.(*retryItem)
	item.index = len(*h)
	*h = append(*h, item)
}
func (h *retryHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return x
}

// backOff is how long a message waits after it was deferred for the nth time.
func backOff(n int) time.Duration {
	waits := [...]time.Duration{1, 2, 5, 10, 20, 30}
	if n < len(waits) {
		return waits[n] * time.Minute
	}
	return time.Hour
}
