package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Watcher tells of files that appear in directories of the spool, by inotify.
// It is a hint: what arrives while nobody reads is noted as an overflow, and the
// owner scans the directories at start, on overflow, and now and then.
type Watcher struct {
	f   *os.File
	buf []byte
}

// What a Watcher waits for.
const (
	WatchRenamed = unix.IN_MOVED_TO    // files renamed into the directory
	WatchWritten = unix.IN_CLOSE_WRITE // files written and closed
)

// Watch watches dirs for the given events.
func Watch(events uint32, dirs ...string) (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	w := &Watcher{f: os.NewFile(uintptr(fd), "inotify"), buf: make([]byte, 64<<10)}
	for _, dir := range dirs {
		if _, err := unix.InotifyAddWatch(fd, dir, events|unix.IN_ONLYDIR); err != nil {
			w.f.Close()
			return nil, fmt.Errorf("watch %s: %w", dir, err)
		}
	}
	return w, nil
}

// WatchTransport watches for control files of the router: new ones, which it writes
// in place, and reused ones, which it renames into place.
func (s *Spool) WatchTransport() (*Watcher, error) {
	var dirs []string
	for _, h := range HashDirs() {
		dirs = append(dirs, filepath.Join(s.Root, TransportDir, h))
	}
	return Watch(WatchWritten|WatchRenamed, dirs...)
}

// WatchRouter watches for submitted messages.
func (s *Spool) WatchRouter() (*Watcher, error) {
	return Watch(WatchRenamed, filepath.Join(s.Root, RouterDir))
}

// ErrOverflow means that events were lost: scan the directories.
var ErrOverflow = errors.New("inotify queue overflow")

// Next waits for events and calls fn with each id that appeared. It returns
// ErrOverflow when events were lost, and the context's error when it ends.
func (w *Watcher) Next(ctx context.Context, fn func(id ID)) error {
	stop := context.AfterFunc(ctx, func() { w.f.Close() })
	defer stop()
	n, err := w.f.Read(w.buf)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	overflow := false
	for b := w.buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
		ev := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
		end := unix.SizeofInotifyEvent + int(ev.Len)
		if end > len(b) {
			break
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:end], []byte{0})
		b = b[end:]
		if ev.Mask&unix.IN_Q_OVERFLOW != 0 {
			overflow = true
			continue
		}
		if id, err := ParseID(string(name)); err == nil {
			fn(id)
		}
	}
	if overflow {
		return ErrOverflow
	}
	return nil
}

// Close ends the watch.
func (w *Watcher) Close() error { return w.f.Close() }
