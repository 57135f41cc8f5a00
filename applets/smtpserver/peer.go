package smtpserver

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// A peer is one router that answers: the daemon at the other end of its socket, or
// a child. Its answers end with it.
type peer struct {
	in    io.WriteCloser // closed: it answers what it has and ends
	out   io.Reader
	child bool
	pid   int           // of a child
	kill  func()        // ends it now
	wait  func() error  // for its end, when the answers have ended
	done  chan struct{} // closed when its questions are answered
	begun time.Time
}

// A source is where routers are found.
type source struct {
	socket  string           // of the router's daemon; empty: children only
	command func() *exec.Cmd // of a child
	look    time.Duration    // how often a child looks whether the daemon is back
}

// daemonWait is how long questions wait for the daemon: at the start of the system
// and when it is replaced, it is away for a moment.
const daemonWait = time.Second

// routers is the source of an instance.
func routers(conf *shellcfg.Conf, sp *spool.Spool) (source, error) {
	command, err := routerCommand(conf)
	return source{socket: sp.RunPath(spool.RouterSocket), command: command, look: 10 * time.Second}, err
}

// find returns the daemon if it answers within daemonWait, and else a child.
func (f source) find(ctx context.Context, log *slog.Logger) (*peer, error) {
	if f.socket != "" {
		for end := time.Now().Add(daemonWait); ; {
			p, err := f.dial()
			if err == nil {
				return p, nil
			}
			away := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
			if !away || ctx.Err() != nil || time.Now().After(end) {
				log.Info("the router's daemon does not answer, a child stands in", "err", err)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return f.start(log)
}

func (f source) dial() (*peer, error) {
	c, err := net.DialTimeout("unix", f.socket, daemonWait)
	if err != nil {
		return nil, err
	}
	return &peer{
		in: questions{c.(*net.UnixConn)}, out: c, done: make(chan struct{}), begun: time.Now(),
		kill: func() { c.Close() },
		wait: func() error { c.Close(); return nil },
	}, nil
}

// questions is the writing half of a connection.
type questions struct{ *net.UnixConn }

func (q questions) Close() error { return q.CloseWrite() }

func (f source) start(log *slog.Logger) (*peer, error) {
	cmd := f.command()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = &complaints{log: log}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &peer{
		in: stdin, out: stdout, child: true, pid: cmd.Process.Pid, done: make(chan struct{}), begun: time.Now(),
		kill: func() {
			if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				log.Error("kill router", "pid", cmd.Process.Pid, "err", err)
			}
		},
		wait: cmd.Wait,
	}, nil
}

// complaints logs what a router prints to its standard error, line by line.
type complaints struct {
	log *slog.Logger
	buf []byte
}

const maxComplaint = 1 << 10

func (c *complaints) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' || len(c.buf) == maxComplaint {
			c.log.Warn("router says", "text", string(c.buf))
			c.buf = c.buf[:0]
		}
		if b != '\n' {
			c.buf = append(c.buf, b)
		}
	}
	return len(p), nil
}
