package shell

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// waitDelay is how long a program's descendants may keep its pipes open after
// it was killed.
const waitDelay = 2 * time.Second

func testOwner(op byte, fi os.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	if op == 'O' {
		return int(st.Uid) == os.Geteuid()
	}
	return int(st.Gid) == os.Getegid()
}

// program runs what is no function, command or builtin. An unknown name is
// fatal and not status 127: a misspelt lookup must not read as "not found". With
// cred it runs with other ids than ours.
func (in *interp) program(argv []string, cred *syscall.Credential) int {
	if !in.prog.opts.External {
		in.unknown(argv[0])
		return 127
	}
	path := in.lookPath(argv[0])
	if path == "" {
		in.unknown(argv[0])
		return 127
	}
	cmd := exec.CommandContext(in.ctx, path, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = in.environment()
	if !in.stdin.empty() {
		cmd.Stdin = in.stdin
	}
	both := new(sync.Mutex) // they count what they take together
	cmd.Stdout, cmd.Stderr = lockedSink{both, in.stdout}, lockedSink{both, in.stderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = waitDelay
	pos := in.pos
	began := time.Now()
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) { // it left something behind that holds its output open
		err = errors.Join(err, cmd.Cancel())
	}
	st := in.programStatus(argv[0], cmd, err)
	if t := in.trace; t != nil && t.Command != nil {
		t.Command(*pos, argv[0], argv[1:], st, time.Since(began))
	}
	return st
}

// lockedSink is a sink that a program writes to, from a goroutine for each of its two.
type lockedSink struct {
	mu *sync.Mutex
	k  *sink
}

func (w lockedSink) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.k.Write(p)
}

func (in *interp) programStatus(name string, cmd *exec.Cmd, err error) int {
	if !in.checkTime() || !in.checkSink(in.stdout) || !in.checkSink(in.stderr) {
		return 1
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	in.fatalf("%s: %w", name, err)
	return 126
}

// lookPath searches the shell's PATH. Relative entries are not used.
func (in *interp) lookPath(name string) string {
	if strings.Contains(name, "/") {
		if filepath.IsAbs(name) && executable(name) {
			return name
		}
		return ""
	}
	path, _ := in.lookupVar("PATH")
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if p := filepath.Join(dir, name); executable(p) {
			return p
		}
	}
	return ""
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// environment lists the exported variables, and nothing else.
func (in *interp) environment() []string {
	env := []string{}
	for i := range in.vars {
		v := &in.vars[i]
		if v.exported && v.set && v.arr == nil {
			env = append(env, in.syms.name(i)+"="+v.str)
		}
	}
	return env
}
