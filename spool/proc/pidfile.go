package proc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A PidFile is held locked by a running daemon. The lock, not the number in the
// file, says that the daemon lives: it ends with the process whatever happens,
// and a number left by a crash can belong to an innocent process.
//
// Who can open the file can lock it, and keep the daemon from its next start. So it
// is for its owner alone; others have to ask the kernel who holds it (holder).
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
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o600); err != nil { // it was made by an earlier version
		f.Close()
		return nil, err
	}
	if err := lock(f, path); err != nil {
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

// probeTime is how long somebody who calls Running may keep a daemon from its start,
// should the machine be busy just then.
const probeTime = time.Second

// lock takes the exclusive lock of f. It waits for those who only look whether somebody
// has it.
func lock(f *os.File, path string) error {
	for end := time.Now().Add(probeTime); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || holder(path) != 0 || time.Now().After(end) {
			return err
		}
	}
}

// Close gives the lock up. The file stays: removing it would race with a daemon
// that has just opened it.
func (p *PidFile) Close() error { return p.f.Close() }

// Running returns the process that holds the pid file at path, or 0; -1 is one that is
// not known. For others than the file's owner a daemon that does not run is an error:
// they cannot know.
func Running(path string) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		if pid := holder(path); pid != 0 {
			return pid, nil
		}
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

// holder finds who holds the lock of a file in the kernel's list: 0 is nobody, or not
// to be found out, as on file systems whose numbers there are others than those of
// stat(2).
func holder(path string) int {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return 0
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino)
	for line := range strings.Lines(string(b)) {
		// 1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[3] != "WRITE" || f[5] != file {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid
		}
		return -1 // in another name space
	}
	return 0
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
