package control

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A notifier tells a service manager how we are: sd_notify(3). Without one it
// does nothing.
type notifier struct {
	path     string
	watchdog time.Duration // the manager wants a sign of life within this; 0: it does not
}

// takeNotifier reads the environment, and cleans it: what the manager wants from
// us it does not want from the daemons.
func takeNotifier() *notifier {
	n := &notifier{path: os.Getenv("NOTIFY_SOCKET")}
	if strings.HasPrefix(n.path, "@") {
		n.path = "\x00" + n.path[1:]
	}
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

// say sends lines of NAME=value. Nobody listening is no error: it is only a hint.
func (n *notifier) say(text string) {
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

// reloading says that a reload has begun; READY=1 ends it.
func (n *notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	n.say(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// statusInterval is how often the manager's text about us is made anew.
const statusInterval = 10 * time.Second

// watch gives signs of life until ctx ends. A supervisor that cannot look at its
// daemons gives none.
func (s *supervisor) watch(ctx context.Context, names []string) {
	interval := statusInterval
	if w := s.notify.watchdog; w > 0 {
		interval = min(interval, w/2)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text := s.summary(names)
		if s.notify.watchdog > 0 {
			s.notify.say("WATCHDOG=1")
		}
		if text != last {
			s.notify.say("STATUS=" + text)
			last = text
		}
	}
}

// summary is one line about the daemons.
func (s *supervisor) summary(names []string) string {
	var trouble []string
	for _, name := range names {
		if d := s.keepers[name].get(); d.State != running {
			trouble = append(trouble, strings.TrimSpace(name+" "+string(d.State)+" "+strings.ReplaceAll(d.Error, "\n", " ")))
		}
	}
	if len(trouble) == 0 {
		return "all daemons run"
	}
	return strings.Join(trouble, "; ")
}
