package spool

import (
	"errors"
	"io/fs"
	"os"
)

// A message in freezer/ has its reason beside it, <id>.why. When it is given back to
// the router, <id>.released stands there until the router is done with it: the policy
// that froze the message would freeze it again.

// Release gives a frozen message back to the router, whose policy passes over "freeze"
// for it.
func (s *Spool) Release(id ID) error {
	if _, err := os.Lstat(s.Path(FreezerDir, id)); err != nil {
		return err
	}
	if err := os.WriteFile(s.Path(FreezerDir, id)+".released", nil, 0o640); err != nil {
		return err
	}
	if err := s.disk().Rename(s.Path(FreezerDir, id), s.Path(RouterDir, id)); err != nil {
		return err
	}
	return removeIfThere(s.Path(FreezerDir, id) + ".why")
}

// Released says that the message was released.
func (s *Spool) Released(id ID) bool {
	_, err := os.Lstat(s.Path(FreezerDir, id) + ".released")
	return err == nil
}

// EndRelease forgets it, when the router is done with the message.
func (s *Spool) EndRelease(id ID) error { return removeIfThere(s.Path(FreezerDir, id) + ".released") }

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
