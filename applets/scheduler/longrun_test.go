package scheduler

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unique"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// What shows only when the scheduler runs for long, or at its end.

// TestSendersForgotten: a destination that always has some mail waiting does not
// remember every sender there ever was.
func TestSendersForgotten(t *testing.T) {
	q := idleQueue(t)
	th := q.thread(threadKey{unique.Make("smtp"), unique.Make("b.test")})
	for i := range 20_000 {
		m := &message{sender: unique.Make(fmt.Sprintf("bounce-%d@a.test", i)), heapIdx: -1}
		q.makeReady(&vertex{msg: m, th: th, heapIdx: -1})
		if i >= 100 {
			th.pop(th.peek())
		}
	}
	if n := len(th.tags); n > 1000 {
		t.Errorf("%d senders for %d messages", n, len(th.fresh))
	}
}

// TestExemptRetry: a report that waits for its next attempt does not wait for the rate
// limit of its destination too.
func TestExemptRetry(t *testing.T) {
	const conf = "match '*/*' interval=1m retries=1 skew=0 rate=1/1d command=fake"
	inBubble(t, conf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "null" {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			return dsn.Success("2.0.0", "ok")
		})
		start := time.Now()
		w.send(letter{to: []string{"smtp/b.test/null"}})
		for range 3 {
			w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		}
		time.Sleep(150 * time.Second)
		synctest.Wait()
		if n := w.triedWithin(start, time.Hour, func(tr try) bool { return tr.user == "null" }); n != 3 {
			t.Errorf("tried %d times in 150 seconds, want 3", n)
		}
	})
}

// TestRatesOutliveReload: a sender does not get a new allowance with each reload.
func TestRatesOutliveReload(t *testing.T) {
	inBubble(t, rateConf, func(t *testing.T, w *world) {
		for range 5 {
			for range 4 {
				w.send(letter{from: "bulk@a.test", to: []string{"sender/s.test/x"}})
			}
			synctest.Wait()
			conf, err := parseConfig(t.Context(), "test.conf", []byte(rateConf), nil)
			if err != nil {
				t.Fatal(err)
			}
			w.q.ask(t.Context(), func() { w.q.reconfigure(conf, w.q.reporter) })
		}
		if n := len(w.tried()); n != 4 {
			t.Errorf("%d messages at once, want 4", n)
		}
	})
}

// TestWatchEnds: without the watcher there is a scan at once.
func TestWatchEnds(t *testing.T) {
	w := newWorld(t, testConf)
	watcher, err := w.spool.WatchTransport()
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.Close(); err != nil {
		t.Fatal(err)
	}
	w.q.watch(t.Context(), watcher)
	select {
	case <-w.q.scan.want:
	default:
		t.Error("nobody scans until the next regular scan")
	}
}

// TestRestartIsNoArrival: what a scheduler finds at its start has not just come.
func TestRestartIsNoArrival(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(busy)
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		synctest.Wait()
		w.stop()
		w.reopen(testConf)
		w.run()
		w.q.scanAll(t.Context())
		synctest.Wait()
		w.q.ask(t.Context(), func() {
			if s := &w.q.stats; s.messages != 1 || s.total.In != 0 {
				t.Errorf("%d messages, %d have come", s.messages, s.total.In)
			}
		})
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}}) // that the watcher has missed
		w.q.scanAll(t.Context())
		synctest.Wait()
		w.q.ask(t.Context(), func() {
			if n := w.q.stats.total.In; n != 2 {
				t.Errorf("%d messages have come, want 2", n)
			}
		})
	})
}

// TestReleaseLater: mail for a later day that is released is as old as on that day.
func TestReleaseLater(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		const days = 9 * 24 * time.Hour
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, before: map[int]time.Time{0: time.Now().Add(days)}})
		synctest.Wait()
		w.q.ask(t.Context(), func() {
			key := msgID([]byte(id))
			w.q.hold(w.q.shard(key)[key], nil, true, "")
			w.q.release(w.q.shard(key)[key], nil, true, "")
		})
		time.Sleep(days + time.Hour)
		synctest.Wait()
		if len(w.tried()) != 1 || len(w.reports()) != 0 {
			t.Errorf("tried %+v, %d reports", w.tried(), len(w.reports()))
		}
	})
}

// slowStart is a launcher whose agents are started when the scheduler has given up
// waiting, and do not care that their input has ended.
type slowStart struct {
	started chan struct{}
	goOn    chan struct{}
}

func (l *slowStart) launch(*agentSpec) (*child, error) {
	close(l.started)
	<-l.goOn
	out, outW := io.Pipe()
	in, inW := io.Pipe()
	ended := make(chan error, 1)
	go io.Copy(io.Discard, in)
	return &child{pid: 1, in: inW, out: out, kill: func() { outW.Close(); ended <- nil }, wait: func() error { return <-ended }}, nil
}

// TestStopWhileStarting: an agent that is started while the scheduler ends does not
// keep it.
func TestStopWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConf)
		l := &slowStart{make(chan struct{}), make(chan struct{})}
		w.q.launcher = l
		w.run()
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		<-l.started
		var stopped atomic.Bool
		go func() { w.stop(); stopped.Store(true) }()
		time.Sleep(stopTime + time.Second)
		close(l.goOn)
		time.Sleep(time.Hour)
		synctest.Wait()
		if !stopped.Load() {
			t.Fatal("the scheduler waits for an agent for ever")
		}
	})
}

// TestInboxEnds: who waits for room in the inbox does not wait for ever.
func TestInboxEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := newInbox()
		for range inboxLong {
			in.post(func() {})
		}
		var gone atomic.Bool
		go func() { in.postSlow(func() {}); gone.Store(true) }()
		synctest.Wait()
		if gone.Load() {
			t.Error("there was no wait")
		}
		in.close()
		synctest.Wait()
		if !gone.Load() {
			t.Error("it waits for ever")
		}
	})
}

// TestFullDiskLog: a disk that stays full is told of once for each message, not for
// each attempt to write.
func TestFullDiskLog(t *testing.T) {
	log := new(logBuffer)
	q := idleQueue(t)
	q.log = slog.New(slog.NewTextHandler(log, nil))
	s := &settlement{q: q, m: &message{}, id: spool.NewID(), users: []string{"joe"}, outcomes: []outcome{{rcpts: []int{0}}}}
	s.v = &vertex{msg: s.m, th: q.thread(threadKey{unique.Make("smtp"), unique.Make("b.test")})}
	q.spool.Root = "/dev/null" // ENOTDIR
	for range 3 {
		s.run()
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("%d lines\n%s", n, log)
	}
}
