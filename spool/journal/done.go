package journal

import (
	"bufio"
	"errors"
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
// cut does not deliver them again. An entry is written before the files of its
// message are removed, so that it outlives the process; it is synced in groups a
// few times a second: what is lost with the last quarter of a second costs a second
// delivery, never a missing one.
//
// journal/done.<incarnation>: one id a line; done.<incarnation>.old is the file before the
// last rotation. An entry matters for as long as the segment that holds the
// message may, which is much less than the time between two rotations; while
// segments are kept there are none.
type DoneLog struct {
	path string
	kick chan struct{}
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	f       *os.File // nil: to be opened
	pending []byte   // could not be written yet
	size    int64
	rotated time.Time
	onError func(error)
}

const (
	doneInterval = 250 * time.Millisecond
	doneMaxSize  = 4 << 20
	doneMinAge   = 10 * MaxAge
)

// OpenDone opens the done log of s for its single writer, the scheduler. onError
// hears of entries that could not be written; they are tried again.
func OpenDone(s *spool.Spool, onError func(error)) (*DoneLog, error) {
	boot, err := spool.Incarnation(s.Root)
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

// Done notes that a message is finished. It does not wait for the disk. An entry
// that cannot be written now is written later.
func (d *DoneLog) Done(id spool.ID) {
	d.mu.Lock()
	if len(d.pending) < doneMaxSize {
		d.pending = append(append(d.pending, id...), '\n')
	}
	err := d.writeLocked()
	d.mu.Unlock()
	if err != nil {
		d.onError(fmt.Errorf("done log: %w", err))
	}
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// writeLocked writes what is pending.
func (d *DoneLog) writeLocked() error {
	if len(d.pending) == 0 {
		return nil
	}
	if d.f == nil {
		if err := d.openLocked(); err != nil {
			return err
		}
	}
	n, err := d.f.Write(d.pending)
	d.size += int64(n)
	d.pending = d.pending[:copy(d.pending, d.pending[n:])]
	return err
}

func (d *DoneLog) openLocked() error {
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return err
	}
	if f, err = regular(f); err != nil {
		return err
	}
	st, err := f.Stat()
	if err == nil {
		err = disk.OS.SyncDir(filepath.Dir(d.path))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	d.f, d.size = f, st.Size()
	return nil
}

func (d *DoneLog) run() {
	for {
		select {
		case <-d.stop:
			d.sync()
			return
		case <-d.kick:
		}
		t := time.NewTimer(doneInterval)
		select {
		case <-d.stop:
		case <-t.C:
		}
		t.Stop()
		d.sync()
	}
}

// sync makes what was written durable, and begins a new file when this one is large.
func (d *DoneLog) sync() {
	d.mu.Lock()
	err := d.writeLocked()
	f := d.f
	d.mu.Unlock()
	if f != nil {
		err = errors.Join(err, os.NewSyscallError("fdatasync", unix.Fdatasync(int(f.Fd()))))
	}
	d.mu.Lock()
	full := d.size >= doneMaxSize && time.Since(d.rotated) >= doneMinAge &&
		!anyKept(filepath.Dir(d.path))
	gone := f != nil && !d.inPlace(f)
	if full && err == nil {
		d.rotated = time.Now()
		err = os.Rename(d.path, d.path+".old")
	}
	if f != nil && (full || gone || err != nil) {
		// After an error the descriptor is not trusted any more.
		err = errors.Join(err, f.Close())
		d.f = nil
	}
	d.mu.Unlock()
	if err != nil {
		d.onError(fmt.Errorf("done log: %w", err))
	}
}

// inPlace says whether f is still what others find.
func (d *DoneLog) inPlace(f *os.File) bool {
	own, err := f.Stat()
	if err != nil {
		return false
	}
	found, err := os.Lstat(d.path)
	return err == nil && os.SameFile(own, found)
}

// Close makes everything durable. Done may not be called any more.
func (d *DoneLog) Close() {
	close(d.stop)
	d.wg.Wait()
	if d.f != nil {
		d.f.Close() // synced; nothing depends on it
	}
}

// Finished returns a function that knows the finished messages of the done logs,
// also of this boot. They are read when it is called first; an id in a log that
// cannot be read is not known.
func Finished(s *spool.Spool) func(spool.ID) bool {
	read := sync.OnceValue(func() map[spool.ID]bool {
		done, err := readDone(filepath.Join(s.Root, spool.JournalDir), "")
		if err != nil {
			return nil
		}
		return done
	})
	return func(id spool.ID) bool { return read()[id] }
}

// readDone returns the finished messages of all boots but this one; of all boots
// if boot is empty.
func readDone(dir, boot string) (map[spool.ID]bool, error) {
	done := make(map[spool.ID]bool)
	paths, err := earlierDone(dir, boot)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if err := readDoneFile(path, done); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func readDoneFile(path string, done map[spool.ID]bool) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if id, err := spool.ParseID(sc.Text()); err == nil { // a torn last line is no id
			done[id] = true
		}
	}
	if err := sc.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) { // that one is garbage
		return err
	}
	return nil
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
