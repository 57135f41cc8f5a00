package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// A message in freezer/ has its reason beside it, <id>.why. When it is given back to
// the router, <id>.released stands there until the router is done with the message:
// empty, as the policy that froze it would freeze it again; or with the status and the
// text with which it goes back to its sender, whatever the policy says.

// Release gives a frozen message back to the router, whose policy passes over "freeze"
// for it.
func (s *Spool) Release(id ID) error { return s.endFreeze(id, "") }

// Return has the router send a frozen message back to its sender.
func (s *Spool) Return(id ID, status, text string) error {
	return s.endFreeze(id, status+" "+rfc5322.OneLine(text, maxReturnText)+"\n")
}

const maxReturnText = 500

// endFreeze leaves the note before the message, and durably: without it a message that
// is to go back would be delivered.
func (s *Spool) endFreeze(id ID, note string) error {
	if _, err := os.Lstat(s.Path(FreezerDir, id)); err != nil {
		return err
	}
	if err := s.writeRelease(id, note); err != nil {
		return fmt.Errorf("release of %s: %w", id, err)
	}
	if err := s.disk().Rename(s.Path(FreezerDir, id), s.Path(RouterDir, id)); err != nil {
		return err
	}
	return removeIfThere(s.Path(FreezerDir, id) + ".why")
}

func (s *Spool) writeRelease(id ID, note string) error {
	path := s.releasePath(id)
	if err := s.EndRelease(id); err != nil { // of an attempt that was cut short
		return err
	}
	f, err := s.disk().Create(path, 0o640)
	if err != nil {
		return err
	}
	if note != "" {
		_, err = f.Write([]byte(note))
	}
	if err == nil && !s.NoSync {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil && !s.NoSync {
		err = s.disk().SyncDir(filepath.Dir(path))
	}
	return err
}

func (s *Spool) releasePath(id ID) string { return s.Path(FreezerDir, id) + ".released" }

// Released says that the message was given back.
func (s *Spool) Released(id ID) bool {
	_, err := os.Lstat(s.releasePath(id))
	return err == nil
}

// Returned tells with what status and text the message goes back to its sender; no
// status: it does not.
func (s *Spool) Returned(id ID) (status, text string, err error) {
	b, err := os.ReadFile(s.releasePath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", nil
	}
	note := rfc5322.OneLine(strings.TrimSpace(string(b)), maxReturnText)
	if err != nil || note == "" {
		return "", "", err
	}
	status, text, _ = strings.Cut(note, " ")
	if !dsn.ValidStatus(status) || status[0] != '5' || text == "" {
		return "5.7.0", note, nil // written by hand
	}
	return status, text, nil
}

// EndRelease forgets it, when the router is done with the message.
func (s *Spool) EndRelease(id ID) error { return removeIfThere(s.releasePath(id)) }

// DeleteFrozen removes a frozen message. It is noted as finished, so that the journal
// does not bring it back.
func (s *Spool) DeleteFrozen(id ID) error {
	if s.OnFinish != nil {
		s.OnFinish(id)
	}
	if err := s.disk().Remove(s.Path(FreezerDir, id)); err != nil {
		return err
	}
	return errors.Join(removeIfThere(s.Path(FreezerDir, id)+".why"), s.EndRelease(id))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
