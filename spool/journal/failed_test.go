package journal

import (
	"context"
	"errors"
	"os"
	"testing"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// A badDisk is one whose files cannot be synced, or names not removed, while it is bad.
type badDisk struct {
	disk.Disk
	sync, remove bool
}

var errBad = errors.New("input/output error")

func (d *badDisk) Allocate(path string, size int64) (disk.File, error) {
	f, err := d.Disk.Allocate(path, size)
	return &badFile{f, d}, err
}

func (d *badDisk) Remove(path string) error {
	if d.remove {
		return errBad
	}
	return d.Disk.Remove(path)
}

type badFile struct {
	disk.File
	disk *badDisk
}

func (f *badFile) Sync() error {
	if f.disk.sync {
		return errBad
	}
	return f.File.Sync()
}

// TestFailedSegment shows that a segment is not used again once a sync of it has
// failed, and that removing it is tried until it works.
func TestFailedSegment(t *testing.T) {
	s := newSpool(t)
	bad := &badDisk{Disk: disk.OS}
	s.Disk = bad
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	stopHard(j) // checkpoints are made here
	if err := j.Append(context.Background(), spool.NewID(), message(1)); err != nil {
		t.Fatal(err)
	}
	path := j.active.path
	bad.sync, bad.remove = true, true
	if err := j.Append(context.Background(), spool.NewID(), message(2)); err == nil {
		t.Error("a message was taken that could not be synced")
	}
	bad.sync = false
	if err := j.checkpoint(); err == nil {
		t.Error("the segment is said to be removed")
	}
	// A file that now has the number of the segment's descriptor stays open.
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	bad.remove = false
	if err := j.checkpoint(); err != nil {
		t.Error(err)
	}
	if _, err := other.Stat(); err != nil {
		t.Errorf("the descriptor of another file was closed: %v", err)
	}
	if _, err := os.Stat(path); err == nil || len(j.free) > 0 {
		t.Errorf("the segment is to be used again: %v, free %v", err, j.free)
	}
}
