package router

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

// BenchmarkRouter takes messages through the whole router, on a real spool.
func BenchmarkRouter(b *testing.B) {
	st := newSite(b, nil)
	w := newWorker(st.r)
	body := plainMessage + strings.Repeat("0123456789012345678901234567890123456789012345678901234567890\n", 30)
	for b.Loop() {
		b.StopTimer()
		id := st.submit(to("joe@example.org"), body)
		b.StartTimer()
		if err := w.route(context.Background(), job{id: id, dir: spool.RouterDir}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// bigList is the text of a list with n members.
func bigList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "member%d@remote%d.example\n", i, i%1000)
	}
	return b.String()
}

// peakHeap returns the most bytes of the heap that were in use at a time while fn ran.
func peakHeap(fn func()) uint64 {
	use := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	stop, peak := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(use)
			most = max(most, use[0].Value.Uint64()+use[1].Value.Uint64())
			select {
			case <-tick.C:
			case <-stop:
				peak <- most
				return
			}
		}
	}()
	fn()
	close(stop)
	return <-peak
}

const bigMembers = 100_000

// newBigSite has the list big@example.org of so many members, in a file that the
// alias includes.
func newBigSite(tb testing.TB) *site {
	st := newSite(tb, map[string]string{"db/aliases": "big: :include:%d/big\n", "big": bigList(bigMembers), "zmailer.conf": "POSTOFFICE=%d/spool\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nSPOOLSYNC=none\nDEFAULTUSER=joe\n"})
	for dir := st.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	// The lines of 100,000 recipients go to a file and not to the heap.
	st.r.log = slog.New(slog.NewTextHandler(progress{st.log}, nil))
	return st
}

// progress keeps the lines that tell how far a message has come.
type progress struct{ to io.Writer }

func (p progress) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(" msg=routing ")) {
		return p.to.Write(line)
	}
	return len(line), nil
}

// maxBigHeap bounds the heap of a router that expands such a list, its garbage
// included.
const maxBigHeap = 300 << 20

// TestBigList: a message to a list of 100,000 members ends in one control file, in
// bounded memory, and the log tells how far it is.
func TestBigList(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long under the race detector")
	}
	st := newBigSite(t)
	id := st.submit(to("big@example.org"), plainMessage)
	peak := peakHeap(func() {
		if err := st.route(id); err != nil {
			t.Fatal(err)
		}
	})
	if c := st.read(id); len(c.Groups) != 1 || len(c.Groups[0].Rcpts) != bigMembers {
		t.Errorf("%d groups, %d recipients in the first", len(c.Groups), len(c.Groups[0].Rcpts))
	}
	files := 0
	for _, dir := range spool.HashDirs() {
		names, err := os.ReadDir(filepath.Join(st.spool.Root, spool.TransportDir, dir))
		if err != nil {
			t.Fatal(err)
		}
		files += len(names)
	}
	if files != 1 {
		t.Errorf("%d control files", files)
	}
	if peak > maxBigHeap {
		t.Errorf("heap of %d MB", peak>>20)
	}
	if n := strings.Count(st.log.String(), "msg=routing "); n != bigMembers/progressEvery {
		t.Errorf("%d lines of progress", n)
	}
}

// BenchmarkBigList routes a message to a list of 100,000 members, log lines included,
// and tells the most memory that its heap took, garbage included. On one core of an
// AMD EPYC 42,000 recipients a second and 168 MB. Of what is allocated, a third is the
// growing slice of recipients (320 bytes each), a sixth the control file, an eighth the
// texts of commands of the policy.
func BenchmarkBigList(b *testing.B) {
	st := newBigSite(b)
	var peak uint64
	for b.Loop() {
		b.StopTimer()
		id := st.submit(to("big@example.org"), plainMessage)
		b.StartTimer()
		peak = max(peak, peakHeap(func() {
			if err := st.route(id); err != nil {
				b.Fatal(err)
			}
		}))
	}
	b.ReportMetric(float64(b.N*bigMembers)/b.Elapsed().Seconds(), "rcpts/s")
	b.ReportMetric(float64(peak)/1e6, "MB-peak-heap")
}
