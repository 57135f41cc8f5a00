package scheduler

import "sync"

// An inbox holds what other goroutines ask the owner of the queue to do. It does
// not block the disk's workers, which the owner may be waiting to hand work to;
// the agents' readers, whose number of lines nobody vouches for, wait while it is
// long (postSlow).
type inbox struct {
	mu    sync.Mutex
	fns   []func()
	ready chan struct{} // has an element when fns is not empty
	room  *sync.Cond
	ended bool // nobody takes any more
}

const inboxLong = 4096

func newInbox() *inbox {
	in := &inbox{ready: make(chan struct{}, 1)}
	in.room = sync.NewCond(&in.mu)
	return in
}

func (in *inbox) post(fn func()) {
	in.mu.Lock()
	in.add(fn)
	in.mu.Unlock()
}

func (in *inbox) postSlow(fn func()) {
	in.mu.Lock()
	for len(in.fns) >= inboxLong && !in.ended {
		in.room.Wait()
	}
	in.add(fn)
	in.mu.Unlock()
}

func (in *inbox) add(fn func()) {
	in.fns = append(in.fns, fn)
	select {
	case in.ready <- struct{}{}:
	default:
	}
}

// close lets those go who wait for room.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended = true
	in.room.Broadcast()
}

// take returns all that was posted; spare becomes the next slice.
func (in *inbox) take(spare []func()) []func() {
	in.mu.Lock()
	defer in.mu.Unlock()
	fns := in.fns
	clear(spare)
	in.fns = spare[:0]
	in.room.Broadcast()
	return fns
}
