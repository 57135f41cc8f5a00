package router

import (
	"testing"
	"time"

	"zmailer/spool"
)

// TestGivenBack: a deferred message that is moved back to router/ does not wait for the
// time of its next attempt, from where it is gone.
func TestGivenBack(t *testing.T) {
	q := newQueue()
	now := time.Now()
	ids := []spool.ID{"0000000000000001", "0000000000000002", "0000000000000003"}
	for i, id := range ids {
		q.add(job{id: id, dir: spool.RouterDir})
		j, ok := q.take()
		if !ok || j.id != id {
			t.Fatalf("took %v", j)
		}
		j.dir, j.attempts = spool.DeferredDir, 5
		q.retry(j, now.Add(time.Duration(3-i)*time.Hour))
	}
	q.add(job{id: ids[1], dir: spool.DeferredDir}) // is there already
	if q.head != len(q.fifo) {
		t.Fatal("a message that waits was put into the line")
	}
	q.add(job{id: ids[1], dir: spool.RouterDir})
	if j, _ := q.take(); j.id != ids[1] || j.dir != spool.RouterDir || j.attempts != 0 {
		t.Errorf("took %+v", j)
	}
	q.add(job{id: ids[1], dir: spool.RouterDir}) // in work
	if q.head != len(q.fifo) {
		t.Error("a message in work was put into the line")
	}
	if wait := q.due(now); wait != time.Hour || len(q.later) != 2 {
		t.Errorf("next in %v, %d wait", wait, len(q.later))
	}
	q.due(now.Add(4 * time.Hour))
	for _, want := range []spool.ID{ids[2], ids[0]} {
		if j, _ := q.take(); j.id != want || j.dir != spool.DeferredDir {
			t.Errorf("took %+v, want %s", j, want)
		}
	}
}
