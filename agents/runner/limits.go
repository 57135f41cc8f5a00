package runner

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are what the kernel lets a program have (setrlimit(2)); 0 is as much as
// the mailer has. Each process the program starts has them anew, but for Processes,
// which counts all of the user's.
type Limits struct {
	CPU       time.Duration // of computing
	Memory    int64         // bytes of address space
	File      int64         // bytes of a file it writes
	Processes int64
}

// ParseLimits parses "cpu=60s,memory=1G,file=500M,processes=100", or what of it
// there is.
func ParseLimits(text string) (l Limits, err error) {
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "cpu":
			if l.CPU, err = time.ParseDuration(value); err != nil || l.CPU < time.Second {
				err = fmt.Errorf("%.40q: want a time of at least a second, such as cpu=60s", word)
			}
		case "memory":
			l.Memory, err = parseSize(word, value)
		case "file":
			l.File, err = parseSize(word, value)
		case "processes":
			if l.Processes, err = strconv.ParseInt(value, 10, 32); err != nil || l.Processes < 1 {
				err = fmt.Errorf("%.40q: want a number such as processes=100", word)
			}
		default:
			err = fmt.Errorf("%.40q: want cpu=, memory=, file= or processes=", word)
		}
		if err != nil {
			return Limits{}, err
		}
	}
	return l, nil
}

func parseSize(word, value string) (int64, error) {
	digits := strings.TrimRight(value, "KMG")
	n, err := strconv.ParseInt(digits, 10, 32)
	unit := strings.Index("KMG", value[len(digits):])
	if value == digits {
		unit = -1
	}
	if err != nil || n < 1 || len(value)-len(digits) > 1 {
		return 0, fmt.Errorf("%.40q: want a size such as 500M", word)
	}
	return n << (10 * (unit + 1)), nil
}

// set gives a process the limits.
func (l Limits) set(pid int) error {
	for _, r := range []struct {
		resource int
		value    int64
	}{
		{unix.RLIMIT_CPU, int64(l.CPU.Round(time.Second) / time.Second)}, {unix.RLIMIT_AS, l.Memory},
		{unix.RLIMIT_FSIZE, l.File}, {unix.RLIMIT_NPROC, l.Processes},
	} {
		if r.value == 0 {
			continue
		}
		v := uint64(r.value)
		var now unix.Rlimit
		if err := unix.Prlimit(pid, r.resource, nil, &now); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
		if v = min(v, now.Max); v != now.Max || v != now.Cur {
			if err := unix.Prlimit(pid, r.resource, &unix.Rlimit{Cur: v, Max: v}, nil); err != nil {
				return os.NewSyscallError("prlimit", err)
			}
		}
	}
	return nil
}

// gate is the shell that waits for its limits before it becomes the program: Go
// cannot set them between fork and exec, and afterwards would be too late for what
// the program has started by then.
const gate = `read -r go <&3 || exit 75; exec 3<&-; exec "$@"`

// limited prepares cmd to wait at the gate. open lets it through, after Start.
func (l Limits) limited(cmd *exec.Cmd) (open func() error, err error) {
	if l == (Limits{}) {
		return func() error { return nil }, nil
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Args = append([]string{"/bin/sh", "-c", gate, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	cmd.ExtraFiles = []*os.File{r}
	return func() error {
		defer w.Close()
		r.Close()
		if cmd.Process == nil {
			return nil
		}
		err := l.set(cmd.Process.Pid)
		if err == nil {
			_, err = w.WriteString("\n")
		}
		return err
	}, nil
}
