package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"zmailer/spool"
	"zmailer/spool/disk"
	"zmailer/spool/disk/disktest"
	"zmailer/spool/dsn"
)

// A world is what the outside knows about a message when the power goes.
type world struct {
	id        spool.ID
	file      []byte
	promised  bool // 250 was said
	delivered bool // every recipient was delivered: it may be gone
}

// A scenario works on a spool and tells the world what was promised. It returns at
// the first error, as the programs do.
type scenario struct {
	name string
	run  func(s *spool.Spool, w *world) error
}

func accept(s *spool.Spool, w *world) error {
	w.id = spool.NewID()
	w.file = message(200)
	sub, err := s.Reinject(w.id, w.file)
	if err != nil {
		return err
	}
	if err := sub.Commit(context.Background()); err != nil {
		return err
	}
	w.promised = true
	return nil
}

// withJournal runs fn with an open journal whose second use begins in a segment
// that was used before.
func withJournal(fn func(*spool.Spool, *world) error) func(*spool.Spool, *world) error {
	return func(s *spool.Spool, w *world) error {
		j, err := Open(s, quiet)
		if err != nil {
			return err
		}
		defer stopHard(j)
		s.Journal = j
		return fn(s, w)
	}
}

func routed(s *spool.Spool, w *world) error {
	if err := accept(s, w); err != nil {
		return err
	}
	c := &spool.Control{ID: w.id, Size: int64(len(w.file)), Groups: []spool.Group{{
		Header: []byte("Subject: x\n\n"), Rcpts: []spool.Rcpt{{Hop: spool.Hop{Channel: "smtp", Host: "h", User: "u"}}},
	}}}
	return s.Route(spool.RouterDir, c, nil)
}

func deferred(s *spool.Spool, w *world) error {
	if err := routed(s, w); err != nil {
		return err
	}
	ev := spool.Event{Rcpts: []int{0}, Result: dsn.Temp("4.4.1", "connection refused")}
	return s.AppendEvents(w.id, ev.Append(nil))
}

func finished(s *spool.Spool, w *world) error {
	if err := routed(s, w); err != nil {
		return err
	}
	w.delivered = true // the remote host has said 250
	return s.Finish(w.id)
}

// reused routes the message onto the control file of another one that is finished,
// which is longer and has events that would be fatal for this message.
func reused(s *spool.Spool, w *world) error {
	var first world
	if err := deferred(s, &first); err != nil {
		return err
	}
	done := spool.Event{Rcpts: []int{0}, Result: dsn.Success("2.0.0", "delivered")}
	for range 3 {
		if err := s.AppendEvents(first.id, done.Append(nil)); err != nil {
			return err
		}
	}
	if err := s.Finish(first.id); err != nil {
		return err
	}
	return routed(s, w)
}

func checkpointed(s *spool.Spool, w *world) error {
	if err := accept(s, w); err != nil {
		return err
	}
	j := s.Journal.(*Journal)
	j.retire()
	if err := j.checkpoint(); err != nil {
		return err
	}
	// The segment's second life.
	return j.Append(context.Background(), spool.NewID(), message(1))
}

var scenarios = []scenario{
	{"accept by file", accept},
	{"accept by journal", withJournal(accept)},
	{"route", withJournal(routed)},
	{"route after file", routed},
	{"defer", withJournal(deferred)},
	{"deliver and finish", withJournal(finished)},
	{"reuse control file", withJournal(reused)},
	{"checkpoint and reuse", withJournal(checkpointed)},
}

// TestEveryFault makes each operation of each scenario fail, run into a full disk,
// and be the last before a power cut; after a cut, every state of the disk that
// may be left is recovered and checked.
func TestEveryFault(t *testing.T) {
	old := segmentSize
	segmentSize = 16 << 10
	defer func() { segmentSize = old }()
	faults := map[disktest.Fault]string{disktest.Fail: "error", disktest.Full: "full disk", disktest.Cut: "cut before", disktest.After: "cut after"}
	for i, sc := range scenarios {
		if testing.Short() && i > 1 {
			break // the race detector has seen it all by now
		}
		t.Run(sc.name, func(t *testing.T) {
			cases, states := 0, 0
			live, after := newSpool(t), newSpool(t)
			for fault, name := range faults {
				for at := 1; ; at++ {
					n, more := oneFault(t, sc, live.Root, after.Root, at, fault, fmt.Sprintf("%s at operation %d", name, at))
					if !more {
						break
					}
					cases++
					states += n
				}
			}
			t.Logf("%-22s %3d faults, %4d states of the disk", sc.name, cases, states)
		})
	}
}

// oneFault runs the scenario with one fault; more is false when the scenario has
// fewer operations than that.
func oneFault(t *testing.T, sc scenario, live, after string, at int, fault disktest.Fault, label string) (states int, more bool) {
	wipe(t, live)
	d := disktest.New(live, at, fault)
	s := &spool.Spool{Root: live, Disk: d}
	var w world
	err := sc.run(s, &w)
	if d.Ops() < at {
		return 0, false
	}
	if !d.Dead() && err != nil && !w.promised {
		// The client was told to come again. Nothing may be left that is taken for
		// a whole message and is not one.
		check(t, s.Root, &w, label+", no cut")
	}
	states = d.Crashes(func() string { wipe(t, after); return after }, func(root string) {
		fresh := &spool.Spool{Root: root, Disk: noSync{disk.OS}}
		crash(t, fresh)
		for range 2 { // and again: recovery itself may be cut short
			if _, err := Recover(fresh, quiet); err != nil {
				t.Errorf("%s: journal: %v", label, err)
			}
			if _, err := fresh.Recover(func(spool.ID, string) {}); err != nil {
				t.Errorf("%s: spool: %v", label, err)
			}
		}
		check(t, root, &w, label)
	})
	return states, true
}

// noSync is the disk without its syncs: what is recovered here meets no second cut.
type noSync struct{ disk.Disk }

func (noSync) SyncDir(string) error           { return nil }
func (noSync) OpenFS(string) (disk.FS, error) { return noSync{}, nil }
func (noSync) Sync() error                    { return nil }
func (noSync) Close() error                   { return nil }

// wipe empties a spool, which is much faster than making another one.
func wipe(t *testing.T, root string) {
	for _, path := range tree(root) {
		if err := os.Remove(root + path); err != nil {
			t.Fatal(err)
		}
	}
}

// check holds what is left against the promise.
func check(t *testing.T, root string, w *world, label string) {
	t.Helper()
	if w.id == "" {
		return // it did not come so far
	}
	s := &spool.Spool{Root: root}
	have := 0
	if b, err := os.ReadFile(s.Path(spool.RouterDir, w.id)); err == nil {
		have++
		if !bytes.Equal(b, w.file) {
			t.Errorf("%s: message in router/ is damaged", label)
		}
	}
	if b, err := os.ReadFile(s.QueuePath(w.id)); err == nil {
		have++
		if !bytes.Equal(b, w.file) {
			t.Errorf("%s: message in queue/ is damaged", label)
		}
		if c, err := spool.ReadControl(s.ControlPath(w.id)); err != nil || c.ID != w.id || c.Finished() {
			t.Errorf("%s: queued without a good control file: %v", label, err)
		}
	}
	switch {
	case have > 1:
		t.Errorf("%s: message is there twice", label)
	case have == 0 && w.promised && !w.delivered:
		t.Errorf("%s: message lost; left: %v", label, tree(root))
	}
}

func tree(root string) (files []string) {
	filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path[len(root):])
		}
		return nil
	})
	return files
}
