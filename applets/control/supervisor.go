package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// A supervisor starts the daemons, starts them again when they die, and takes
// orders on a socket. It does nothing else, so that there is little in it that
// could fail.
type supervisor struct {
	in      *instance
	log     *slog.Logger
	keepers map[string]*keeper
	notify  *proc.Notifier
}

// supervise runs the supervisor with the named daemons until ctx ends.
func supervise(ctx context.Context, in *instance, names []string) error {
	pid, err := proc.LockPidFile(in.spool.RunPath("zmailer.pid"))
	if err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	defer pid.Close()
	log, file, err := in.conf.OpenLog("zmailer", nil)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer file.Close()
	s := &supervisor{in: in, log: log, keepers: make(map[string]*keeper), notify: proc.TakeNotifier()}
	given, err := takeSockets()
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	for _, name := range daemons {
		s.keepers[name] = &keeper{name: name, in: in, log: log, status: daemonStatus{Name: name, State: stopped}}
	}
	s.keepers["smtpserver"].sockets = given
	l, err := listen(in.spool.RunPath("zmailer.sock"))
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer l.Close()
	go s.serve(l)
	go s.onHangup(ctx, file)
	for _, name := range names {
		s.keepers[name].start()
	}
	poll(ctx, startWindow, func() bool { return s.allAnswer(names) })
	// A daemon that does not start is tried again; the others go on meanwhile, and
	// the service manager must not end them for it.
	s.notify.Say("READY=1\nSTATUS=" + s.summary(names))
	s.watch(ctx, names)
	s.notify.Say("STOPPING=1")
	s.stopAll()
	log.Info("all daemons stopped")
	return nil
}

func (s *supervisor) allAnswer(names []string) bool {
	for _, name := range names {
		if !s.in.answers(name) {
			return false
		}
	}
	return true
}

func (s *supervisor) stopAll() {
	var wg sync.WaitGroup
	for i := len(daemons) - 1; i >= 0; i-- {
		wg.Go(s.keepers[daemons[i]].stop)
	}
	wg.Wait()
}

// onHangup passes SIGHUP on: reopen the log, have the daemons reload.
func (s *supervisor) onHangup(ctx context.Context, log *zlog.Output) {
	hup := proc.Hangups()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		s.notify.Reloading()
		if err := log.Reopen(); err != nil {
			s.log.Error("reopen log", "err", err)
		}
		for _, name := range daemons {
			if pid := s.in.pid(name); pid > 0 {
				syscall.Kill(pid, syscall.SIGHUP)
			}
		}
		s.notify.Say("READY=1")
	}
}

// listen makes the supervisor's socket. The caller holds the pid file, so a
// socket that is there already is left over.
func listen(path string) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

func (s *supervisor) serve(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.log.Error("accept", "err", err)
			time.Sleep(100 * time.Millisecond) // out of descriptors: do not spin
			continue
		}
		go s.session(c)
	}
}

// session answers one order: a line "VERB [NAME]", answered by a line of JSON.
func (s *supervisor) session(c *net.UnixConn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * stopGrace))
	line, err := bufio.NewReaderSize(c, 256).ReadSlice('\n')
	if err != nil {
		return
	}
	if err := json.NewEncoder(c).Encode(s.order(strings.Fields(string(line)))); err != nil {
		s.log.Error("answer", "err", err)
	}
}

// An answer is what the supervisor says to an order.
type answer struct {
	Error   string         `json:"error,omitempty"`
	Daemons []daemonStatus `json:"daemons"`
}

func (s *supervisor) order(words []string) (a answer) {
	switch {
	case len(words) == 1 && words[0] == "status":
	case len(words) == 2 && s.keepers[words[1]] != nil:
		k := s.keepers[words[1]]
		s.log.Info("order", "verb", words[0], "daemon", k.name)
		switch words[0] {
		case "start":
			k.start()
		case "stop":
			k.stop()
		default:
			a.Error = fmt.Sprintf("unknown order %.20q", words[0])
		}
	default:
		a.Error = "unknown order"
	}
	for _, name := range daemons {
		a.Daemons = append(a.Daemons, s.keepers[name].get())
	}
	return a
}

// ask sends an order to the supervisor.
func (in *instance) ask(order string) (*answer, error) {
	c, err := net.DialTimeout("unix", in.spool.RunPath("zmailer.sock"), time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2*stopGrace + time.Second))
	if _, err := fmt.Fprintln(c, order); err != nil {
		return nil, err
	}
	a := new(answer)
	if err := json.NewDecoder(c).Decode(a); err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if a.Error != "" {
		return nil, fmt.Errorf("supervisor: %s", a.Error)
	}
	return a, nil
}
