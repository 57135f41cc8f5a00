package router

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"zmailer/spool"
)

// adopt replaces the file of an untrusted owner by a copy of ours, which nobody
// else can change, and returns the copy. What he may not say is not in it; who he
// is, is.
//
// The copy is durable before it takes the place of the original: the owner has
// been told that his message is safe.
func (w *worker) adopt(m *spool.Message, dir string) (*spool.Message, error) {
	env := *m.Env
	env.Owner = strconv.Itoa(m.Owner)
	env.ErrorMsg, env.MayRelay = false, false
	env.RcvdFrom, env.With, env.Via, env.For = "", "", "", ""
	env.Header = nil
	env.AuthUser, env.Client, env.Helo, env.TLS = "", "", "", ""
	head, err := env.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("copy %s: %w", m.ID, err)
	}
	s := w.r.spool
	tmp := filepath.Join(s.Root, spool.PublicDir, strconv.Itoa(os.Getpid())+"."+string(spool.NewID()))
	if err := w.copyTo(tmp, head, m); err != nil {
		return nil, errors.Join(fmt.Errorf("copy %s: %w", m.ID, err), removeIfThere(tmp))
	}
	path := s.Path(dir, m.ID)
	if err := os.Rename(tmp, path); err != nil {
		return nil, errors.Join(err, removeIfThere(tmp))
	}
	return spool.OpenMessage(path, m.ID)
}

func (w *worker) copyTo(path string, head []byte, m *spool.Message) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(head); err != nil {
		return err
	}
	// No more than there was when the file was opened: its owner may be writing.
	if _, err := io.Copy(f, io.NewSectionReader(m.File, m.Header, m.Size-m.Header)); err != nil {
		return err
	}
	if !w.r.spool.NoSync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	arrival := m.Modified
	if now := w.r.now(); arrival.After(now) { // it would never be too old
		arrival = now
	}
	if err := os.Chtimes(path, arrival, arrival); err != nil {
		return err
	}
	return f.Close()
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
