package relations

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// program asks an external program that stays running: each query is the key
// on one line of its input, each answer one line of its output, as
// parseAnswer reads it. The command is words separated by blanks, not a shell
// script. A key with a line break is in no such table.
//
// One query is under way at a time. A program that ends, answers nonsense or
// takes too long is killed with its whole process group and started again for
// the next query, at most once a second.
type program struct {
	argv    []string
	timeout time.Duration
	log     *slog.Logger

	turn    chan struct{} // holds one token; who has it owns what follows
	run     *running
	started time.Time
	closed  bool
}

// running is one process.
type running struct {
	cmd *exec.Cmd
	in  *os.File
	out *os.File
	r   *bufio.Reader
}

const restartDelay = time.Second

func openProgram(o *opening) (Table, error) {
	t := &program{argv: strings.Fields(o.File), log: o.logger(), turn: make(chan struct{}, 1)}
	if len(t.argv) == 0 {
		return nil, errors.New("-f is an empty command")
	}
	var err error
	t.timeout, err = o.duration("timeout", 10*time.Second)
	t.turn <- struct{}{}
	return t, err
}

func (t *program) Lookup(ctx context.Context, key string) (string, bool, error) {
	if strings.ContainsAny(key, "\r\n") {
		return "", false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return "", false, fmt.Errorf("wait for %s: %w", t.argv[0], ctx.Err())
	}
	line, err := t.ask(ctx, key)
	if err != nil {
		err = cause(ctx, err)
		return "", false, fmt.Errorf("%s: %w", t.argv[0], err)
	}
	value, found, err := parseAnswer(line)
	if errors.Is(err, errProtocol) {
		t.stop() // who knows which question its next line answers
	}
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", t.argv[0], err)
	}
	return value, found, nil
}

func (t *program) ask(ctx context.Context, key string) (string, error) {
	if err := t.ensure(); err != nil {
		return "", err
	}
	p := t.run
	deadline, _ := ctx.Deadline()
	if err := errors.Join(p.in.SetDeadline(deadline), p.out.SetDeadline(deadline)); err != nil {
		t.stop()
		return "", err
	}
	done := context.AfterFunc(ctx, func() {
		p.in.SetDeadline(time.Unix(1, 0))
		p.out.SetDeadline(time.Unix(1, 0))
	})
	_, err := p.in.WriteString(key + "\n")
	var line string
	if err == nil {
		line, err = readLine(p.r)
	}
	if err == nil && p.r.Buffered() > 0 {
		err = errors.New("more than one line for one query")
	}
	// If the time is just over, the deadline may be spoilt for the next one.
	if inTime := done(); err != nil || !inTime {
		err = errors.Join(err, t.stop())
	}
	return line, err
}

// readLine reads a line of at most maxValue bytes.
func readLine(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		part, err := r.ReadSlice('\n')
		if b.Len()+len(part) > maxValue {
			return "", fmt.Errorf("answer of more than %d bytes", maxValue)
		}
		b.Write(part)
		if err == nil {
			return strings.TrimRight(b.String(), "\r\n"), nil
		}
		if err != bufio.ErrBufferFull {
			return "", noEOF(err)
		}
	}
}

// ensure needs the turn.
func (t *program) ensure() error {
	if t.closed {
		return errors.New("table is closed")
	}
	if t.run != nil {
		return nil
	}
	if wait := restartDelay - time.Since(t.started); !t.started.IsZero() && wait > 0 {
		return errors.New("it failed and is not started again within a second")
	}
	t.started = time.Now()
	run, err := t.start()
	t.run = run
	return err
}

func (t *program) start() (*running, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close())
	}
	cmd := exec.Command(t.argv[0], t.argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inR, outW, &lineLogger{log: t.log, name: t.argv[0]}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // for a grandchild that keeps stderr open
	err = cmd.Start()
	err = errors.Join(err, inR.Close(), outW.Close())
	if err != nil {
		return nil, errors.Join(err, inW.Close(), outR.Close())
	}
	return &running{cmd: cmd, in: inW, out: outR, r: bufio.NewReader(outR)}, nil
}

// stop kills the process with its children and takes its status.
func (t *program) stop() error {
	p := t.run
	if p == nil {
		return nil
	}
	t.run = nil
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		err = nil
	}
	err = errors.Join(err, p.in.Close(), p.out.Close())
	if werr := p.cmd.Wait(); werr != nil {
		t.log.Warn("program of a table ended", "pid", p.cmd.Process.Pid, "err", fmt.Errorf("%s: %w", t.argv[0], werr))
	}
	return err
}

// Close waits for the query under way and ends the program.
func (t *program) Close() error {
	<-t.turn
	defer func() { t.turn <- struct{}{} }()
	t.closed = true
	return t.stop()
}

// Check makes sure that the command exists.
func (t *program) Check(context.Context) ([]error, error) {
	_, err := exec.LookPath(t.argv[0])
	return nil, err
}

// lineLogger logs what a program says on its standard error, a bounded line
// at a time.
type lineLogger struct {
	log  *slog.Logger
	name string
	buf  []byte
}

func (l *lineLogger) Write(p []byte) (int, error) {
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 && len(l.buf) > 1000 {
			i = 1000
		}
		if i < 0 {
			return len(p), nil
		}
		if s := printable(string(l.buf[:i])); s != "" {
			l.log.Warn("program of a table says", "err", l.name+": "+s)
		}
		l.buf = l.buf[:copy(l.buf, l.buf[min(i+1, len(l.buf)):])]
	}
}

var _ io.Writer = (*lineLogger)(nil)
