package smtp

import (
	"errors"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"zmailer/agents/dkim"
	"zmailer/agents/protocol"
	"zmailer/spool"
)

// However the peers behave, an agent that has ended has nothing left: no
// connection, no goroutine, no open file.
func TestLeaks(t *testing.T) {
	good, _ := newCert(t, "127.0.0.1", time.Now().Add(time.Hour))
	files, routines := openFiles(t), runtime.NumGoroutine()
	d := start(t, func(o *options) {
		quick(o)
		o.timeouts.commands(200 * time.Millisecond)
		o.timeouts.dot = 200 * time.Millisecond
	})
	for _, row := range stageRows {
		s := newSink(t, "PIPELINING")
		if row.stage == "MAIL" {
			s.cert = good
		}
		s.script = stageScript(row.stage, row.answer)
		d.deliver(simple("a@x.test", "b@x.test"), s.host())
		s.stop()
	}
	s := newSink(t, "STARTTLS") // and breaks in the handshake
	d.deliver(simple("a@x.test"), s.host())
	s.stop()
	d.stop()
	if d.c.pool.total != 0 || len(d.c.pool.idle) != 0 {
		t.Errorf("%d sessions in the pool", d.c.pool.total)
	}
	var nowFiles, nowRoutines int
	if !eventually(func() bool {
		nowFiles, nowRoutines = openFiles(t), runtime.NumGoroutine()
		return nowFiles <= files && nowRoutines <= routines
	}) {
		buf := make([]byte, 64<<10)
		t.Errorf("%d open files, %d before; %d goroutines, %d before\n%s", nowFiles, files, nowRoutines, routines, buf[:runtime.Stack(buf, true)])
	}
}

// openFiles counts the descriptors of files, pipes and sockets.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") {
			n++
		}
	}
	return n
}

// A large message goes through in pieces: its size is not the memory that it needs,
// whether it is converted and signed or not.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("signs megabytes")
	}
	const size = 8 << 20
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	dir, _ := signers(t)
	for _, ext := range []string{"250-8BITMIME\r\n", "250-X-7BIT\r\n"} {
		host := fastSink(t, ext)
		d := start(t, func(o *options) { o.keys = &dkim.Keys{Dir: dir} })
		id := putLarge(d, size, host)
		before := heapInUse(true)
		job := protocol.Job{Number: 1, ID: id, Channel: "smtp", Host: host, Rcpts: []int{0}}
		if _, err := d.in.Write(job.Append(nil)); err != nil {
			t.Fatal(err)
		}
		done := make(chan protocol.Said)
		go func() {
			for d.out.Scan() {
				if said := protocol.ParseSaid(d.out.Text()); said.Kind == protocol.Result {
					done <- said
					return
				}
			}
			close(done)
		}()
		peak := before
		for waiting := true; waiting; peak = max(peak, heapInUse(false)) {
			select {
			case said, ok := <-done:
				if waiting = false; !ok || said.Report.Result.Status != "2.0.0" {
					t.Errorf("%+v", said)
				}
			case <-time.After(time.Millisecond):
			}
		}
		if peak-before > size/2 {
			t.Errorf("%q: %d MB for a message of %d MB", ext, (peak-before)>>20, size>>20)
		}
		t.Logf("%q: %d KB", ext, (peak-before)>>10)
		d.stop()
	}
}

// putLarge puts a message into the queue of which nothing stays in memory.
func putLarge(d *driver, size int, host string) spool.ID {
	l := letterOf("From: a@us.test\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n",
		strings.Repeat(".0123456789 äöü 0123456789 0123456789 0123456789\n", size/52), "a@x.test")
	l.attr.Ours = true
	id := d.put(l, host).ID
	d.tb.Cleanup(func() {
		if err := errors.Join(os.Remove(d.spool.QueuePath(id)), os.Remove(d.spool.ControlPath(id))); err != nil {
			d.tb.Error(err)
		}
	})
	return id
}

// heapInUse is the memory of live and not yet collected objects.
func heapInUse(collect bool) int {
	if collect {
		runtime.GC()
	}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}
