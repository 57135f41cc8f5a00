package control

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxSockets bounds what a service manager can give.
const maxSockets = 100

// sockets are those that a service manager has opened for us, sd_listen_fds(3). They
// are the SMTP server's. The supervisor keeps them open, so that clients wait while
// that is started again, instead of being refused.
type sockets struct {
	files []*os.File
	names string // LISTEN_FDNAMES
}

// takeSockets reads the environment, and cleans it: no other daemon is to take the
// descriptors for its own.
func takeSockets() (*sockets, error) {
	s := &sockets{names: os.Getenv("LISTEN_FDNAMES")}
	pid, count := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		os.Unsetenv(name)
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxSockets {
		return nil, fmt.Errorf("LISTEN_FDS=%s: not a number of sockets", count)
	}
	for fd := 3; fd < 3+n; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("LISTEN_FDS=%s: descriptor %d: %w", count, fd, err)
		}
		s.files = append(s.files, os.NewFile(uintptr(fd), "socket"))
	}
	return s, nil
}

// environ is how the SMTP server learns of the sockets that it gets as descriptors
// from 3. LISTEN_PID is this process: the server's own id is not known yet.
func (s *sockets) environ() []string {
	if len(s.files) == 0 {
		return nil
	}
	return []string{"LISTEN_PID=" + strconv.Itoa(os.Getpid()), "LISTEN_FDS=" + strconv.Itoa(len(s.files)), "LISTEN_FDNAMES=" + s.names}
}
