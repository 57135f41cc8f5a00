package sendmail

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// newPatient returns a reader of r that ends with the error of ctx as soon as ctx
// ends, while nothing comes: a read of a pipe cannot be interrupted otherwise.
func newPatient(ctx context.Context, r io.Reader) io.Reader {
	if ctx.Done() == nil {
		return r
	}
	if f, ok := r.(*os.File); ok {
		return &patientFile{ctx: ctx, f: f, wake: -1}
	}
	return &patientReader{ctx: ctx, r: r}
}

// A patientFile waits for its file and for the end of ctx at the same time. It
// needs no goroutine, which would cost the process a thread.
type patientFile struct {
	ctx  context.Context
	f    *os.File
	wake int // an eventfd, written when ctx ends
}

func (p *patientFile) Read(b []byte) (int, error) {
	if p.wake < 0 {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return p.f.Read(b) // without descriptors it can still wait, if not be called back
		}
		p.wake = fd
		context.AfterFunc(p.ctx, func() {
			_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it has room: it is written once
		})
	}
	fds := []unix.PollFd{{Fd: int32(p.f.Fd()), Events: unix.POLLIN}, {Fd: int32(p.wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			return 0, context.Cause(p.ctx)
		}
		return p.f.Read(b)
	}
}

// A patientReader reads in a goroutine that it leaves behind when ctx ends.
type patientReader struct {
	ctx context.Context
	r   io.Reader
	buf []byte
}

func (p *patientReader) Read(b []byte) (int, error) {
	if len(p.buf) < len(b) {
		p.buf = make([]byte, len(b))
	}
	type result struct {
		n   int
		err error
	}
	buf, done := p.buf[:len(b)], make(chan result, 1)
	go func() {
		n, err := p.r.Read(buf)
		done <- result{n, err}
	}()
	select {
	case res := <-done:
		return copy(b, buf[:res.n]), res.err
	case <-p.ctx.Done():
		p.buf = nil // the read may still fill it
		return 0, context.Cause(p.ctx)
	}
}
