package scheduler

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// filled returns a queue with n messages over hosts destinations, all deferred.
func filled(tb testing.TB, n, hosts int) *Queue {
	q := idleQueue(tb)
	fill(q, n, hosts)
	return q
}

func idleQueue(tb testing.TB) *Queue {
	s := &spool.Spool{Root: tb.TempDir()}
	conf, err := parseConfig(tb.Context(), "scheduler.conf", Stock, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return newQueue(s, conf, nil, slog.New(slog.DiscardHandler))
}

func fill(q *Queue, n, hosts int) {
	next := q.now.Add(time.Hour)
	for i := range n {
		id := spool.NewID()
		host := fmt.Sprintf("host%d.example", i%hosts)
		c := &spool.Control{ID: id, Size: 4000, Arrival: q.now.Add(-time.Minute), Groups: []spool.Group{{
			Sender: spool.Hop{User: fmt.Sprintf("sender%d@a.example", i%1000)},
			Rcpts: []spool.Rcpt{{Hop: spool.Hop{Channel: "smtp", Host: host, User: "joe@" + host}, Attempts: 1, Next: next,
				Last: dsn.Temp("4.4.1", "connect to %s: connection refused", host)}},
		}}}
		q.admit(msgID([]byte(id)), c, true)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestMemory keeps the promise of DESIGN: at most 300 bytes a queued recipient.
func TestMemory(t *testing.T) {
	const n = 100_000
	q := idleQueue(t)
	before := heap()
	fill(q, n, 1000)
	if per := (heap() - before) / n; per > 300 {
		t.Errorf("%d bytes a recipient, at most 300 are promised", per)
	} else {
		t.Logf("%d bytes a recipient", per)
	}
	runtime.KeepAlive(q)
}

func TestMemoryLimit(t *testing.T) {
	for n, want := range map[int]int64{0: memoryLimit, 1_000_000: memoryLimit, 5_000_000: memoryBase + 1_250_000_000} {
		if got := limitFor(n); got != want {
			t.Errorf("%d recipients: %d, want %d", n, got, want)
		}
	}
}

// BenchmarkQueue enters recipients of a deferred backlog and takes them out again.
func BenchmarkQueue(b *testing.B) {
	b.Run("insert", func(b *testing.B) {
		b.ReportAllocs()
		before := heap()
		q := filled(b, b.N, 1000)
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/float64(b.N), "bytes/rcpt")
		runtime.KeepAlive(q)
	})
	b.Run("pop", func(b *testing.B) {
		q := filled(b, b.N, 1000)
		q.now = q.now.Add(2 * time.Hour)
		b.ResetTimer()
		q.dueThreads()
		n := 0
		for _, th := range q.threads {
			for th.readyLen() > 0 {
				q.dropVertex(th.pop(th.peek()))
				n++
			}
		}
		if n != b.N {
			b.Fatalf("%d of %d", n, b.N)
		}
	})
}

// BenchmarkStatus is what mailq -ss costs the owner at 100,000 messages.
func BenchmarkStatus(b *testing.B) {
	q := filled(b, 100_000, 10_000)
	for b.Loop() {
		st := newStatus()
		q.fillStatus(st)
	}
}

// BenchmarkRead reads and folds a control file, as the scan does for each message.
func BenchmarkRead(b *testing.B) {
	in := &instance{world: newWorld(b, testConf)}
	var scratch []byte
	for i := range 100 {
		if err := in.writeDeferred(i, 10, &scratch); err != nil {
			b.Fatal(err)
		}
	}
	var all []spool.ID
	for _, h := range spool.HashDirs() {
		if err := spool.EachID(in.spool.Root+"/transport/"+h, func(id spool.ID) error {
			all = append(all, id)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if l := in.q.read(all[i%len(all)], true); l.control == nil {
			b.Fatal("not read")
		}
	}
}

// BenchmarkDeliver takes messages from the spool to their end, with an agent in the
// same process that delivers at once: the cost of the scheduler and of the files.
func BenchmarkDeliver(b *testing.B) {
	w := newWorld(b, "match '*/*' maxthr=100 initial=100 command=fake")
	w.log = nil
	w.q.log = slog.New(slog.DiscardHandler)
	ids := make([]spool.ID, b.N)
	for i := range ids {
		ids[i] = w.queue(letter{from: "ann@a.test", to: []string{fmt.Sprintf("local/u%d/u%d", i%100, i%100)}})
	}
	w.run()
	defer w.stop()
	b.ResetTimer()
	for _, id := range ids {
		w.q.inbox.postSlow(func() { w.q.consider(id, false, func() {}) })
	}
	for {
		var out int
		w.q.ask(b.Context(), func() { out = w.q.stats.total.Out })
		if out == b.N {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}
