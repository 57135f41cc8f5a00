package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockKinds are the ways to lock an mbox. The kernel's locks come first and the
// lock file last, as Debian's policy has it: a waiter for fcntl then holds nothing,
// and the kernel serves the waiters in their order. The others are tried without
// waiting, and all are given up together when one is taken, so that a different
// order elsewhere cannot end in a deadlock.
type lockKinds struct{ dot, fcntl, flock bool }

func parseLocks(text string) (k lockKinds, err error) {
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' }) {
		switch word {
		case "dotlock":
			k.dot = true
		case "fcntl":
			k.fcntl = true
		case "flock":
			k.flock = true
		default:
			return k, fmt.Errorf("mailbox lock %q: want dotlock, fcntl, flock or several of them", word)
		}
	}
	if k == (lockKinds{}) {
		err = errors.New("mailbox locks: at least one of dotlock, fcntl, flock is needed")
	}
	return k, err
}

const (
	lockWait  = 30 * time.Second // for a lock that somebody holds
	lockStale = 5 * time.Minute  // age of another program's lock file that nobody holds any more
	lockFirst = 5 * time.Millisecond
	lockMost  = 100 * time.Millisecond
)

var errLocked = errors.New("mailbox is locked by another program")

// retry calls try until it does not say errLocked, the time is over or ctx ends.
func retry(ctx context.Context, wait time.Duration, try func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	deadline := time.Now().Add(wait)
	for pause := lockFirst; ; pause = min(2*pause, lockMost) {
		err := try()
		if !errors.Is(err, errLocked) || time.Now().After(deadline) {
			return err
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return err
		}
	}
}

// A waitRoom bounds how many threads wait in the kernel for a lock. A wait there
// cannot be broken off: a thread that gave up stays until the lock is free. When
// all places are taken, the lock is tried again and again instead.
type waitRoom chan struct{}

const waitPlaces = 16

// lockFile takes the kernel's locks of the open mbox.
func (k lockKinds) lockFile(ctx context.Context, room waitRoom, fd int) error {
	if k.fcntl {
		if err := lockFcntl(ctx, room, fd); err != nil {
			return err
		}
	}
	// Over NFS, flock is made of fcntl's locks and would wait for ourselves.
	if k.flock && !(k.fcntl && onNFS(fd)) {
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			return lockError("flock", err)
		}
	}
	return nil
}

func lockFcntl(ctx context.Context, room waitRoom, fd int) error {
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &lk)
	if err == nil {
		return nil
	}
	err = lockError("fcntl", err)
	select {
	case room <- struct{}{}:
	default:
		return err
	}
	// The copy shares the lock; if nobody wants it any more, closing gives it up.
	own, e := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if e != nil {
		<-room
		return err
	}
	got := make(chan error, 1)
	go func() {
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		got <- unix.FcntlFlock(uintptr(own), unix.F_OFD_SETLKW, &lk)
		unix.Close(own)
		<-room
	}()
	timer := time.NewTimer(lockWait)
	defer timer.Stop()
	select {
	case e := <-got:
		if e != nil {
			return lockError("fcntl", e)
		}
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}

func lockError(kind string, err error) error {
	if err == unix.EAGAIN || err == unix.EACCES || err == unix.EINTR {
		return fmt.Errorf("%w (%s)", errLocked, kind)
	}
	return fmt.Errorf("lock mailbox with %s: %w", kind, err)
}

func onNFS(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && int64(st.Type) == unix.NFS_SUPER_MAGIC
}

// A dotlock is the file NAME.lock that programs agree upon. While it is held its
// holder also holds an flock on it: who gets that lock knows that the holder is
// dead, whatever the file says. In it stands the journal of the append under way,
// see journal.go.
type dotlock struct {
	dir  int
	name string
	fd   int    // -1: not held, since the directory is not ours to write to
	left []byte // journal of a holder who died
}

