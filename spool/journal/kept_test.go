package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"zmailer/spool"
	"zmailer/spool/disk"
	"zmailer/spool/disk/disktest"
)

// smallSegments makes them small for one test.
func smallSegments(t *testing.T) {
	old := segmentSize
	segmentSize = 16 << 10
	t.Cleanup(func() { segmentSize = old })
}

// TestFailedWriteback loses a message file behind the mailer's back, as a disk does
// that fails while the kernel writes it out, and cuts the power later on.
func TestFailedWriteback(t *testing.T) {
	smallSegments(t)
	drop := func(t *testing.T, j *Journal, fails bool) {
		t.Helper()
		if err := j.checkpoint(); (err != nil) != fails {
			t.Errorf("checkpoint: %v", err)
		}
	}
	again := func(t *testing.T, s *spool.Spool, j *Journal) *Journal {
		t.Helper()
		stopHard(j)
		j, err := Open(s, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	tests := map[string]func(*testing.T, *spool.Spool, *Journal) *Journal{
		"retired": func(t *testing.T, _ *spool.Spool, j *Journal) *Journal {
			j.retire()
			drop(t, j, true)
			drop(t, j, false)
			return j
		},
		"active": func(t *testing.T, _ *spool.Spool, j *Journal) *Journal {
			j.retired = append(j.retired, another(t, j))
			drop(t, j, true)
			j.retire()
			drop(t, j, false)
			return j
		},
		"server killed": func(t *testing.T, s *spool.Spool, j *Journal) *Journal {
			j.retired = append(j.retired, another(t, j))
			drop(t, j, true)
			j = again(t, s, j)
			drop(t, j, false)
			return again(t, s, j)
		},
	}
	for name, run := range tests {
		t.Run(name, func(t *testing.T) {
			live, after := newSpool(t), newSpool(t)
			d := disktest.New(live.Root, 0, disktest.None)
			s := &spool.Spool{Root: live.Root, Disk: d}
			j, err := Open(s, quiet)
			if err != nil {
				t.Fatal(err)
			}
			s.Journal = j
			var w world
			if err := accept(s, &w); err != nil {
				t.Fatal(err)
			}
			close(j.stop) // checkpoints are made here
			j.stopped.Wait()
			j.stop = make(chan struct{})
			d.Writeback(s.Path(spool.RouterDir, w.id))
			stopHard(run(t, s, j))
			d.Crashes(func() string { wipe(t, after.Root); return after.Root }, func(root string) {
				fresh := &spool.Spool{Root: root, Disk: noSync{disk.OS}}
				crash(t, fresh)
				if _, err := Recover(fresh, quiet); err != nil {
					t.Error(err)
				}
				check(t, root, &w, name)
			})
		})
	}
}

// another is a segment without messages.
func another(t *testing.T, j *Journal) *segment {
	t.Helper()
	seg, err := j.newSegment()
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// A deafDisk is one whose file systems cannot be synced while fail is set.
type deafDisk struct {
	disk.Disk
	fail bool
}

func (d *deafDisk) OpenFS(path string) (disk.FS, error) {
	fs, err := d.Disk.OpenFS(path)
	return deafFS{fs, d}, err
}

type deafFS struct {
	disk.FS
	d *deafDisk
}

func (s deafFS) Sync() error {
	if s.d.fail {
		return syscall.EIO
	}
	return s.FS.Sync()
}

// TestKeptBound shows that kept segments cannot fill the disk, also over restarts,
// and that the replay ends it.
func TestKeptBound(t *testing.T) {
	smallSegments(t)
	s := newSpool(t)
	s.Disk = &deafDisk{Disk: disk.OS, fail: true}
	ctx := context.Background()
	taken := 0
	for err := error(nil); err == nil; {
		j, e := Open(s, quiet)
		if e != nil {
			t.Fatal(e)
		}
		if err = j.Append(ctx, spool.NewID(), message(1)); err == nil {
			taken++
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if e := j.Close(); err == nil && e == nil {
			t.Fatal("nobody hears of the error")
		}
	}
	if taken != maxKept {
		t.Errorf("%d messages taken, want %d", taken, maxKept)
	}
	crash(t, s)
	if _, err := Open(s, quiet); err == nil {
		t.Fatal("recovered on a disk that fails")
	}
	s.Disk = nil
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if err := j.Append(ctx, spool.NewID(), message(1)); err != nil || anyKept(j.dir) {
		t.Errorf("after the replay: %v, kept %v", err, anyKept(j.dir))
	}
	if names, _ := os.ReadDir(filepath.Join(s.Root, spool.RouterDir)); len(names) != maxKept {
		t.Errorf("%d messages restored, want %d", len(names), maxKept)
	}
}

// TestFailedRecovery shows that what a recovery could not make durable is not there
// for the next one, which would take it for intact.
func TestFailedRecovery(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(context.Background(), spool.NewID(), message(1)); err != nil {
		t.Fatal(err)
	}
	stopHard(j)
	crash(t, s)
	d := &deafDisk{Disk: disk.OS, fail: true}
	s.Disk = d
	if _, err := Recover(s, quiet); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	d.fail = false
	if st, err := Recover(s, quiet); err != nil || st.Restored != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestDoneLogStays shows that the done log is not rotated while segments are kept.
func TestDoneLogStays(t *testing.T) {
	s := newSpool(t)
	d, err := OpenDone(s, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	d.Close() // what follows is done here
	d.Done(spool.NewID())
	kept := filepath.Join(s.Root, spool.JournalDir, "00000001"+keptSuffix)
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rotated := func() bool {
		d.size, d.rotated = doneMaxSize, time.Now().Add(-2*doneMinAge)
		d.sync()
		_, err := os.Stat(d.path + ".old")
		return err == nil
	}
	if rotated() {
		t.Error("rotated while a segment is kept")
	}
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	if !rotated() {
		t.Error("not rotated afterwards")
	}
}
