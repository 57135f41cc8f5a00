package cdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Writer makes a database beside the one that is in use.
type Writer struct {
	path, tmp string
	f         *os.File
	w         *bufio.Writer
	pos       uint64
	slots     [256][]slot
}

type slot struct{ hash, pos uint32 }

// Create starts a new version of the database at path. It is written to
// path.new, which is locked, so that two cannot be made at the same time; what
// a crash left there is overwritten. The Writer must be ended with Commit or
// Abort.
func Create(path string) (*Writer, error) {
	w := &Writer{path: path, tmp: path + ".new", pos: headerSize}
	f, err := os.OpenFile(w.tmp, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, err
	}
	if err := claim(f, w.tmp); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	w.f, w.w = f, bufio.NewWriterSize(f, 1<<20)
	if _, err := w.w.Write(make([]byte, headerSize)); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// claim makes sure that f is ours alone before anything in it is destroyed:
// between open and lock another writer may have renamed it to the database in
// use.
func claim(f *os.File, path string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: another process is writing it", path)
		}
		return fmt.Errorf("lock %s: %w", path, err)
	}
	var opened, named unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &opened); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if err := unix.Lstat(path, &named); err != nil || opened.Ino != named.Ino || opened.Dev != named.Dev {
		return fmt.Errorf("%s: another process has just written it", path)
	}
	if opened.Mode&unix.S_IFMT != unix.S_IFREG || opened.Nlink != 1 {
		return fmt.Errorf("%s: not a regular file with one link", path)
	}
	return f.Truncate(0)
}

// Put adds a record. The same key may be added again; Reader.Get finds the
// first.
func (w *Writer) Put(key, val string) error {
	if len(key) > MaxKey || len(val) > MaxValue {
		return fmt.Errorf("record too large: key %d bytes, value %d bytes", len(key), len(val))
	}
	size := uint64(8 + len(key) + len(val))
	if w.pos+size > maxFile {
		return errors.New("database would be larger than 4 GiB")
	}
	h := hash(key)
	w.slots[h&255] = append(w.slots[h&255], slot{h, uint32(w.pos)})
	w.pos += size
	if err := w.pair(uint32(len(key)), uint32(len(val))); err != nil {
		return err
	}
	if _, err := w.w.WriteString(key); err != nil {
		return err
	}
	_, err := w.w.WriteString(val)
	return err
}

func (w *Writer) pair(a, b uint32) error {
	buf := w.w.AvailableBuffer()
	buf = binary.LittleEndian.AppendUint32(buf, a)
	buf = binary.LittleEndian.AppendUint32(buf, b)
	_, err := w.w.Write(buf)
	return err
}

// Commit completes the database and puts it in place of the old one, with the
// old one's mode and, where allowed, owner. When it returns nil the new one
// survives a power cut. On an error the old one is untouched.
func (w *Writer) Commit() error {
	if err := w.finish(); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", w.path, err), w.Abort())
	}
	// The lock goes with the descriptor, so the rename comes first.
	if err := os.Rename(w.tmp, w.path); err != nil {
		return errors.Join(err, w.Abort())
	}
	return errors.Join(w.f.Close(), syncDir(filepath.Dir(w.path)))
}

// Abort throws the new version away.
func (w *Writer) Abort() error {
	return errors.Join(os.Remove(w.tmp), w.f.Close())
}

func (w *Writer) finish() error {
	head, err := w.tables()
	if err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	if _, err := w.f.WriteAt(head, 0); err != nil {
		return err
	}
	if err := w.inherit(); err != nil {
		return err
	}
	return w.f.Sync()
}

// tables writes the hash tables, each twice as large as needed, and returns
// the header that leads to them.
func (w *Writer) tables() (head []byte, err error) {
	head = make([]byte, 0, headerSize)
	var table []slot
	for _, slots := range w.slots {
		n := uint32(2 * len(slots))
		if w.pos+uint64(n)*8 > maxFile {
			return nil, errors.New("database would be larger than 4 GiB")
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(w.pos))
		head = binary.LittleEndian.AppendUint32(head, n)
		table = fill(table, slots, n)
		for _, s := range table {
			if err := w.pair(s.hash, s.pos); err != nil {
				return nil, err
			}
		}
		w.pos += uint64(n) * 8
	}
	return head, nil
}

func fill(table, slots []slot, n uint32) []slot {
	if uint32(cap(table)) < n {
		table = make([]slot, n)
	}
	table = table[:n]
	clear(table)
	for _, s := range slots {
		i := (s.hash >> 8) % n
		for table[i].pos != 0 {
			if i++; i == n {
				i = 0
			}
		}
		table[i] = s
	}
	return table
}

func (w *Writer) inherit() error {
	var old unix.Stat_t
	err := unix.Stat(w.path, &old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stat %s: %w", w.path, err)
	}
	// Only root can give a file away; anybody else keeps it, which is as good
	// as the owner could do.
	if err := w.f.Chown(int(old.Uid), int(old.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return w.f.Chmod(fs.FileMode(old.Mode & 0o777))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
