package scheduler

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool/dsn"
)

// TestRequeueBusy: the administrator mends a host and asks for another attempt while
// the last one, begun before, still waits for its time-out.
func TestRequeueBusy(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		var mended atomic.Bool
		w.setAnswer(func(try) dsn.Result {
			if mended.Load() {
				return dsn.Success("2.0.0", "ok")
			}
			time.Sleep(30 * time.Second)
			return dsn.Result{Action: dsn.RetryAt, Status: "4.4.1", Text: "connection timed out"}
		})
		start := time.Now()
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		time.Sleep(10 * time.Second)
		mended.Store(true)
		key := msgID([]byte(id))
		var busy int
		w.q.ask(t.Context(), func() { _, busy = w.q.requeue(w.q.shard(key)[key], []int{0}, true, "") })
		if busy != 1 {
			t.Errorf("%d recipients busy", busy)
		}
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if !w.gone(id) {
			t.Errorf("not delivered when the attempt had failed; tried at %v", times(start, w.tried()))
		}
	})
}

// TestChangeAtStart: what is asked of a scheduler that has only begun to read the queue
// is done to all of it.
func TestChangeAtStart(t *testing.T) {
	const n = 2000
	in := newInstance(t)
	for range n {
		in.queue(letter{from: "ann@a.test", to: []string{"smtp/dead.test/joe"}})
	}
	in.start()
	defer func() {
		if err := in.end(); err != nil {
			t.Error(err)
		}
	}()
	held := 0
	err := queuesock.Ask(t.Context(), in.spool, &queuesock.Request{Op: queuesock.OpHold, Select: queuesock.Selection{All: true}}, func(a *queuesock.Answer) error {
		held = a.Changed.Messages
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The others were delivered before.
	in.until("the queue to hold those that were held and no others", func() bool { return in.status().Messages == held })
}
