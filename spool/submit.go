package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"zmailer/spool/disk"
)

// SmallMessage is the size in bytes up to which a message is kept in memory
// until Commit and may go through the journal. Larger ones are written to
// public/ as they arrive and synced as files of their own.
const SmallMessage = 256 << 10

// A Journal makes small messages durable, many with one sync. It is the one seam
// between the spool and whatever keeps the promise of 250.
type Journal interface {
	// Append returns when the complete message file msg of id would survive a power
	// cut. After an error nothing may be promised; the message may or may not
	// reappear after a power cut. msg is the caller's again when it returns.
	Append(ctx context.Context, id ID, msg []byte) error
}

// A Submission is a message on its way into the spool, in state "writing".
// Exactly one of Commit and Abort ends it. Not safe for concurrent use.
type Submission struct {
	ID ID

	// Modified, if it is set, becomes the time of the file, and so that of arrival: for
	// mail that was accepted before.
	Modified time.Time

	s    *Spool
	temp string    // its path in public/
	mem  []byte    // the message so far, while small
	file disk.File // in public/ while it is open: once the message is large, and in Commit
	made bool      // there is a file in public/
	size int64
	err  error // of an earlier write
}

// Submit begins a message with the given envelope. Write appends the message's
// header and body, with LF line ends.
func (s *Spool) Submit(env *Envelope) (*Submission, error) {
	return s.SubmitAs(NewID(), env)
}

// SubmitAs is Submit for a caller who needed the id before the envelope was known.
func (s *Spool) SubmitAs(id ID, env *Envelope) (*Submission, error) {
	sub := &Submission{ID: id, s: s, temp: s.Root + "/" + PublicDir + "/" + processID() + "." + string(id)}
	var err error
	if sub.mem, err = env.Append((*messages.Get().(*[]byte))[:0]); err != nil {
		sub.Abort()
		return nil, err
	}
	if sub.size = int64(len(sub.mem)); sub.size > SmallMessage {
		if err := sub.create(); err != nil {
			sub.Abort()
			return nil, err
		}
	}
	return sub, nil
}

var processID = sync.OnceValue(func() string { return strconv.Itoa(os.Getpid()) })

// messages keeps the memory of small messages for the next ones. Most of what a
// server under load allocates would be this.
var messages = sync.Pool{New: func() any { b := make([]byte, 0, 8<<10); return &b }}

// keepMessage bounds the memory that is kept for one message.
const keepMessage = 32 << 10

// free gives the message's memory back.
func (sub *Submission) free() {
	if mem := sub.mem; mem != nil && cap(mem) <= keepMessage {
		messages.Put(&mem)
	}
	sub.mem = nil
}

// Reinject begins the submission of a complete message file, envelope included,
// under the id it had: the journal's way to put a message back.
func (s *Spool) Reinject(id ID, file []byte) (*Submission, error) {
	sub := &Submission{ID: id, s: s, temp: s.Root + "/" + PublicDir + "/reinject." + string(id)}
	// What an earlier attempt that was cut short left there.
	if err := s.disk().Remove(sub.temp); err != nil {
		return nil, err
	}
	if _, err := sub.Write(file); err != nil {
		sub.Abort()
		return nil, err
	}
	return sub, nil
}

// Size is the number of bytes so far, envelope included.
func (sub *Submission) Size() int64 { return sub.size }

// Write appends to the message. After an error the submission can only be aborted.
func (sub *Submission) Write(p []byte) (int, error) {
	if sub.err != nil {
		return 0, sub.err
	}
	if sub.file == nil && len(sub.mem)+len(p) <= SmallMessage {
		sub.mem = append(sub.mem, p...)
		sub.size += int64(len(p))
		return len(p), nil
	}
	if sub.file == nil {
		if sub.err = sub.create(); sub.err != nil {
			return 0, sub.err
		}
	}
	// What was in memory goes first; afterwards mem collects writes, so that a
	// body that comes line by line does not cost a system call a line.
	if len(sub.mem)+len(p) > SmallMessage {
		if sub.err = sub.flush(); sub.err != nil {
			return 0, sub.err
		}
	}
	sub.mem = append(sub.mem, p...)
	sub.size += int64(len(p))
	return len(p), nil
}

func (sub *Submission) create() error {
	f, err := sub.s.disk().Create(sub.temp, 0o600)
	if err == nil {
		sub.file, sub.made = f, true
	}
	return err
}

func (sub *Submission) flush() error {
	_, err := sub.file.Write(sub.mem)
	sub.mem = sub.mem[:0]
	return err
}

// Commit moves the message to state "submitted". When it returns nil the message
// survives a power cut, and 250 may be said. After an error the caller must not
// claim success; the submission is aborted.
func (sub *Submission) Commit(ctx context.Context) error {
	err := sub.commit(ctx)
	if err != nil {
		sub.Abort()
		return fmt.Errorf("submit %s: %w", sub.ID, err)
	}
	sub.free()
	return nil
}

func (sub *Submission) commit(ctx context.Context) error {
	if sub.err != nil {
		return sub.err
	}
	small := sub.file == nil
	if small {
		if err := sub.create(); err != nil {
			return err
		}
	}
	if _, err := sub.file.Write(sub.mem); err != nil {
		return err
	}
	journaled := small && sub.s.Journal != nil && !sub.s.NoSync
	if journaled {
		if err := sub.s.Journal.Append(ctx, sub.ID, sub.mem); err != nil {
			return err
		}
	} else if !sub.s.NoSync {
		if err := sub.file.Sync(); err != nil {
			return err
		}
	}
	if err := sub.close(); err != nil {
		return err
	}
	if !sub.Modified.IsZero() {
		if err := os.Chtimes(sub.temp, sub.Modified, sub.Modified); err != nil {
			return err
		}
	}
	if err := sub.s.disk().Rename(sub.temp, sub.s.Path(RouterDir, sub.ID)); err != nil {
		return err
	}
	sub.made = false
	if journaled || sub.s.NoSync {
		return nil
	}
	if err := sub.s.disk().SyncDir(sub.s.Root + "/" + RouterDir); err != nil {
		// The router may own the message by now, so it cannot be taken back; the
		// submitter hears of a failure and may send it again.
		return err
	}
	return nil
}

// close closes the file once: another one may have got the number of its descriptor
// since.
func (sub *Submission) close() error {
	f := sub.file
	sub.file = nil
	return f.Close()
}

// Abort forgets the message. It may be called after a failed Commit and does
// nothing after a successful one.
func (sub *Submission) Abort() {
	if sub.file != nil {
		sub.close() // the content no longer matters
	}
	if sub.made {
		sub.s.disk().Remove(sub.temp) // else swept after a day
		sub.made = false
	}
	sub.err = errAborted
	sub.free()
}

var errAborted = errors.New("submission was aborted")

// SubmitMessage submits a whole message at once.
func (s *Spool) SubmitMessage(ctx context.Context, env *Envelope, msg io.Reader) (ID, error) {
	sub, err := s.Submit(env)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(sub, msg); err != nil {
		sub.Abort()
		return "", err
	}
	return sub.ID, sub.Commit(ctx)
}
