package journal

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// A DoneLog records the ids of finished messages, so that a replay after a power
// cut does not deliver them again. Entries are written and synced in groups a few
// times a second: what is lost with the last quarter of a second costs a second
// delivery, never a missing one.
//
// journal/done.<boot id>: one id a line; done.<boot id>.old is the file before the
// last rotation. An entry matters for as long as the segment that holds the
// message may, which is much less than the time between two rotations.
type DoneLog struct {
	path string
	kick chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	pending []byte
	rotated time.Time
	onError func(error)
}

const (
	doneInterval = 250 * time.Millisecond
	doneMaxSize  = 4 << 20
	doneMinAge   = 10 * MaxAge
)

// OpenDone opens the done log of s for its single writer, the scheduler. onError
// hears of entries that could not be written.
func OpenDone(s *spool.Spool, onError func(error)) (*DoneLog, error) {
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	d := &DoneLog{
		path: donePath(filepath.Join(s.Root, spool.JournalDir), boot), onError: onError,
		kick: make(chan struct{}, 1), stop: make(chan struct{}), rotated: time.Now(),
	}
	d.wg.Go(d.run)
	return d, nil
}

func donePath(dir, boot string) string { return filepath.Join(dir, "done."+boot) }

// Done notes that a message is finished. It does not wait.
func (d *DoneLog) Done(id spool.ID) {
	d.mu.Lock()
	first := len(d.pending) == 0
	d.pending = append(append(d.pending, id...), '\n')
	d.mu.Unlock()
	if first {
		select {
		case d.kick <- struct{}{}:
		default:
		}
	}
}

func (d *DoneLog) run() {
	for {
		select {
		case <-d.stop:
			d.write()
			return
		case <-d.kick:
		}
		t := time.NewTimer(doneInterval)
		select {
		case <-d.stop:
		case <-t.C:
		}
		t.Stop()
		d.write()
	}
}

func (d *DoneLog) write() {
	d.mu.Lock()
	b := d.pending
	d.pending = nil
	d.mu.Unlock()
	if len(b) == 0 {
		return
	}
	if err := d.append(b); err != nil {
		d.onError(fmt.Errorf("done log: %w", err))
	}
}

func (d *DoneLog) append(b []byte) error {
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := unix.Fdatasync(int(f.Fd())); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil || st.Size() < doneMaxSize || time.Since(d.rotated) < doneMinAge {
		return err
	}
	d.rotated = time.Now()
	return os.Rename(d.path, d.path+".old")
}

// Close writes what is pending.
func (d *DoneLog) Close() {
	close(d.stop)
	d.wg.Wait()
}

// readDone returns the finished messages of all boots but this one.
func readDone(dir, boot string) (map[spool.ID]bool, error) {
	done := make(map[spool.ID]bool)
	paths, err := earlierDone(dir, boot)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		sc := bufio.NewScanner(bytes.NewReader(b))
		for sc.Scan() {
			if id, err := spool.ParseID(sc.Text()); err == nil { // a torn last line is no id
				done[id] = true
			}
		}
	}
	return done, nil
}

func earlierDone(dir, boot string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "done.*"))
	if err != nil {
		return nil, err
	}
	own := donePath(dir, boot)
	var earlier []string
	for _, path := range paths {
		if path != own && path != own+".old" {
			earlier = append(earlier, path)
		}
	}
	return earlier, nil
}

func dropDone(d disk.Disk, dir, boot string) error {
	paths, err := earlierDone(dir, boot)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := d.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
