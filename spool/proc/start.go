package proc

import (
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late a timer of a daemon may be, so that the kernel can serve
// several by one interrupt. Its default of 50 µs makes no daemon more punctual, but
// the run time of Go looks after each busy process by naps of 20 µs: at a thousand
// messages a second those are more than half of all context switches.
const timerSlack = time.Millisecond

// StartDaemon is cmd.Start for a process that serves for long: its timers, and those
// of what it starts, may be a millisecond late. The service units say the same by
// TimerSlackNSec=. It cannot be done by the daemon for itself, since the thread that
// naps runs before main does, and slack is passed on only to threads and processes
// that are made later.
func StartDaemon(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	old, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return cmd.Start()
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(old), 0, 0, 0)
	return cmd.Start()
}
