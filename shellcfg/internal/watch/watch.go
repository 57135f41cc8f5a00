// Package watch keeps a parsed file current.
//
// A File is asked before every use and looks at the disk with one stat at
// most once per interval. A changed file is parsed beside the version in use
// and takes over in one step; readers never wait for it. A file that became
// unreadable, does not parse or is still being written leaves the old version
// in place, and the reason is logged once. A file that never could be read is
// an error at each Get until it can.
//
// Values must not be modified after they were loaded: any number of readers
// share them.
package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultInterval is the longest time for which a change may go unnoticed,
// besides the time a fresh file is given to settle.
const DefaultInterval = time.Second

// State identifies one version of a file.
type State struct {
	Dev, Ino uint64
	Size     int64
	Mtime    int64 // nanoseconds of the UNIX epoch
}

// Stat returns the State of what path leads to.
func Stat(path string) (State, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return State{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stateOf(&st), nil
}

func stateOf(st *unix.Stat_t) State {
	return State{Dev: uint64(st.Dev), Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano()}
}

// Open opens a regular file for reading. Anything else is refused: opening a
// FIFO must not hang and reading a device must not go on for ever.
func Open(path string) (*os.File, State, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, State{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, State{}, errors.Join(&fs.PathError{Op: "stat", Path: path, Err: err}, f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, State{}, errors.Join(fmt.Errorf("open %s: not a regular file", path), f.Close())
	}
	return f, stateOf(&st), nil
}

// Loader parses an open file. It may keep what it read but not f.
type Loader[T any] func(f *os.File, st State) (*T, error)

// File is the current value of one file; set the fields before the first Get.
type File[T any] struct {
	Path     string
	Load     Loader[T]
	Interval time.Duration // 0: DefaultInterval
	Log      *slog.Logger  // nil: changes and failures are not logged

	cur     atomic.Pointer[version[T]]
	next    atomic.Int64 // time of the next look, on the clock of now()
	reloads atomic.Int64

	mu      sync.Mutex // held by the one that looks; guards what follows
	pending State      // a change seen but not yet settled
	err     error      // of the last look; nil: the version in use is current
}

type version[T any] struct {
	val   *T
	state State
	racy  bool // read so soon after its last change that another could hide behind the same time
}

var epoch = time.Now()

// now is monotonic and half as expensive as time.Now.
func now() int64 { return int64(time.Since(epoch)) }

func (f *File[T]) interval() time.Duration {
	if f.Interval > 0 {
		return f.Interval
	}
	return DefaultInterval
}

// Get returns the newest version that could be read.
func (f *File[T]) Get() (*T, error) {
	v := f.cur.Load()
	if v != nil {
		if now() < f.next.Load() || !f.mu.TryLock() {
			return v.val, nil
		}
	} else {
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	return f.look()
}

// Check looks at once, whatever the interval, and also returns the error that
// keeps a newer version from being used.
func (f *File[T]) Check() (*T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next.Store(0)
	f.pending, _ = Stat(f.Path) // the caller says that it is complete
	val, err := f.look()
	if err == nil {
		err = f.err
	}
	return val, err
}

// Reloads counts the versions that took over from an earlier one.
func (f *File[T]) Reloads() int64 { return f.reloads.Load() }

// look needs f.mu.
func (f *File[T]) look() (*T, error) {
	start := now()
	old := f.cur.Load()
	if start >= f.next.Load() {
		f.note(f.refresh(old))
		wait := int64(f.interval())
		if f.err != nil {
			// A file that is slow to read and does not parse must not take
			// all the time of those who ask.
			wait = max(wait, 5*(now()-start))
		}
		f.next.Store(now() + wait)
	}
	if v := f.cur.Load(); v != nil {
		return v.val, nil
	}
	return nil, f.err
}

// note remembers err and logs it when it is news.
func (f *File[T]) note(err error) {
	known := f.err != nil && err != nil && f.err.Error() == err.Error()
	recovered := f.err != nil && err == nil && f.cur.Load() != nil
	f.err = err
	switch {
	case f.Log == nil || known:
	case err != nil && f.cur.Load() != nil:
		f.Log.Error("table not reloaded, the old version stays", "err", err)
	case err != nil:
		f.Log.Error("table cannot be read", "err", err)
	case recovered:
		f.Log.Info("table can be read again", "err", f.Path+": good now")
	}
}

func (f *File[T]) refresh(old *version[T]) error {
	st, err := Stat(f.Path)
	if err != nil {
		return err
	}
	young := time.Now().UnixNano()-st.Mtime < int64(f.interval())
	if old != nil {
		if st == old.state && (!old.racy || young) {
			return nil
		}
		if st != old.state && young && st != f.pending {
			f.pending = st // perhaps still being written: one more interval
			return f.err
		}
	}
	if old != nil {
		return f.reload(old)
	}
	// Without a version to go on with, a file that was replaced under the reader is
	// worth another look at once: it is whole again in all likelihood.
	for range firstReads {
		if err = f.reload(nil); !errors.Is(err, errChanged) {
			break
		}
	}
	return err
}

// firstReads bounds how often a file that keeps changing is read the first time.
const firstReads = 5

var errChanged = errors.New("changed while it was read")

func (f *File[T]) reload(old *version[T]) (err error) {
	file, st, err := Open(f.Path)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := file.Close(); err == nil && cerr != nil {
			err = cerr
		}
	}()
	val, err := f.Load(file, st)
	if err != nil {
		return err
	}
	var after unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &after); err != nil {
		return &fs.PathError{Op: "stat", Path: f.Path, Err: err}
	}
	if stateOf(&after) != st {
		return fmt.Errorf("%s: %w", f.Path, errChanged)
	}
	racy := time.Now().UnixNano()-st.Mtime < int64(f.interval())
	f.cur.Store(&version[T]{val: val, state: st, racy: racy})
	if old != nil {
		f.reloads.Add(1)
	}
	return nil
}