// lockDot takes the lock file. A directory where the user may not create one has
// none: then the kernel's locks must do, as in all mail programs.
func lockDot(dir int, mailbox string) (*dotlock, error) {
	l := &dotlock{dir: dir, name: filepath.Base(mailbox) + ".lock", fd: -1}
	fd, err := l.create()
	switch err {
	case nil:
		l.fd = fd
		return l, nil
	case unix.EEXIST:
		return l.takeOver()
	case unix.EACCES, unix.EPERM, unix.EROFS:
		return l, nil
	}
	return nil, fmt.Errorf("create %s.lock: %w", mailbox, err)
}

// create makes the lock file as a whole: locked, and marked as ours, before it
// has its name, so that a process killed at any moment leaves a lock that can be
// told from a living one's.
func (l *dotlock) create() (int, error) {
	fd, err := unix.Openat(l.dir, ".", unix.O_RDWR|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return l.createPlain()
	}
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		_, err = unix.Pwrite(fd, []byte(idle), 0)
	}
	if err == nil {
		err = unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(fd), l.dir, l.name, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		unix.Close(fd)
		if err == unix.EEXIST {
			return -1, err
		}
		return l.createPlain() // no /proc, or the disk is full
	}
	return fd, nil
}

// createPlain is for file systems without nameless files.
func (l *dotlock) createPlain() (int, error) {
	fd, err := unix.Openat(l.dir, l.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, err
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		// Another process looks whether this is a dead one's; it will let go.
		unix.Unlinkat(l.dir, l.name, 0)
		unix.Close(fd)
		return -1, unix.EEXIST
	}
	return fd, nil
}

// takeOver takes the lock file of a holder who died.
func (l *dotlock) takeOver() (*dotlock, error) {
	busy := fmt.Errorf("%w (%s)", errLocked, l.name)
	fd, err := unix.Openat(l.dir, l.name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, busy // gone by now, or not ours
	}
	var st, now unix.Stat_t
	if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil ||
		unix.Fstat(fd, &st) != nil || unix.Fstatat(l.dir, l.name, &now, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		st.Ino != now.Ino || st.Dev != now.Dev || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, busy
	}
	buf := make([]byte, maxJournal)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil || !isJournal(buf[:n]) && time.Since(time.Unix(st.Mtim.Unix())) < lockStale {
		unix.Close(fd)
		return nil, busy
	}
	l.fd, l.left = fd, buf[:n]
	return l, nil
}

// write replaces the content of the lock file. It is never empty in between.
func (l *dotlock) write(b []byte) error {
	if l.fd < 0 {
		return nil
	}
	if n, err := unix.Pwrite(l.fd, b, 0); err != nil {
		return fmt.Errorf("write %s: %w", l.name, err)
	} else if n < len(b) {
		return fmt.Errorf("write %s: %w", l.name, io.ErrShortWrite)
	}
	if err := unix.Ftruncate(l.fd, int64(len(b))); err != nil {
		return fmt.Errorf("write %s: %w", l.name, err)
	}
	return nil
}

// idle is the journal of a lock file without an append under way.
const idle = journalMark + "-\n"

// release removes the lock file. Its journal is made void before: wherever the file
// has been moved to, nobody is to take away what was delivered.
func (l *dotlock) release() error {
	if l.fd < 0 {
		return nil
	}
	_, err := unix.Pwrite(l.fd, []byte(idle), 0)
	var st unix.Stat_t
	if e := unix.Fstat(l.fd, &st); e != nil || st.Nlink > 0 { // else somebody took it for a stale one
		if err := unix.Unlinkat(l.dir, l.name, 0); err != nil && err != unix.ENOENT {
			unix.Close(l.fd)
			l.fd = -1
			return fmt.Errorf("remove %s: %w", l.name, err)
		}
	}
	unix.Close(l.fd)
	l.fd = -1
	if err != nil {
		return fmt.Errorf("write %s: %w", l.name, err)
	}
	return nil
}
