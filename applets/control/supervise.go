package control

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/proc"
)

// Restart back-off of a daemon that dies: a daemon that lived long starts again
// at once, one that dies at start is tried again at growing intervals. A start
// every five seconds costs little, and a host whose memory is short, where daemons
// are killed that did nothing wrong, has its port 25 back soon.
const (
	restartMin  = 200 * time.Millisecond
	restartMax  = 5 * time.Second
	livedLong   = 10 * time.Second
	stopGrace   = 20 * time.Second // between SIGTERM and SIGKILL
	startWindow = 15 * time.Second // for a daemon to answer
)

// A state is where a daemon stands in the eyes of the supervisor.
type state string

const (
	stopped  state = "stopped"
	running  state = "running"  // started by us and not ended since
	foreign  state = "foreign"  // runs, but another process started it
	failing  state = "failing"  // ended, waiting to be started again
	starting state = "starting" // about to be started
)

// A daemonStatus is what the supervisor tells about a daemon.
type daemonStatus struct {
	Name     string    `json:"name"`
	State    state     `json:"state"`
	Pid      int       `json:"pid,omitempty"`
	Since    time.Time `json:"since"`
	Restarts int       `json:"restarts"`
	Error    string    `json:"error,omitempty"` // why it ended last
}

// A keeper keeps one daemon running.
type keeper struct {
	name    string
	in      *instance
	log     *slog.Logger
	sockets *sockets // for the daemon; nil: none

	mu     sync.Mutex
	status daemonStatus
	cancel context.CancelFunc // ends the loop that runs now; nil when stopped
	done   chan struct{}
}

// start begins to keep the daemon; it does nothing if it is kept already.
func (k *keeper) start() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel, k.done = cancel, make(chan struct{})
	k.setLocked(starting, 0, nil)
	go func(done chan struct{}) {
		defer close(done)
		k.loop(ctx)
	}(k.done)
}

// stop ends the daemon and returns when it is gone.
func (k *keeper) stop() {
	k.mu.Lock()
	cancel, done := k.cancel, k.done
	k.cancel = nil
	k.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	} else if pid := k.in.pid(k.name); pid > 0 {
		terminate(pid, func() bool { return k.in.pid(k.name) == 0 })
	}
	k.set(stopped, 0, nil)
}

func (k *keeper) set(s state, pid int, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.setLocked(s, pid, err)
}

func (k *keeper) setLocked(s state, pid int, err error) {
	k.status.Name, k.status.State, k.status.Pid, k.status.Since = k.name, s, pid, time.Now()
	if err != nil {
		k.status.Error = err.Error()
	}
	if s == running || s == stopped {
		k.status.Error = ""
	}
}

func (k *keeper) get() daemonStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

func (k *keeper) loop(ctx context.Context) {
	delay := restartMin
	for ctx.Err() == nil {
		k.waitForeign(ctx)
		if ctx.Err() != nil {
			return
		}
		begin := time.Now()
		err := k.runOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		k.log.Error("daemon ended", "daemon", k.name, "err", err)
		if time.Since(begin) > livedLong {
			delay = restartMin
		}
		k.mu.Lock()
		k.status.Restarts++
		k.setLocked(failing, 0, err)
		k.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, restartMax)
	}
}

// waitForeign waits while a process that is not our child holds the daemon's pid
// file: one left over by a supervisor that was killed. The lock itself tells when
// it ends.
func (k *keeper) waitForeign(ctx context.Context) {
	pid := k.in.pid(k.name)
	if pid == 0 {
		return
	}
	k.log.Warn("daemon runs already", "daemon", k.name, "pid", pid)
	k.set(foreign, pid, nil)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		f, err := os.Open(k.in.pidPath(k.name))
		if err != nil {
			return
		}
		defer f.Close()
		for errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_SH), unix.EINTR) {
		}
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		if pid := k.in.pid(k.name); pid > 0 {
			terminate(pid, func() bool { return k.in.pid(k.name) == 0 })
		}
		<-gone
	}
}

// runOnce runs the daemon until it ends or ctx does.
func (k *keeper) runOnce(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	var stderr tail
	cmd := exec.Command(exe)
	cmd.Args = []string{k.name}
	cmd.Dir = k.in.spool.Root
	cmd.Env = append(os.Environ(), "ZCONFIG="+k.in.conf.File)
	if k.sockets != nil {
		cmd.Env = append(cmd.Env, k.sockets.environ()...)
		cmd.ExtraFiles = k.sockets.files
	}
	cmd.Stdout = os.Stdout // the log, with LOG=stdout
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := proc.StartDaemon(cmd); err != nil {
		return err
	}
	k.set(running, cmd.Process.Pid, nil)
	k.log.Info("daemon started", "daemon", k.name, "pid", cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err = <-ended:
		case <-time.After(stopGrace):
			k.log.Error("daemon does not end: killed", "daemon", k.name, "pid", cmd.Process.Pid)
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			err = <-ended
		}
	}
	if text := stderr.String(); text != "" {
		return fmt.Errorf("%s", text)
	}
	if err == nil {
		return errors.New("ended by itself with status 0")
	}
	return err
}

// terminate ends a process that is not our child.
func terminate(pid int, gone func() bool) {
	syscall.Kill(pid, syscall.SIGTERM)
	if !poll(context.Background(), stopGrace, gone) {
		syscall.Kill(pid, syscall.SIGKILL)
		poll(context.Background(), time.Second, gone)
	}
}

// tail keeps the last kilobytes written to it: why a daemon ended.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - tailSize; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(bytes.ToValidUTF8(t.b, []byte("?"))))
}
