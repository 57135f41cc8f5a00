package control

import (
	"context"
	"net"
	"time"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// daemons are the long-lived processes in the order they are started; they are
// stopped in reverse, so that no mail is accepted that nobody routes.
var daemons = []string{"router", "scheduler", "smtpserver"}

func isDaemon(name string) bool {
	for _, d := range daemons {
		if d == name {
			return true
		}
	}
	return false
}

// An instance is the mailer that this command controls.
type instance struct {
	conf  *shellcfg.Conf
	spool *spool.Spool
}

func open() (*instance, error) {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	return &instance{conf, s}, nil
}

func (in *instance) pidPath(daemon string) string { return in.spool.RunPath(daemon + ".pid") }

// pid is the process id of a daemon, 0 if it does not run.
func (in *instance) pid(daemon string) int {
	pid, err := proc.Running(in.pidPath(daemon))
	if err != nil {
		return 0
	}
	return pid
}

// answers says whether a daemon that holds its pid file does its work: the
// scheduler on its socket, the SMTP server and the router by having come so far
// as to lock the pid file, which they do when they are ready.
func (in *instance) answers(daemon string) bool {
	if in.pid(daemon) <= 0 { // -1: it is just about to write its pid
		return false
	}
	if daemon != "scheduler" {
		return true
	}
	c, err := net.DialTimeout("unix", in.spool.RunPath("scheduler.sock"), time.Second)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// poll calls done every 20 ms until it is true, and reports whether that was
// before the time was over.
func poll(ctx context.Context, limit time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-ctx.Done():
			return done()
		case <-tick.C:
		}
	}
}
