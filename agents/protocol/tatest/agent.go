package tatest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"zmailer/agents/protocol"
)

// An agent is a run of the program under test.
type agent struct {
	b      *bench
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	peer   *protocol.Peer
	events chan protocol.Event // closed at the end of its output
	ended  chan error          // how it ended

	credits int
	faults  []string // of the protocol

	mu     sync.Mutex
	stderr []string
}

// maxStderr bounds the lines of standard error that are kept.
const maxStderr = 20

// start runs the program.
func (b *bench) start() (*agent, error) {
	name := b.argv[0]
	if !strings.Contains(name, "/") { // one of this program's agents, known by argv[0]
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		name = self
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil { // it runs in another directory
		return nil, err
	}
	a := &agent{b: b, events: make(chan protocol.Event, 1024), ended: make(chan error, 1)}
	a.cmd = exec.CommandContext(b.ctx, path)
	a.cmd.Args = b.argv
	a.cmd.Dir = b.spool.Root
	a.cmd.Env = append(os.Environ(), "ZCONFIG="+b.conf)
	a.cmd.WaitDelay = time.Second
	in, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errout, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.stdin = in
	a.peer = protocol.NewPeer(in)
	var readers sync.WaitGroup
	readers.Go(func() { a.keepStderr(errout) })
	readers.Go(func() {
		defer close(a.events)
		err := a.peer.Read(out, func(batch []protocol.Event) {
			for _, ev := range batch {
				select {
				case a.events <- ev:
				case <-b.ctx.Done():
				}
			}
		})
		if err != nil && !errors.Is(err, os.ErrClosed) {
			a.events <- protocol.Event{Kind: protocol.Garbage, Text: err.Error()}
		}
	})
	go func() {
		readers.Wait()
		a.ended <- a.cmd.Wait()
	}()
	return a, nil
}

func (a *agent) keepStderr(r io.Reader) {
	br := bufio.NewReader(r)
	for {
		line, _, err := br.ReadLine()
		if err != nil {
			return
		}
		a.mu.Lock()
		if len(a.stderr) < maxStderr {
			a.stderr = append(a.stderr, string(line))
		}
		a.mu.Unlock()
	}
}

// next waits for the next event that matters; it notes faults and credits.
func (a *agent) next() (*protocol.Event, error) {
	timer := time.NewTimer(a.b.limit)
	defer timer.Stop()
	for {
		select {
		case ev, ok := <-a.events:
			if !ok {
				return nil, errors.New("its output ended")
			}
			switch ev.Kind {
			case protocol.Garbage:
				a.faults = append(a.faults, ev.Text)
			case protocol.Log, protocol.Remark:
				a.b.note(ev.Text)
			case protocol.Hungry:
				a.credits += ev.Credits
				return &ev, nil
			default:
				return &ev, nil
			}
		case <-timer.C:
			return nil, fmt.Errorf("nothing came for %v", a.b.limit)
		case <-a.b.ctx.Done():
			return nil, a.b.ctx.Err()
		}
	}
}

// hello waits for the first #hungry.
func (a *agent) hello() error {
	for a.credits == 0 {
		ev, err := a.next()
		if err != nil {
			return fmt.Errorf("no #hungry after the start: %w", err)
		}
		if ev.Kind == protocol.Result {
			return errors.New("a result before any job was given")
		}
	}
	return nil
}

// send gives a job; the agent has a credit for it.
func (a *agent) send(j *protocol.Job) {
	a.credits--
	a.peer.Send(j)
}

// results waits until n jobs are answered and their credits are back.
func (a *agent) results(n int) (done []protocol.Event, err error) {
	for want := a.credits + n; len(done) < n || a.credits < want; {
		ev, err := a.next()
		if err != nil {
			return done, fmt.Errorf("%d of %d jobs were answered, %d #hungry are missing: %w", len(done), n, want-a.credits, err)
		}
		if ev.Kind == protocol.Result {
			done = append(done, *ev)
		}
	}
	return done, nil
}

// end closes the agent's input and waits for it to exit.
func (a *agent) end() error {
	a.peer.CloseInput()
	for {
		if _, err := a.next(); err != nil {
			break
		}
	}
	select {
	case err := <-a.ended:
		if err != nil {
			return fmt.Errorf("after the end of its input it exited with: %w", err)
		}
		return nil
	case <-time.After(a.b.limit):
		a.kill()
		return fmt.Errorf("it did not exit within %v of the end of its input", a.b.limit)
	}
}

func (a *agent) kill() {
	_ = a.cmd.Process.Kill() // gone already: as good
	a.peer.CloseInput()
	go func() {
		for range a.events { // let the reader end
		}
	}()
}
