package spool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool/disk"
)

// A Message is a message file opened by its owner of the moment. The file is
// never modified; the descriptor stays valid while the file is renamed.
type Message struct {
	ID       ID
	Env      *Envelope
	Owner    int // uid of the file: who submitted it
	Size     int64
	Modified time.Time // when the submitter finished it
	Header   int64     // offset of the message's header

	File *os.File
}

// ErrNotRegular is a thing in the spool that is no message: a link, a FIFO, a
// directory, a file with a second name. It is set aside, not opened.
var ErrNotRegular = errors.New("not a regular file with exactly one link")

// OpenMessage opens the message file at path and reads its envelope. A
// *BadEnvelope error comes with a Message that has no envelope.
func OpenMessage(path string, id ID) (*Message, error) {
	fd, err := disk.OpenFD(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			err = ErrNotRegular
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
	}
	m := &Message{
		ID: id, Owner: int(st.Uid), Size: st.Size, Modified: time.Unix(st.Mtim.Unix()),
		File: os.NewFile(uintptr(fd), path),
	}
	env, off, err := ReadEnvelope(bufio.NewReaderSize(io.NewSectionReader(m.File, 0, m.Size), 8<<10))
	m.Env, m.Header = env, off
	if err != nil {
		var bad *BadEnvelope
		if errors.As(err, &bad) {
			return m, err
		}
		m.File.Close()
		return nil, err
	}
	return m, nil
}

// Close closes the message file.
func (m *Message) Close() error { return m.File.Close() }

// Route moves a submitted message to state "routed": c is the router's decision.
// from is the directory the message is in now. See doc.go for why this order.
func (s *Spool) Route(from string, c *Control, scratch []byte) error {
	if err := s.disk().Rename(s.Path(from, c.ID), s.QueuePath(c.ID)); err != nil {
		return err
	}
	if err := s.writeControl(c, scratch); err != nil {
		// Nothing was promised about the control file: take the message back. If
		// even that fails it stays in state "moving" or "half" for Recover.
		rm := s.disk().Remove(s.ControlPath(c.ID))
		return errors.Join(err, rm, s.disk().Rename(s.QueuePath(c.ID), s.Path(from, c.ID)))
	}
	return nil
}

func (s *Spool) writeControl(c *Control, scratch []byte) error {
	content := c.Append(scratch[:0])
	if done, err := s.reuse(s.ControlPath(c.ID), content); done || err != nil {
		return err
	}
	f, err := s.disk().Create(s.ControlPath(c.ID), 0o640)
	if err != nil {
		return fmt.Errorf("control file of %s: %w", c.ID, err)
	}
	_, err = f.Write(content)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("control file of %s: %w", c.ID, err)
	}
	return nil
}

// SetAside moves a message from one unhashed directory to another one
// (deferred/, freezer/, postman/, back to router/). For freezer/ and postman/ the
// reason is written beside it.
func (s *Spool) SetAside(from, to string, id ID, why string) error {
	if (to == PostmanDir || to == FreezerDir) && why != "" {
		if err := os.WriteFile(s.Path(to, id)+".why", []byte(why+"\n"), 0o640); err != nil {
			return err
		}
	}
	return s.disk().Rename(s.Path(from, id), s.Path(to, id))
}

// Finish removes a message whose recipients have all reached their end and whose
// reports are durable. Its control file goes into the pool.
func (s *Spool) Finish(id ID) error {
	if s.OnFinish != nil {
		s.OnFinish(id)
	}
	if err := s.disk().Remove(s.QueuePath(id)); err != nil {
		return err
	}
	return s.discardControl(id)
}

// Discard removes a message that was never routed, from dir. It is not noted as
// finished: should a power cut bring it back, it is decided and removed once more,
// and nobody has seen it the first time.
func (s *Spool) Discard(dir string, id ID) error { return s.disk().Remove(s.Path(dir, id)) }

// Quarantine sets a routed message aside in postman/ because its control file
// cannot be understood. Both files are kept: <id> and <id>.control.
func (s *Spool) Quarantine(id ID, why string) error {
	err := os.WriteFile(s.Path(PostmanDir, id)+".why", []byte(why+"\n"), 0o640)
	if e := s.disk().Rename(s.QueuePath(id), s.Path(PostmanDir, id)); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	if e := s.disk().Rename(s.ControlPath(id), s.Path(PostmanDir, id)+".control"); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}
