package mailbox

import (
	"errors"
	"fmt"
	"sync"

	"zmailer/agents/letter"
)

// A job is a letter on its way into a mailbox.
type job struct {
	l    *letter.Letter
	name string // file name of the letter in a Maildir
	err  error
	done chan struct{}
}

// queues let the letters that wait for the same mailbox go in together: with one
// change of identity, one opening of directories and locks, one wait for the disk.
type queues struct {
	mu      sync.Mutex
	waiting map[string][]*job // of mailboxes that somebody is writing to
}

// deliver gives j to work, alone or in a batch of at most "most" jobs with the same
// key, and returns when it is done. For one key work runs once at a time and must
// do the same whoever brought it.
func (q *queues) deliver(key string, j *job, most int, work func([]*job) error) error {
	j.done = make(chan struct{})
	q.mu.Lock()
	if q.waiting == nil {
		q.waiting = make(map[string][]*job)
	}
	before, busy := q.waiting[key]
	q.waiting[key] = append(before, j)
	q.mu.Unlock()
	if !busy {
		q.lead(key, most, work)
	}
	<-j.done
	return j.err
}

// lead does the work for what waits. What came meanwhile is the next round, for
// which the leader of this one does not stay.
func (q *queues) lead(key string, most int, work func([]*job) error) {
	q.mu.Lock()
	all := q.waiting[key]
	n := min(len(all), most)
	q.waiting[key] = all[n:]
	q.mu.Unlock()
	round(all[:n], work)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting[key]) == 0 {
		delete(q.waiting, key)
		return
	}
	go q.lead(key, most, work)
}

func round(batch []*job, work func([]*job) error) {
	var err error
	defer func() {
		if p := recover(); p != nil { // in a goroutine of nobody's
			err = fmt.Errorf("internal error while the mailbox was written: %v", p)
		}
		for _, j := range batch {
			if err != nil {
				j.err = errors.Join(j.err, err)
			}
			close(j.done)
		}
	}()
	err = work(batch)
}
