package scheduler

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
