package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Recovered counts what Recover did.
type Recovered struct {
	Requeued    int // back to router/: states "moving" and "half"
	Orphans     int // control files of finished messages, removed
	Quarantined int // what cannot be understood, in postman/
	Failed      int // left as they are, for an error of the file system
}

// maxFailed is how many messages may fail before it is the file system that does.
const maxFailed = 100

// Recover brings states "moving", "half" and "orphan" back to states that
// somebody moves on. It must run before the router takes the first message and
// while no other router runs (the caller holds the router's pid file); the
// scheduler may be running, since it never touches an incomplete or orphaned
// control file. note is told each thing done. A message that cannot be read or moved
// is left as it is, and does not stop the others.
//
// Cost: one directory scan of queue/ and transport/ and the last bytes of each
// control file; after a boot, all bytes of each control file.
func (s *Spool) Recover(note func(id ID, what string)) (Recovered, error) {
	var rec Recovered
	sameBoot := s.sameBoot()
	for _, h := range HashDirs() {
		queued, err := listIDs(filepath.Join(s.Root, QueueDir, h))
		if err != nil {
			return rec, err
		}
		controls, err := listIDs(filepath.Join(s.Root, TransportDir, h))
		if err != nil {
			return rec, err
		}
		for id := range queued {
			if err := failed(id, s.recoverQueued(id, controls[id], sameBoot, &rec, note), &rec, note); err != nil {
				return rec, err
			}
		}
		for id := range controls {
			if queued[id] {
				continue
			}
			if err := failed(id, s.recoverOrphan(id, &rec, note), &rec, note); err != nil {
				return rec, err
			}
		}
	}
	if rec.Failed > 0 {
		return rec, nil // so that the next recovery is a thorough one
	}
	return rec, s.recovered()
}

// failed notes an error of one message. It returns it if there are too many.
func failed(id ID, err error, rec *Recovered, note func(ID, string)) error {
	if err == nil {
		return nil
	}
	if rec.Failed++; rec.Failed > maxFailed {
		return fmt.Errorf("recover %s: %w", id, err)
	}
	note(id, fmt.Sprintf("cannot be recovered, left as it is: %v", err))
	return nil
}

func (s *Spool) recoverQueued(id ID, hasControl, sameBoot bool, rec *Recovered, note func(ID, string)) error {
	if hasControl {
		closed, err := s.controlClosed(id, sameBoot)
		if err != nil || closed {
			return err
		}
		if err := s.disk().Remove(s.ControlPath(id)); err != nil {
			return err
		}
	}
	err := s.disk().Rename(s.QueuePath(id), s.Path(RouterDir, id))
	switch {
	case err == nil:
		rec.Requeued++
		note(id, "routing was interrupted: back to router")
	case errors.Is(err, fs.ErrNotExist): // the scheduler finished it meanwhile
		return nil
	case errors.Is(err, fs.ErrExist):
		rec.Quarantined++
		note(id, "routing was interrupted, and router/ has the message too: moved to postman")
		return s.Quarantine(id, "found in queue/ without a control file, while router/ had the message too")
	}
	return err
}

// controlClosed says whether the router finished writing the control file. One
// with faults before a good closing line counts as finished: it belongs to the
// scheduler, which sets it aside.
func (s *Spool) controlClosed(id ID, sameBoot bool) (bool, error) {
	f, err := os.Open(s.ControlPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if sameBoot {
		// The common case, without reading the file: it ends in a closing line, and
		// without a power cut that is the one of this message.
		st, err := f.Stat()
		if err != nil {
			return false, err
		}
		var tail [len("\nz\t01234567\n")]byte
		if n := int64(len(tail)); st.Size() > n {
			if _, err := f.ReadAt(tail[:], st.Size()-n); err != nil {
				return false, err
			}
			if strings.HasPrefix(string(tail[:]), "\nz\t") && tail[n-1] == '\n' {
				return true, nil
			}
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, MaxControlSize))
	if err != nil {
		return false, err
	}
	c, err := ParseControl(b)
	if err == nil && c.ID != id {
		return false, nil // of the message that the file served before
	}
	return !errors.Is(err, ErrIncomplete), nil
}

// sameBoot says whether the router has recovered this spool in this incarnation of
// the file system: then the page cache has seen everything, and no power cut has
// mixed anything up. recovered makes it so.
func (s *Spool) sameBoot() bool {
	now, err := Incarnation(s.Root)
	if err != nil {
		return false
	}
	last, err := os.ReadFile(s.RunPath("boot"))
	return err == nil && string(last) == now+"\n"
}

func (s *Spool) recovered() error {
	now, err := Incarnation(s.Root)
	if err != nil {
		return nil // every recovery will be a thorough one
	}
	return os.WriteFile(s.RunPath("boot"), []byte(now+"\n"), 0o644)
}

func (s *Spool) recoverOrphan(id ID, rec *Recovered, note func(ID, string)) error {
	c, err := ReadControl(s.ControlPath(id))
	if err == nil && c.ID != id {
		// After a power cut: the finished message's name still stands on a file that
		// was reused since.
		rec.Orphans++
		note(id, "control file of another message: removed")
		return s.disk().Remove(s.ControlPath(id))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, ErrIncomplete), err == nil && !c.Finished() && (s.WasFinished == nil || !s.WasFinished(id)):
		// The message itself is gone: it was finished, and its control file came
		// back after a power cut, or somebody removed it by hand. Keep the evidence.
		rec.Quarantined++
		note(id, "control file without a message file: moved to postman")
		return s.disk().Rename(s.ControlPath(id), s.Path(PostmanDir, id)+".control")
	case err != nil:
		rec.Quarantined++
		note(id, fmt.Sprintf("control file without a message file: %v: moved to postman", err))
		return s.disk().Rename(s.ControlPath(id), s.Path(PostmanDir, id)+".control")
	}
	rec.Orphans++
	note(id, "control file of a finished message: removed")
	return s.disk().Remove(s.ControlPath(id))
}

func listIDs(dir string) (map[ID]bool, error) {
	ids := make(map[ID]bool)
	err := EachID(dir, func(id ID) error {
		ids[id] = true
		return nil
	})
	return ids, err
}

// EachID calls fn for each file of dir whose name is an id, in the directory's
// order and in bounded memory. Other names are passed over.
func EachID(dir string, fn func(ID) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			if id, bad := ParseID(name); bad == nil {
				if err := fn(id); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", dir, err)
		}
	}
}

// Sweep removes what submitters that died left in public/ longer than age ago. Every
// local user can fill that directory, so it is read in bounded memory.
func (s *Spool) Sweep(age time.Duration) (removed int, err error) {
	d, err := os.Open(filepath.Join(s.Root, PublicDir))
	if err != nil {
		return 0, err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			st, err := e.Info()
			if err != nil || !st.Mode().IsRegular() || time.Since(st.ModTime()) < age {
				continue
			}
			if err := os.Remove(filepath.Join(d.Name(), e.Name())); err == nil {
				removed++
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return removed, nil
		case err != nil:
			return removed, fmt.Errorf("read %s: %w", d.Name(), err)
		}
	}
}
