package scheduler

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// processes starts agents as child processes.
type processes struct {
	dir  string // working directory: the spool
	self string // this program, which holds our own agents
}

// drainTime is how long output of a dead agent is waited for: a grandchild may
// keep the pipe open.
const drainTime = 2 * time.Second

func (ps *processes) launch(s *agentSpec) (*child, error) {
	if len(s.argv) == 0 {
		return nil, errors.New("empty command")
	}
	cmd := exec.Command(ps.self)
	// By argv[0], as the name alone may also be a verb of the zmailer command.
	cmd.Args = s.argv
	if s.argv[0][0] == '/' {
		cmd.Path = s.argv[0]
	}
	cmd.Dir = ps.dir
	cmd.Env = append(os.Environ(), s.env...)
	// A group of its own: a signal for the scheduler from a terminal is not one for
	// the agents, and a kill reaches what an agent has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := identity(cmd.SysProcAttr, s.user, s.group); err != nil {
		return nil, err
	}
	return start(cmd, s)
}

func start(cmd *exec.Cmd, s *agentSpec) (*child, error) {
	var ours, theirs []*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			f.Close()
		}
	}
	pipe := func(toChild bool) (*os.File, error) {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		if toChild {
			r, w = w, r
		}
		ours, theirs = append(ours, r), append(theirs, w)
		return r, nil
	}
	for i := range 3 {
		if _, err := pipe(i == 0); err != nil {
			closeAll(ours)
			closeAll(theirs)
			return nil, err
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs[0], theirs[1], theirs[2]
	err := cmd.Start()
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return nil, err
	}
	if s.nice != 0 {
		if err := unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, s.nice); err != nil {
			s.log(fmt.Sprintf("nice %d: %v", s.nice, err))
		}
	}
	return attend(cmd, s, ours[0], ours[1], ours[2]), nil
}

// attend makes the child of a started command.
func attend(cmd *exec.Cmd, s *agentSpec, in, out, errout *os.File) *child {
	ended := make(chan error, 1)
	logged := make(chan struct{})
	var reaped atomic.Bool
	go func() {
		defer close(logged)
		defer errout.Close()
		logLines(errout, s.log)
	}()
	go func() {
		err := cmd.Wait()
		reaped.Store(true)
		// A pipe supports deadlines; if this one did not, its end would still come.
		limit := time.Now().Add(drainTime)
		_ = out.SetReadDeadline(limit)
		_ = errout.SetReadDeadline(limit)
		ended <- err
	}()
	pid := cmd.Process.Pid
	return &child{
		pid: pid,
		in:  in,
		out: &untilDeadline{out},
		kill: func() {
			if !reaped.Load() { // else the number may belong to somebody else
				_ = unix.Kill(-pid, unix.SIGKILL) // fails if it is gone: as good
			}
		},
		wait: func() error {
			err := <-ended
			<-logged
			out.Close()
			return err
		},
	}
}

// untilDeadline takes the deadline, which is set when the process is gone, for
// the end of its output.
type untilDeadline struct{ f *os.File }

func (u *untilDeadline) Read(p []byte) (int, error) {
	n, err := u.f.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

const maxErrLine = 2048

// logLines logs what an agent prints on its standard error. It always reads on,
// so that the agent never waits.
func logLines(r io.Reader, log func(string)) {
	br := bufio.NewReaderSize(r, maxErrLine)
	for {
		line, _, err := br.ReadLine() // a longer line comes in pieces
		if len(line) > 0 {
			log(string(line))
		}
		if err != nil {
			return
		}
	}
}

// identity sets user and group for the process; only root can change them.
func identity(attr *syscall.SysProcAttr, userName, groupName string) error {
	if os.Geteuid() != 0 || userName == "" && groupName == "" {
		return nil
	}
	cred := &syscall.Credential{}
	if userName != "" {
		u, err := lookupUser(userName)
		if err != nil {
			return err
		}
		cred.Uid, cred.Gid = u.uid, u.gid
	}
	if groupName != "" {
		gid, err := lookupGroup(groupName)
		if err != nil {
			return err
		}
		cred.Gid = gid
	}
	cred.Groups = []uint32{cred.Gid}
	attr.Credential = cred
	return nil
}

type ids struct{ uid, gid uint32 }

func lookupUser(name string) (ids, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if n, bad := strconv.ParseUint(name, 10, 32); bad == nil {
			return ids{uint32(n), uint32(n)}, nil
		}
		return ids{}, fmt.Errorf("user %s: %w", name, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return ids{}, fmt.Errorf("user %s: %w", name, err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return ids{uint32(uid), uint32(gid)}, err
}

func lookupGroup(name string) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	n, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(n), err
}
