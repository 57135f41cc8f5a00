package proc

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Notifier tells a service manager how we are: sd_notify(3). Without one it
// does nothing.
type Notifier struct {
	path     string        // one that begins with @ is not a file: unix(7)
	watchdog time.Duration // the manager wants a sign of life within this; 0: it does not
}

// TakeNotifier reads the environment, and cleans it: what the manager wants from
// us it does not want from our children.
func TakeNotifier() *Notifier {
	n := &Notifier{path: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
			n.watchdog = time.Duration(us) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		os.Unsetenv(name)
	}
	return n
}

// Say sends lines of NAME=value. Nobody listening is no error: it is only a hint.
func (n *Notifier) Say(text string) {
	if n.path == "" {
		return
	}
	c, err := net.Dial("unixgram", n.path)
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(text))
}

// Reloading says that a reload has begun; READY=1 ends it.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	n.Say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Watch says that the service is ready, and gives signs of life until ctx ends, as
// long as status returns within the time that the manager allows. What it returns
// is for people, who find it in "systemctl status".
func (n *Notifier) Watch(ctx context.Context, status func(context.Context) string) {
	if n.path == "" {
		return
	}
	n.Say("READY=1")
	defer n.Say("STOPPING=1\nSTATUS=")
	interval := time.Minute
	if n.watchdog > 0 {
		interval = n.watchdog / 3
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		text := status(ctx)
		if ctx.Err() != nil {
			return
		}
		n.Say("WATCHDOG=1\nSTATUS=" + text)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Interval is how often signs of life are due, at most most.
func (n *Notifier) Interval(most time.Duration) time.Duration {
	if n.watchdog > 0 {
		return min(most, n.watchdog/2)
	}
	return most
}

// Alive gives a sign of life, if the manager wants any.
func (n *Notifier) Alive() {
	if n.watchdog > 0 {
		n.Say("WATCHDOG=1")
	}
}
