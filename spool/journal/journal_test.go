package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"zmailer/spool"
)

var quiet = slog.New(slog.DiscardHandler)

func newSpool(t testing.TB) *spool.Spool {
	t.Helper()
	root := filepath.Join(t.TempDir(), "postoffice")
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func message(n int) []byte {
	env := spool.Envelope{HasFrom: true, From: "a@example.org", To: []spool.Recipient{{Addr: fmt.Sprintf("r%d@example.net", n)}}}
	b, err := env.Append(nil)
	if err != nil {
		panic(err)
	}
	return fmt.Appendf(b, "Subject: %d\n\n%s", n, bytes.Repeat([]byte("x"), n%5000))
}

// crash copies the journal directory as another boot would find it: the segments
// and done logs of this boot belong to an earlier one.
func crash(t *testing.T, s *spool.Spool) {
	t.Helper()
	const earlier = "00000000-0000-0000-0000-000000000000"
	dir := filepath.Join(s.Root, spool.JournalDir)
	paths, err := segmentPaths(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		h := make([]byte, 8)
		if _, err := f.ReadAt(h, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if string(h) == magic {
			if _, err := f.WriteAt([]byte(earlier), 24); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
	boot, err := spool.Incarnation(s.Root)
	if err != nil {
		t.Fatal(err)
	}
	err = os.Rename(donePath(dir, boot), donePath(dir, earlier))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

// stopHard gives the journal up without making anything durable as files, as a
// process that is killed does.
func stopHard(j *Journal) {
	close(j.stop)
	j.stopped.Wait()
	j.lock.Close()
}

func TestReplay(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	s.Journal = j
	ctx := context.Background()
	const n = 300
	ids := make([]spool.ID, n)
	var wg sync.WaitGroup
	for i := range n {
		ids[i] = spool.NewID()
		wg.Go(func() {
			sub, err := s.Reinject(ids[i], message(i))
			if err == nil {
				err = sub.Commit(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	done, err := OpenDone(s, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	// By number: 0 intact, 1 lost, 2 cut short, 3 finished and gone, 4 finished but
	// brought back by the file system.
	for i, id := range ids {
		path := s.Path(spool.RouterDir, id)
		switch i % 5 {
		case 1:
			os.Remove(path)
		case 2:
			os.Truncate(path, 10)
		case 3:
			done.Done(id)
			os.Remove(path)
		case 4:
			done.Done(id)
		}
	}
	done.Close()
	stopHard(j)
	s.Journal = nil
	crash(t, s)
	st, err := Recover(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	want := Stats{Segments: 1, Records: n, Intact: n / 5, Finished: 2 * n / 5, Restored: 2 * n / 5, Removed: n / 5}
	if st != want {
		t.Errorf("got %+v, want %+v", st, want)
	}
	for i, id := range ids {
		b, err := os.ReadFile(s.Path(spool.RouterDir, id))
		if i%5 >= 3 {
			if !os.IsNotExist(err) {
				t.Errorf("%d: finished message is back", i)
			}
		} else if err != nil || !bytes.Equal(b, message(i)) {
			t.Errorf("%d: %d bytes, %v", i, len(b), err)
		}
	}
	if st, err := Recover(s, quiet); err != nil || st != (Stats{}) {
		t.Errorf("second recovery: %+v, %v", st, err)
	}
}

func TestSameBootKeepsHands(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	id := spool.NewID()
	if err := j.Append(context.Background(), id, message(1)); err != nil {
		t.Fatal(err)
	}
	stopHard(j)
	// The process was killed; the message was delivered meanwhile.
	if st, err := Recover(s, quiet); err != nil || st != (Stats{}) {
		t.Errorf("%+v, %v", st, err)
	}
	j, err = Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	used := 0
	paths, _ := segmentPaths(j.dir)
	for _, p := range paths {
		if u, _ := hasHeader(p); u {
			used++
		}
	}
	if used != 0 {
		t.Errorf("%d segments in use after Close", used)
	}
}

// TestTorn damages a segment at every region and checks that replay returns a
// prefix of what was written, whatever the damage.
func TestTorn(t *testing.T) {
	for _, at := range []int64{headerSize, headerSize + 4, headerSize + 8, headerSize + 16, headerSize + 40, headerSize + 2000} {
		s := newSpool(t)
		j, err := Open(s, quiet)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if err := j.Append(context.Background(), spool.NewID(), message(i+1000)); err != nil {
				t.Fatal(err)
			}
		}
		path := j.active.path
		stopHard(j)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		var b [4]byte
		f.ReadAt(b[:], at)
		binary.LittleEndian.PutUint32(b[:], ^binary.LittleEndian.Uint32(b[:]))
		f.WriteAt(b[:], at)
		f.Close()
		crash(t, s)
		st, err := Recover(s, quiet)
		if err != nil || st.Records > 1 || st.Restored != st.Records {
			t.Errorf("damage at %d: %+v, %v", at, st, err)
		}
	}
}

func TestSegmentsRollOver(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("y"), spool.SmallMessage)
	n := int(segmentSize)/len(big) + 10
	for range n {
		if err := j.Append(context.Background(), spool.NewID(), big); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if len(j.free) != 1 {
		t.Errorf("%d free segments, want 1", len(j.free))
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSecondServer(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := Open(s, quiet); err == nil {
		t.Error("opened twice")
	}
}

// FuzzReplay replays arbitrary bytes as a segment of an earlier boot.
func FuzzReplay(f *testing.F) {
	f.Add([]byte("x"))
	seg := &segment{epoch: 7}
	e := &entry{id: spool.NewID(), msg: message(3)}
	seg.seal(e)
	f.Add(append(e.head[:], e.msg...))
	f.Fuzz(func(t *testing.T, records []byte) {
		s := newSpool(t)
		b := append(seg.header("00000000-0000-0000-0000-000000000000"), records...)
		if err := os.WriteFile(segmentPath(filepath.Join(s.Root, spool.JournalDir), 1), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(s, quiet); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 20, 100} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			j, err := Open(newSpool(b), quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer j.Close()
			msg := bytes.Repeat([]byte("z"), 4096)
			b.SetBytes(4096)
			work := make(chan struct{}, writers)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for range work {
						if err := j.Append(context.Background(), spool.NewID(), msg); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for b.Loop() {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
		})
	}
}
