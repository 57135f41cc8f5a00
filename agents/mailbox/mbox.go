package mailbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
)

// A target is an mbox file and in whose name it is written.
type target struct {
	path  string
	as    identity.Identity
	mode  uint32 // of a new file
	quota quota
	log   func(format string, args ...any)
}

// An appender appends letters to mbox files, all or nothing each. Letters for the
// same file that wait at the same time share the locks and one sync.
type appender struct {
	locks  lockKinds
	room   waitRoom
	sync   *syncer
	queues queues

	failWrite func(*letter.Letter) error // tests: a write that breaks off
}

// deliver appends l to the file. When it returns nil the letter survives a power
// cut; else the file is as it was.
func (a *appender) deliver(ctx context.Context, t target, l *letter.Letter) error {
	key := fmt.Sprintf("%s\x00%s\x00%d", t.path, t.as.Key(), t.quota.bytes)
	return a.queues.deliver(key, &job{l: l}, maxBatch, func(batch []*job) error {
		return t.as.Do(func() error {
			f, err := a.open(ctx, t)
			if err != nil {
				return err
			}
			return errors.Join(f.append(a, t.quota, batch), f.close())
		})
	})
}

// An openMbox is an mbox that is open and locked.
type openMbox struct {
	dir, fd int
	path    string
	dot     *dotlock
	size    int64
}

// open opens and locks the file, and takes away what a process that was killed
// left in it.
func (a *appender) open(ctx context.Context, t target) (*openMbox, error) {
	dir, err := openDir(filepath.Dir(t.path))
	if err != nil {
		return nil, err
	}
	f := &openMbox{dir: dir, fd: -1, path: t.path, dot: &dotlock{fd: -1}}
	err = retry(ctx, lockWait, func() error { return f.lock(ctx, a, t) })
	if err == nil {
		var cut int64
		if cut, err = undo(f.fd, f.dot.left); cut > 0 && t.log != nil {
			t.log("event=mailbox-repaired file=%q size=%d", t.path, cut)
		}
	}
	if err == nil {
		var st unix.Stat_t
		err = os.NewSyscallError("fstat", unix.Fstat(f.fd, &st))
		f.size = st.Size
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// lock is one try. After an error nothing is held.
func (f *openMbox) lock(ctx context.Context, a *appender, t target) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, f.unlock())
		}
	}()
	fd, st, err := openMailFile(f.dir, t.path, t.as.UID, t.mode)
	if err != nil {
		return err
	}
	f.fd = fd
	if err := a.locks.lockFile(ctx, a.room, fd); err != nil {
		return err
	}
	if a.locks.dot {
		dot, err := lockDot(f.dir, t.path)
		if err != nil {
			return err
		}
		f.dot = dot
	}
	// Once more, now that it is locked.
	var now unix.Stat_t
	if err := unix.Fstatat(f.dir, filepath.Base(t.path), &now, unix.AT_SYMLINK_NOFOLLOW); err != nil || now.Ino != st.Ino || now.Dev != st.Dev {
		return fmt.Errorf("%w (the file was replaced)", errLocked)
	}
	return onlyName(fd, t.path)
}

func (f *openMbox) unlock() error {
	if f.fd >= 0 {
		unix.Close(f.fd) // synced, or given up
		f.fd = -1
	}
	return f.dot.release()
}

func (f *openMbox) close() error {
	err := f.unlock()
	unix.Close(f.dir)
	return err
}

// append writes the batch and syncs once. A job whose letter could not be written
// gets its error; an error of append itself concerns all of them.
func (f *openMbox) append(a *appender, q quota, batch []*job) error {
	var lines []string
	for _, job := range batch {
		lines = append(lines, job.l.From)
	}
	if err := f.dot.write(newJournal(f.size, lines)); err != nil {
		return err
	}
	base, written := f.size, 0
	if err := f.endLine(); err != nil {
		return errors.Join(err, f.cut(base))
	}
	for _, job := range batch {
		if job.err = q.allows(f.path, f.size, job.l.Size()); job.err == nil {
			job.err = f.one(a, job.l)
		}
		if job.err == nil {
			written++
		}
	}
	if written == 0 {
		return f.cut(base)
	}
	if err := f.sync(a, base == 0); err != nil {
		return errors.Join(err, f.cut(base))
	}
	return nil
}

func (f *openMbox) one(a *appender, l *letter.Letter) error {
	start := f.size
	err := l.WriteMbox(f)
	if err == nil && a.failWrite != nil {
		err = a.failWrite(l)
	}
	if err != nil {
		return errors.Join(err, f.cut(start))
	}
	return nil
}

// endLine completes the last line of what another program left incomplete, so
// that our separator begins a line.
func (f *openMbox) endLine() error {
	if f.size == 0 {
		return nil
	}
	var last [1]byte
	if _, err := fdReader(f.fd).ReadAt(last[:], f.size-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err := f.Write([]byte("\n\n"))
		return err
	}
	return nil
}

func (f *openMbox) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := unix.Write(f.fd, p[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, os.NewSyscallError("write", err)
		}
		n, f.size = n+m, f.size+int64(m)
	}
	return n, nil
}

// cut cuts the file back to size.
func (f *openMbox) cut(size int64) error {
	if err := unix.Ftruncate(f.fd, size); err != nil {
		return fmt.Errorf("cut mailbox back: %w", err)
	}
	f.size = size
	return nil
}

func (f *openMbox) sync(a *appender, created bool) error {
	if created && !a.sync.off { // the name in the directory too, which we may not be able to open
		return os.NewSyscallError("syncfs", unix.Syncfs(f.fd))
	}
	return a.sync.sync(f.fd)
}
