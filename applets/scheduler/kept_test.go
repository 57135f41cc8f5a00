package scheduler

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/spool"
)

// TestNotBefore: recipients that the policy wants tried later wait, and the others of
// the same destination do not. A scheduler that starts meanwhile knows of it.
func TestNotBefore(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		start := time.Now()
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/b.test/ben@b.test", "smtp/b.test/eve@b.test"},
			before: map[int]time.Time{1: start.Add(2 * time.Hour), 2: start.Add(30 * time.Minute)}})
		time.Sleep(time.Hour)
		w.stop()
		w.reopen(testConf)
		w.run()
		w.q.post(func() { w.q.consider(id, true, func() {}) })
		time.Sleep(2 * time.Hour)
		if got := times(start, w.tried()); len(got) != 3 || got[0] > 5 || got[1] < 1800 || got[1] > 1805 || got[2] < 7200 || got[2] > 7205 {
			t.Errorf("tried at %v, want 0, 1800, 7200", got)
		}
	})
}

// TestLaterDay: a message that is not to be tried for longer than others live is
// tried on its day, and nobody is told of a delay before.
func TestLaterDay(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		start := time.Now()
		const days = 9 * 24 * time.Hour
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, before: map[int]time.Time{0: start.Add(days)}})
		time.Sleep(days + time.Hour)
		if got := times(start, w.tried()); len(got) != 1 || got[0] < int(days/time.Second) {
			t.Errorf("tried at %v, want %v", got, days)
		}
		if n := len(w.reports()); n != 0 {
			t.Errorf("%d reports", n)
		}
	})
}

// TestKept: a recipient that the policy keeps is not tried and does not expire
// until the message is released; the others of the message go their way.
func TestKept(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/b.test/ben@b.test"}, kept: map[int]bool{1: true}})
		time.Sleep(10 * 24 * time.Hour)
		if got := w.tried(); len(got) != 1 || got[0].user != "joe@b.test" {
			t.Fatalf("tried %+v", got)
		}
		if c := w.control(id); c.Rcpt(0).State != spool.Done || c.Rcpt(1).State != spool.Pending || !c.Rcpt(1).Kept {
			t.Errorf("control file: %+v", c.Groups)
		}
		key := msgID([]byte(id))
		released := func() (n int) {
			w.q.ask(t.Context(), func() { n, _ = w.q.release(w.q.shard(key)[key], nil, true, "") })
			return n
		}
		if w.q.stats.held != 1 {
			t.Errorf("%d messages are held", w.q.stats.held)
		}
		if n := released(); n != 1 || w.q.stats.held != 0 {
			t.Errorf("%d recipients were released", n)
		}
		synctest.Wait()
		if got := w.tried(); len(got) != 2 || !slices.ContainsFunc(got, func(tr try) bool { return tr.user == "ben@b.test" }) || !w.gone(id) {
			t.Errorf("tried %+v", got)
		}
	})
}
