package scheduler

import (
	"sync"

	"zmailer/spool"
)

// The disk is a set of workers. The tasks of one message go to the same worker,
// so that they run one after the other in the order they were posted: a control
// file has one writer at a time.
type diskWorkers struct {
	workers []diskWorker
	wg      sync.WaitGroup
}

type diskWorker struct {
	mu    sync.Mutex
	wake  *sync.Cond
	tasks []func()
	end   bool
}

func newDisk(n int) *diskWorkers {
	d := &diskWorkers{workers: make([]diskWorker, n)}
	for i := range d.workers {
		w := &d.workers[i]
		w.wake = sync.NewCond(&w.mu)
		d.wg.Go(w.run)
	}
	return d
}

// do runs task on the worker of the message.
func (d *diskWorkers) do(id spool.ID, task func()) {
	// The last character of an id is random.
	w := &d.workers[int(id[spool.IDLen-1])%len(d.workers)]
	w.mu.Lock()
	w.tasks = append(w.tasks, task)
	w.wake.Signal()
	w.mu.Unlock()
}

func (w *diskWorker) run() {
	var batch []func()
	for {
		w.mu.Lock()
		for len(w.tasks) == 0 && !w.end {
			w.wake.Wait()
		}
		if len(w.tasks) == 0 {
			w.mu.Unlock()
			return
		}
		clear(batch)
		batch, w.tasks = w.tasks, batch[:0]
		w.mu.Unlock()
		for _, task := range batch {
			task()
		}
	}
}

// close waits until everything posted is done.
func (d *diskWorkers) close() {
	for i := range d.workers {
		w := &d.workers[i]
		w.mu.Lock()
		w.end = true
		w.wake.Signal()
		w.mu.Unlock()
	}
	d.wg.Wait()
}
