package runner

import (
	"bufio"
	"errors"
	"fmt"
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
	err := in.create(func() (int, error) { return unix.MemfdCreate("message", unix.MFD_CLOEXEC) })
	if err != nil {
		return nil, err
	}
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

func (s *spill) create(open func() (int, error)) error {
	fd, err := open()
	if err != nil {
		return fmt.Errorf("create file for a message: %w", err)
	}
	s.f = os.NewFile(uintptr(fd), "message")
	return nil
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
	defer mem.Close()
	if _, err := mem.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err := s.create(func() (int, error) {
		return unix.Open(os.TempDir(), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	})
	if err != nil {
		return err
	}
	s.onDisk = true
	_, err = io.Copy(s.f, mem)
	return err
}
