package router

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

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
		w.flush()
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

// TestBigList: a message to a list of 100,000 members ends in one control file, in
// bounded memory, and the log tells how far it is.
func TestBigList(t *testing.T) {
	const members = 100_000
	st := newSite(t, map[string]string{"db/aliases": "big: :include:%d/big\n", "big": bigList(members), "zmailer.conf": "POSTOFFICE=%d/spool\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nSPOOLSYNC=none\nDEFAULTUSER=joe\n"})
	for dir := st.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	id := st.submit(to("big@example.org"), plainMessage)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := st.route(id); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	c := st.read(id)
	if n := len(c.Groups[0].Rcpts); n != members || len(c.Groups) != 1 {
		t.Errorf("%d recipients in %d groups", n, len(c.Groups))
	}
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 400<<20 {
		t.Errorf("heap grew by %d MB", grown>>20)
	}
	if n := strings.Count(st.log.String(), "msg=routing "); n != members/progressEvery {
		t.Errorf("%d lines of progress", n)
	}
}

// BenchmarkBigList routes a message to a list of 10,000 members.
func BenchmarkBigList(b *testing.B) {
	const members = 10_000
	st := newSite(b, map[string]string{"db/aliases": "big: " + strings.ReplaceAll(strings.TrimSpace(bigList(members)), "\n", ",\n\t") + "\n"})
	for b.Loop() {
		if err := st.route(st.submit(to("big@example.org"), plainMessage)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "rcpts/s")
}
