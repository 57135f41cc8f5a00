// Package zlog opens the log of a program: one event a line, as key=value pairs
// of log/slog's text form, so that "grep ID" over the files of LOGDIR tells the
// whole story of a message.
//
// The message of an event is a constant; its facts are attributes with these
// keys: applet spoolid msgid from to channel host user action dsn relay delay
// size nrcpt pid err. Bodies and credentials are never logged.
package zlog

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
)

// A File is a log file that can be reopened while in use, after a rotation.
// Every line is one write with O_APPEND, so that several processes can share it.
type File struct {
	path string
	also io.Writer
	f    atomic.Pointer[os.File]
}

// Open opens path for appending and returns a logger whose lines carry the
// applet's name. Lines also go to also, if it is not nil. An empty path logs to
// also alone.
func Open(path, applet string, also io.Writer) (*slog.Logger, *File, error) {
	lf := &File{path: path, also: also}
	if err := lf.Reopen(); err != nil {
		return nil, nil, err
	}
	return New(lf, applet), lf, nil
}

// New returns a logger that writes to w.
func New(w io.Writer, applet string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, nil)).With("applet", applet)
}

// Reopen opens the log's path anew; lines go to the old file until it is there.
func (lf *File) Reopen() error {
	if lf.path == "" {
		return nil
	}
	f, err := os.OpenFile(lf.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if old := lf.f.Swap(f); old != nil {
		return old.Close()
	}
	return nil
}

// Write writes one line. A log that cannot be written (full disk) does not stop
// the mail: the error goes to the caller, which slog ignores.
func (lf *File) Write(line []byte) (n int, err error) {
	n = len(line)
	if f := lf.f.Load(); f != nil {
		n, err = f.Write(line)
	}
	if lf.also != nil {
		if _, e := lf.also.Write(line); err == nil {
			err = e
		}
	}
	return n, err
}

// Close closes the file.
func (lf *File) Close() error {
	if f := lf.f.Swap(nil); f != nil {
		return f.Close()
	}
	return nil
}
