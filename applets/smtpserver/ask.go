package smtpserver

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"zmailer/shellcfg"
)

// The router is asked over its socket, and where none runs, over pipes to "router
// -I" children. Requests and answers are lines of spool.AppendLine; requests are
// numbered, and answered in any order.
//
//	N rcpt ADDRESS SENDER CLIENTIP relay|norelay AUTHUSER
//	N mail ADDRESS CLIENTIP relay|norelay AUTHUSER
//	N vrfy ADDRESS CLIENTIP relay|norelay AUTHUSER
//	N expn ADDRESS CLIENTIP relay|norelay AUTHUSER
//
//	N ok|reject|defer|freeze SMTPCODE ENHANCED TEXT
//
// TEXT of ok is what vrfy and expn show, a line each; freeze takes the address
// and leaves it to the router to park the message.

// Bounds of the conversation with one router.
const (
	maxAsked      = 1000     // questions without an answer
	maxAnswerLine = 64 << 10 // octets of one answer
	maxTimeouts   = 20       // questions in a row without an answer, then it is replaced
	minUp         = 2 * time.Second
	maxBackOff    = 10 * time.Second
	closeGrace    = 5 * time.Second // for the open questions at the end
)

// A call is one question on its way.
type call struct {
	done  chan answer // buffered: one answer comes, always
	start time.Time
	to    *peer // nil: not sent yet
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan answer, 1)} }}

// wait returns the answer; call it once.
func (c *call) wait() answer {
	a := <-c.done
	calls.Put(c)
	return a
}

// An asker is a pool of routers.
type asker struct {
	log    *slog.Logger
	source source
	limit  time.Duration
	slots  []*slot

	ctx   context.Context
	stop  context.CancelFunc
	tasks sync.WaitGroup
	cache answers
}

// routerCommand makes the command of a router for the instance.
func routerCommand(conf *shellcfg.Conf) (func() *exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the router: %w", err)
	}
	return func() *exec.Cmd {
		cmd := exec.Command(exe)
		cmd.Args = []string{"zmailer", "router", "-I"}
		cmd.Env = append(os.Environ(), "ZCONFIG="+conf.File)
		return cmd
	}, nil
}

// newAsker asks n routers of the source. They are replaced when they end, until close.
func newAsker(log *slog.Logger, from source, n int, limit time.Duration) *asker {
	a := &asker{log: log, source: from, limit: limit}
	a.ctx, a.stop = context.WithCancel(context.Background())
	for range n {
		s := &slot{asker: a, waiting: make(map[uint64]*call)}
		a.slots = append(a.slots, s)
		a.tasks.Add(1)
		go s.run()
	}
	a.tasks.Add(1)
	go a.watch()
	return a
}

// close lets the routers answer what they have been asked, and waits for their
// end. A configuration that changed gets a new asker before the old one is closed.
func (a *asker) close() {
	a.stop()
	a.tasks.Wait()
}

// watch looks for questions that wait too long.
func (a *asker) watch() {
	defer a.tasks.Done()
	tick := time.NewTicker(min(time.Second, max(a.limit/4, time.Millisecond)))
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case now := <-tick.C:
			for _, s := range a.slots {
				s.expire(now.Add(-a.limit))
			}
		}
	}
}

// ask sends a question to the router that has least to do. The caller must wait
// for the call. It returns nil when the asker has been closed.
func (a *asker) ask(fields ...string) *call {
	c := calls.Get().(*call)
	c.start, c.to = time.Now(), nil
	best := a.slots[0]
	least := best.load()
	for _, s := range a.slots[1:] {
		if n := s.load(); n < least {
			best, least = s, n
		}
	}
	if !best.send(c, fields) {
		calls.Put(c)
		return nil
	}
	return c
}
