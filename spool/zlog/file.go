package zlog

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lines that come one after the other are written together: a line that comes
// when nothing has been written for gatherFor is written at once, those that
// follow it within that time wait for the end of it. So a log that is looked at is
// never later than that, a busy one costs twenty writes a second, and a process
// that is killed loses the lines of that time at most. An error is written at once.
const (
	gatherFor   = Delay
	gatherBytes = 32 << 10 // more than that does not wait
)

// Delay is how far a file can be behind.
const Delay = 50 * time.Millisecond

// A file is written with O_APPEND, so that several processes can share it.
type file struct {
	path string // "": standard output
	losses

	mu    sync.Mutex
	f     *os.File
	buf   []byte
	last  time.Time // of the last write
	timer *time.Timer
	armed bool
}

// open opens the path, anew if it was open before. The old file stays if that
// fails.
func (lf *file) open() error {
	f, err := openLog(lf.path)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.flush()
	old := lf.f
	lf.f = f
	if old != nil {
		return old.Close()
	}
	return nil
}

func openLog(path string) (*os.File, error) {
	if path != "" {
		return os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	}
	// A descriptor of our own: on that of standard output a reader that has gone away
	// would end the process.
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup of standard output", err)
	}
	return os.NewFile(uintptr(fd), "stdout"), nil
}

// Write takes one line.
func (lf *file) Write(line []byte) (int, error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.buf = append(lf.buf, line...)
	since := time.Since(lf.last)
	switch {
	case since >= gatherFor || len(lf.buf) >= gatherBytes:
		lf.flush()
	case lf.armed:
	case lf.timer == nil:
		lf.armed, lf.timer = true, time.AfterFunc(gatherFor-since, lf.expire)
	default:
		lf.armed = true
		lf.timer.Reset(gatherFor - since)
	}
	return len(line), nil
}

func (lf *file) expire() {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.armed = false
	lf.flush()
}

// flush writes what waits. The caller holds mu.
func (lf *file) flush() {
	if len(lf.buf) == 0 || lf.f == nil {
		return
	}
	lf.last = time.Now()
	n, err := lf.f.Write(lf.buf)
	if lf.bad.Store(err != nil); err != nil {
		// What is kept for later would grow for as long as the disk is full.
		lf.count.Add(int64(bytes.Count(lf.buf[n:], []byte("\n"))))
	}
	lf.buf = lf.buf[:0]
}

// Flush writes what waits, now.
func (lf *file) Flush() {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.flush()
}

// Close writes what waits, and closes the file.
func (lf *file) Close() error {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.flush()
	if lf.timer != nil {
		lf.timer.Stop()
	}
	f := lf.f
	lf.f = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// lines is the handler of a file.
type lines struct {
	slog.Handler // formats lines into f
	f            *file
}

func (h *lines) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if lost, ok := h.f.notice(); ok {
		h.Handler.Handle(ctx, lost)
	}
	if r.Level >= slog.LevelError {
		h.f.Flush()
	}
	return err
}

func (h *lines) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lines{h.Handler.WithAttrs(attrs), h.f}
}

func (h *lines) WithGroup(name string) slog.Handler {
	return &lines{h.Handler.WithGroup(name), h.f}
}
