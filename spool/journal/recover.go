package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"zmailer/spool"
)

// Stats counts what Recover found.
type Stats struct {
	Segments int // segments of an earlier boot
	Records  int // messages in them
	Intact   int // whose file is there and whole
	Finished int // that the done log knows as finished
	Restored int // put back into router/
	Removed  int // files of finished messages that the file system brought back
}

// Recover replays the segments of earlier boots of s. Router, scheduler and server
// call it before they do anything else, so that nobody works on what a power cut has
// damaged; those that come while one recovers wait for it, and find nothing to do.
func Recover(s *spool.Spool, log *slog.Logger) (st Stats, err error) {
	boot, err := spool.Incarnation(s.Root)
	if err != nil {
		return st, err
	}
	lock, err := recoverAlone(s, log, boot, &st)
	if errors.Is(err, errInUse) {
		return st, nil // the holder has recovered before it opened
	}
	if err != nil {
		return st, err
	}
	return st, lock.Close()
}

// recoverAlone recovers while nobody else does, and returns the journal's lock.
func recoverAlone(s *spool.Spool, log *slog.Logger, boot string, st *Stats) (*os.File, error) {
	dir := filepath.Join(s.Root, spool.JournalDir)
	alone, err := lockRecovery(dir)
	if err != nil {
		return nil, err
	}
	defer alone.Close()
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	found, err := recoverLocked(s, log, boot)
	if st != nil {
		*st = found
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return lock, nil
}

func recoverLocked(s *spool.Spool, log *slog.Logger, boot string) (st Stats, err error) {
	// One syncfs makes all restored files durable, before the segments go.
	s = &spool.Spool{Root: s.Root, Disk: s.Disk, NoSync: true}
	dir := filepath.Join(s.Root, spool.JournalDir)
	done, err := readDone(dir, boot)
	if err != nil {
		return st, err
	}
	paths, err := segmentPaths(dir)
	if err != nil {
		return st, err
	}
	// Opened before the first message is restored, to hear of each failed write.
	fsys, err := diskOf(s).OpenFS(s.Root)
	if err != nil {
		return st, err
	}
	defer fsys.Close()
	var restored []spool.ID
	defer func() {
		// Of what is not proved to be durable nothing stays: the next attempt would
		// find it in the page cache and take it for intact.
		for _, id := range restored {
			err = errors.Join(err, diskOf(s).Remove(s.Path(spool.RouterDir, id)))
		}
	}()
	var replayed []string
	for _, path := range paths {
		earlier, err := replaySegment(s, log, path, boot, done, &st, &restored)
		if err != nil {
			return st, fmt.Errorf("journal segment %s: %w", path, err)
		}
		if earlier {
			replayed = append(replayed, path)
		}
	}
	if len(replayed) == 0 && len(done) == 0 {
		return st, nil
	}
	if err := removeFinished(s, done, &st); err != nil {
		return st, err
	}
	if err := fsys.Sync(); err != nil {
		return st, err
	}
	restored = nil
	for _, path := range replayed {
		if err := diskOf(s).Remove(path); err != nil {
			return st, err
		}
	}
	log.Info("journal replayed", "segments", st.Segments, "records", st.Records, "intact", st.Intact,
		"finished", st.Finished, "restored", st.Restored, "removed", st.Removed)
	return st, dropDone(diskOf(s), dir, boot)
}

func hasHeader(path string) (bool, error) {
	h, err := readHeader(path)
	return h != nil, err
}

func readHeader(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := make([]byte, headerSize)
	if _, err := io.ReadFull(f, h); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, nil // allocation was lost: no record was acknowledged from it
		}
		return nil, err
	}
	if !bytes.HasPrefix(h, []byte(magic)) {
		return nil, nil
	}
	return h, nil
}

// replaySegment restores the messages of a segment of an earlier boot. A segment
// of this boot is left to the server.
func replaySegment(s *spool.Spool, log *slog.Logger, path, boot string, done map[spool.ID]bool, st *Stats,
	restored *[]spool.ID) (bool, error) {
	h, err := readHeader(path)
	if err != nil || h == nil || bootOf(h) == boot {
		return false, err
	}
	f, err := openRegular(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st.Segments++
	epoch := binary.LittleEndian.Uint64(h[8:])
	for off := int64(headerSize); ; {
		id, msg, err := readRecord(f, off, epoch)
		if err != nil {
			return false, err
		}
		if msg == nil {
			return true, nil
		}
		off += (recordHead + int64(len(msg)) + 7) &^ 7
		st.Records++
		if done[id] {
			st.Finished++
			continue
		}
		before := st.Restored
		if err := restore(s, log, id, msg, st); err != nil {
			return false, err
		}
		if st.Restored > before {
			*restored = append(*restored, id)
		}
	}
}

// readRecord returns the record at off; a nil message is the end of the segment.
func readRecord(f *os.File, off int64, epoch uint64) (spool.ID, []byte, error) {
	var h [recordHead]byte
	if _, err := f.ReadAt(h[:], off); errors.Is(err, io.EOF) {
		return "", nil, nil
	} else if err != nil {
		return "", nil, err
	}
	n := binary.LittleEndian.Uint32(h[4:])
	if binary.LittleEndian.Uint32(h[0:]) != uint32(epoch) || n > maxMessage {
		return "", nil, nil
	}
	msg := make([]byte, n)
	if _, err := f.ReadAt(msg, off+recordHead); errors.Is(err, io.EOF) {
		return "", nil, nil
	} else if err != nil {
		return "", nil, err
	}
	id, err := spool.ParseID(string(h[16:]))
	if err != nil || binary.LittleEndian.Uint32(h[8:]) != recordCRC(epoch, string(id), msg) {
		return "", nil, nil
	}
	return id, msg, nil
}

// readMessage reads a message file that a record can be compared with: a longer one
// is as damaged as its first part.
func readMessage(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxMessage+1))
}

// restore puts a message back into router/ unless its file is there and whole. A
// damaged file is replaced together with the control file made from it.
func restore(s *spool.Spool, log *slog.Logger, id spool.ID, msg []byte, st *Stats) error {
	places := []string{s.Path(spool.RouterDir, id), s.QueuePath(id), s.Path(spool.DeferredDir, id),
		s.Path(spool.FreezerDir, id), s.Path(spool.PostmanDir, id)}
	for _, path := range places {
		b, err := readMessage(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// What is no message file, or is one under two names, is replaced too.
		if err != nil && !errors.Is(err, spool.ErrNotRegular) {
			return err
		}
		if err == nil && bytes.Equal(b, msg) {
			st.Intact++
			return nil
		}
		log.Warn("message file damaged by the crash", "spoolid", string(id), "path", path, "size", len(b))
		if err := diskOf(s).Remove(path); err != nil {
			return err
		}
	}
	if err := diskOf(s).Remove(s.ControlPath(id)); err != nil {
		return err
	}
	sub, err := s.Reinject(id, msg)
	if err != nil {
		return err
	}
	if err := sub.Commit(context.Background()); err != nil {
		return err
	}
	st.Restored++
	log.Info("message restored from the journal", "spoolid", string(id))
	return nil
}

// removeFinished removes files of finished messages: their unlinking was lost.
func removeFinished(s *spool.Spool, done map[spool.ID]bool, st *Stats) error {
	for id := range done {
		for _, path := range []string{s.Path(spool.RouterDir, id), s.QueuePath(id), s.ControlPath(id)} {
			if _, err := os.Lstat(path); err != nil {
				continue // as it should be
			}
			if err := diskOf(s).Remove(path); err != nil {
				return err
			}
			st.Removed++
		}
	}
	return nil
}
