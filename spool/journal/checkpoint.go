package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"zmailer/spool/disk"
)

// settle is how long a retired segment waits before the syncfs that lets it go:
// a session that was just told of success still renames its file.
const settle = 2 * time.Second

// checkpoints drops retired segments until the journal is closed.
func (j *Journal) checkpoints() {
	tick := time.NewTicker(MaxAge / 3)
	defer tick.Stop()
	for {
		select {
		case <-j.stop:
			return
		case <-tick.C:
			j.retireOld()
		case <-j.kick:
		}
		if !j.wait(settle) {
			return
		}
		if err := j.checkpoint(); err != nil {
			// The segments stay and are tried again at the next tick.
			j.log.Error("journal checkpoint", "err", err)
		}
	}
}

func (j *Journal) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-j.stop:
		return false
	case <-t.C:
		return true
	}
}

// retireOld retires an active segment that nobody has written to for long, so
// that an idle mailer does not depend on its journal.
func (j *Journal) retireOld() {
	j.mu.Lock()
	if j.committing {
		j.mu.Unlock()
		return // the next commit looks at the age itself
	}
	j.committing = true // the segment is ours
	j.mu.Unlock()
	if j.active != nil && time.Since(j.active.created) > MaxAge {
		j.retire()
	}
	j.mu.Lock()
	if len(j.pending) > 0 {
		j.pending[0].done <- errLead
	} else {
		j.committing = false
	}
	j.mu.Unlock()
}

// checkpoint makes the spool's files durable and drops what was retired before.
func (j *Journal) checkpoint() error {
	j.segMu.Lock()
	old := j.retired
	j.retired = nil
	j.segMu.Unlock()
	if len(old) == 0 {
		return nil
	}
	syncErr := j.fs.Sync()
	if syncErr != nil {
		// The kernel does not say which files it was. A session may have written its
		// file before the error and come to the journal after it.
		j.doubt = time.Now().Add(settle)
		j.log.Error("ALERT: message files may not be on the disk; the journal keeps them", "err", syncErr)
	}
	for i, seg := range old {
		do := j.drop
		if seg.created.Before(j.doubt) {
			do = j.keep
		}
		if err := do(seg); err != nil {
			j.segMu.Lock()
			j.retired = append(j.retired, old[i:]...)
			j.segMu.Unlock()
			return errors.Join(syncErr, err)
		}
	}
	return syncErr
}

// drop clears a segment's header and keeps the file for reuse, or removes it: also
// one that a sync has failed for, since a second one would be no proof.
func (j *Journal) drop(seg *segment) error {
	j.segMu.Lock()
	keep := len(j.free) < maxFree && !seg.failed
	j.segMu.Unlock()
	if keep {
		if err := clearHeader(seg.f); err != nil {
			seg.failed = true
			return err // to be removed at the next checkpoint
		}
	}
	// A descriptor is gone even if closing it has failed.
	if err := seg.f.Close(); err != nil || !keep {
		if err != nil {
			j.log.Error("journal segment is not used again", "err", err, "segment", filepath.Base(seg.path))
		}
		return j.disk.Remove(seg.path)
	}
	j.segMu.Lock()
	j.free = append(j.free, seg.path)
	j.segMu.Unlock()
	return nil
}

func clearHeader(f disk.File) error {
	if err := f.WriteAt([][]byte{make([]byte, headerSize)}, 0); err != nil {
		return err
	}
	return f.Sync()
}

// Close makes everything durable as files and gives the journal up. No Append may
// be under way.
func (j *Journal) Close() error {
	close(j.stop)
	j.stopped.Wait()
	if j.active != nil {
		j.retire()
	}
	return errors.Join(j.checkpoint(), j.fs.Close(), j.lock.Close())
}

func segmentPath(dir string, n int) string { return filepath.Join(dir, fmt.Sprintf("%08d.seg", n)) }

func segmentNumber(path string) int {
	n := -1
	fmt.Sscanf(filepath.Base(path), "%d.seg", &n)
	return n
}

func segmentPaths(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "[0-9]*.seg"))
}
