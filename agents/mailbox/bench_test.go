package mailbox

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/agents/letter"
)

func benchBody(b testing.TB, size int) *letter.Body {
	f, err := os.CreateTemp(b.TempDir(), "")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	text := strings.Repeat("a line of text as they come in mail\n", size/36)
	if _, err := f.WriteString(text); err != nil {
		b.Fatal(err)
	}
	return &letter.Body{File: f, Size: int64(len(text))}
}

// concurrently runs fn for b.N letters, n at once.
func concurrently(b *testing.B, n int, fn func(i int) error) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, n)
	b.ResetTimer()
	for i := range b.N {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := fn(i); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "letters/s")
}

func BenchmarkMaildir(b *testing.B) {
	for _, n := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("%d at once", n), func(b *testing.B) {
			body := benchBody(b, 4<<10)
			dir := b.TempDir()
			m := &mailDrop{sync: new(syncer)}
			l := &letter.Letter{Head: []byte("A: b\n\n"), Body: body}
			concurrently(b, n, func(i int) error {
				return m.deliver(maildirTarget{path: fmt.Sprintf("%s/M%d", dir, i%3), as: self()}, fmt.Sprint(i), l)
			})
		})
	}
}

func BenchmarkMbox(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("%d at once", n), func(b *testing.B) {
			body := benchBody(b, 4<<10)
			dir := b.TempDir()
			a := &appender{locks: lockKinds{true, true, true}, room: make(waitRoom, waitPlaces), sync: new(syncer)}
			concurrently(b, n, func(i int) error {
				l := &letter.Letter{From: letter.FromLine("s@example.net", time.Now()), Head: []byte("A: b\n\n"), Body: body}
				return a.deliver(b.Context(), target{path: fmt.Sprintf("%s/%d", dir, i%3), as: self(), mode: 0o600}, l)
			})
		})
	}
}

// BenchmarkSync compares the ways to make a batch of new files durable.
func BenchmarkSync(b *testing.B) {
	const batch = 50
	data := []byte(strings.Repeat("x", 4<<10))
	for name, sync := range map[string]func(files []*os.File) error{
		"fsync in parallel": func(files []*os.File) error {
			var wg sync.WaitGroup
			for _, f := range files {
				wg.Go(func() {
					if err := f.Sync(); err != nil {
						b.Error(err)
					}
				})
			}
			wg.Wait()
			return nil
		},
		"syncfs": func(files []*os.File) error { return unix.Syncfs(int(files[0].Fd())) },
	} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			for i := 0; b.Loop(); i++ {
				var files []*os.File
				for j := range batch {
					f, err := os.Create(fmt.Sprintf("%s/%d-%d", dir, i, j))
					if err != nil {
						b.Fatal(err)
					}
					if _, err := f.Write(data); err != nil {
						b.Fatal(err)
					}
					files = append(files, f)
				}
				if err := sync(files); err != nil {
					b.Fatal(err)
				}
				for _, f := range files {
					f.Close()
				}
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "letters/s")
		})
	}
}
