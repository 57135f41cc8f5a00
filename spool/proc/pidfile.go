package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A PidFile is held locked by a running daemon. The lock, not the number in the
// file, says that the daemon lives: it ends with the process whatever happens,
// and a number left by a crash can belong to an innocent process.
type PidFile struct{ f *os.File }

// ErrRunning means that another process holds the pid file.
type ErrRunning struct {
	Path string
	Pid  int
}

func (e *ErrRunning) Error() string {
	return fmt.Sprintf("already running as process %d (%s is locked)", e.Pid, e.Path)
}

// LockPidFile locks the pid file at path and writes the process id into it. It
// fails with *ErrRunning if another process holds it.
func LockPidFile(path string) (*PidFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &ErrRunning{Path: path, Pid: readPid(f)}
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		f.Close()
		return nil, err
	}
	return &PidFile{f}, nil
}

// Close gives the lock up. The file stays: removing it would race with a daemon
// that has just opened it.
func (p *PidFile) Close() error { return p.f.Close() }

// Running returns the process that holds the pid file at path, or 0.
func Running(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	// A shared lock is enough to see the exclusive one, and disturbs a starting
	// daemon for the shortest time.
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case err == nil:
		return 0, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return readPid(f), nil
	default:
		return 0, fmt.Errorf("lock %s: %w", path, err)
	}
}

func readPid(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return -1
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 0 {
		return -1 // locked, but not written yet
	}
	return pid
}
