package zlog

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// How long a record may wait for a reader that is behind, and how long after that
// no other one waits: a journal that has stopped must not stop the mail.
const (
	socketWait  = 200 * time.Millisecond
	socketPause = time.Second
)

// A socket is that of the journal or of syslog. It is connected when the first
// record comes, and again when the other side was restarted.
type socket struct {
	path string
	losses

	mu     sync.Mutex
	open   bool
	fd     int
	stream bool      // the old kind of /dev/log, where a NUL ends a record
	pause  time.Time // nothing is sent before
}

// write sends one record, or counts it as lost. A large one goes by way of a file
// in memory if handOver says that the other side takes that.
func (s *socket) write(b []byte, handOver bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pause.IsZero() && time.Now().Before(s.pause) {
		s.count.Add(1)
		return
	}
	err := s.try(b, handOver)
	s.bad.Store(err != nil)
	switch {
	case err == nil:
		s.pause = time.Time{}
	default:
		s.count.Add(1)
		s.pause = time.Now().Add(socketPause)
	}
}

func (s *socket) try(b []byte, handOver bool) error {
	fresh := !s.open // one that was open may lead to a daemon that is gone
	for {
		if !s.open {
			if err := s.connect(); err != nil {
				return err
			}
		}
		err := s.transmit(b, nil)
		if handOver && (errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.ENOBUFS)) {
			err = s.inMemory(b)
		}
		if err == nil || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EAGAIN) {
			return err
		}
		s.disconnect()
		if fresh {
			return err
		}
		fresh = true
	}
}

func (s *socket) connect() error {
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: s.path})
		if err == nil {
			s.fd, s.open, s.stream = fd, true, kind == unix.SOCK_STREAM
			return nil
		}
		unix.Close(fd)
		if err != unix.EPROTOTYPE {
			return err
		}
	}
	return unix.EPROTOTYPE
}

// transmit sends one record without waiting, or for socketWait if the other side
// is behind.
func (s *socket) transmit(b, rights []byte) error {
	if s.stream {
		b = append(b, 0)
	}
	deadline := time.Time{}
	for {
		n, err := unix.SendmsgN(s.fd, b, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil && n == len(b):
			return nil
		case err == nil:
			b = b[n:] // of a stream
		case err == unix.EINTR:
		case err != unix.EAGAIN:
			return err
		default:
			if deadline.IsZero() {
				deadline = time.Now().Add(socketWait)
			}
			left := time.Until(deadline)
			if left <= 0 {
				if s.stream {
					s.disconnect() // half a record may have gone
				}
				return err
			}
			unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, max(1, int(left.Milliseconds())))
		}
	}
}

// inMemory sends a record as a sealed file: what the protocol of the journal wants
// for those that do not fit into a datagram.
func (s *socket) inMemory(b []byte) error {
	fd, err := unix.MemfdCreate("zmailer-log", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		return err
	}
	return s.transmit(nil, unix.UnixRights(fd))
}

func (s *socket) disconnect() {
	if s.open {
		unix.Close(s.fd)
		s.open = false
	}
}

func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disconnect()
}
