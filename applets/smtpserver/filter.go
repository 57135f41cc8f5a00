package smtpserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// filterMemory is what a filter program may take unless -m says otherwise.
const filterMemory = 1 << 30

// filter [-m SIZE] PROGRAM [ARGUMENT...]: runs a program with the message on its
// standard input. Its status is that of the program, or 75 if it could not be run,
// took longer than the hook may, or was ended by a signal: more than SIZE of memory
// is not to be had. What it leaves running is killed.
func filter(call *shell.Call) int {
	s, err := messageOf(call)
	args, memory := call.Args, int64(filterMemory)
	if err == nil && len(args) >= 2 && args[0] == "-m" {
		memory, err = parseSize(args[1])
		args = args[2:]
	}
	if err == nil && len(args) == 0 {
		err = errors.New("want a program")
	}
	if err != nil {
		return call.Fail(fmt.Errorf("filter: %w", err))
	}
	cmd := exec.CommandContext(call.Ctx, args[0], args[1:]...)
	cmd.Env = s.filterEnvironment(call)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.mail.held.reader(), call.Stdout, call.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.Cancel, cmd.WaitDelay = kill, time.Second
	if err = cmd.Start(); err == nil {
		// Its children inherit the limit. It has hardly begun to read.
		limit := unix.Rlimit{Cur: uint64(memory), Max: uint64(memory)}
		if e := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_DATA, &limit, nil); e != nil && !errors.Is(e, unix.ESRCH) {
			s.log.Error("filter: limit memory", "client", s.clientText, "err", e)
		}
		err = cmd.Wait()
		if e := kill(); e == nil {
			s.log.Warn("filter left processes behind", "client", s.clientText, "spoolid", string(s.mail.id), "action", args[0])
		}
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case call.Ctx.Err() == nil && errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	}
	s.log.Error("filter", "client", s.clientText, "spoolid", string(s.mail.id), "action", args[0], "err", err)
	return proc.TempFail
}

// filterEnvironment is what a filter knows besides the message.
func (s *session) filterEnvironment(call *shell.Call) []string {
	env := []string{"PATH=" + call.Getenv("PATH"), "spoolid=" + string(s.mail.id)}
	for _, name := range []string{"client", "client_name", "helo", "sender", "auth_user", "tls", "size", "spf", "dkim", "dmarc"} {
		env = append(env, name+"="+call.Getenv(name))
	}
	rcpts := make([]string, len(s.mail.rcpts))
	for i, r := range s.mail.rcpts {
		rcpts[i] = r.Addr
	}
	list := strings.Join(rcpts, "\n")
	if len(list) > maxFilterRcpts {
		list = list[:maxFilterRcpts]
	}
	return append(env, "recipients="+list)
}

// maxFilterRcpts bounds a variable of the environment: the kernel takes 128 KB.
const maxFilterRcpts = 64 << 10
