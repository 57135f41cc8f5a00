package mailbox

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A syncer makes files and directories durable. Each of its calls returns when
// its file is safe; many that wait at the same time share the work:
//
// File systems with a journal write the changes of all files in one commit, so
// that parallel fsyncs of files cost about as much as one. For directories that
// is true as well, and where several deliveries wait for the same directory one
// call serves them all.
//
// syncfs for a whole batch was measured too (BenchmarkSync): it saves nothing
// with up to 50 letters, and it waits for everything else that is dirty on the
// file system.
type syncer struct {
	off bool

	mu   sync.Mutex
	dirs map[dirID]*dirSync
}

type dirID struct {
	dev, ino uint64
}

// A dirSync is the syncs of one directory: one that runs, and one that will serve
// all who came after that began.
type dirSync struct {
	next *round
}

type round struct {
	done chan struct{}
	err  error
}

// file makes the content of a file durable.
func (s *syncer) file(fd int) error {
	if s.off {
		return nil
	}
	return fsync(fd)
}

func fsync(fd int) error {
	for {
		err := unix.Fsync(fd)
		if err != unix.EINTR {
			return os.NewSyscallError("fsync", err)
		}
	}
}

// dir makes the names in a directory durable, as they are when it is called.
func (s *syncer) dir(fd int) error {
	if s.off {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	id := dirID{uint64(st.Dev), st.Ino}
	s.mu.Lock()
	if s.dirs == nil {
		s.dirs = make(map[dirID]*dirSync)
	}
	d := s.dirs[id]
	if d != nil { // one runs: wait for the one after it
		if d.next == nil {
			d.next = &round{done: make(chan struct{})}
		}
		r := d.next
		s.mu.Unlock()
		<-r.done
		return r.err
	}
	d = new(dirSync)
	s.dirs[id] = d
	s.mu.Unlock()
	err := fsync(fd)
	s.finish(id, d, fd)
	return err
}

// finish runs the round that gathered meanwhile. Its leader is the goroutine that
// led the round before, which lends its descriptor.
func (s *syncer) finish(id dirID, d *dirSync, fd int) {
	s.mu.Lock()
	r := d.next
	d.next = nil
	if r == nil {
		delete(s.dirs, id)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		r.err = os.NewSyscallError("dup", err)
		close(r.done)
		s.finish(id, d, fd)
		return
	}
	go func() {
		r.err = fsync(own)
		close(r.done)
		s.finish(id, d, own)
		unix.Close(own)
	}()
}
