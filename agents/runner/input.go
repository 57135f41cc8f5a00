package runner

import (
	"bufio"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory is the size up to which an input file lives in memory.
const inMemory = 1 << 20

// inputFile returns a file without a name that holds what write writes, open at
// its beginning.
func inputFile(write func(io.Writer) error) (*os.File, error) {
	in := new(spill)
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	in.f = os.NewFile(uintptr(fd), "message")
	w := bufio.NewWriterSize(in, 64<<10)
	if write != nil {
		err = write(w)
	}
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = in.f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, in.f.Close())
	}
	return in.f, nil
}

// spill is a file in memory that moves to the disk when it grows.
type spill struct {
	f      *os.File
	size   int64
	onDisk bool
}

func (s *spill) Write(p []byte) (int, error) {
	if s.size += int64(len(p)); s.size > inMemory && !s.onDisk {
		if err := s.move(); err != nil {
			return 0, err
		}
	}
	return s.f.Write(p)
}

func (s *spill) move() error {
	mem := s.f
	if _, err := mem.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.CreateTemp("", "zmailer-message-") // not every file system has O_TMPFILE
	if err != nil {
		return err
	}
	s.f, s.onDisk = f, true
	_, err = io.Copy(f, mem)
	return errors.Join(err, os.Remove(f.Name()), mem.Close())
}
