package spool

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"

	"zmailer/spool/disk"
)

// Control files of finished messages are not removed but kept in pool/ and written
// again. A queue makes and removes thousands of files a second, and file systems
// are bad at that: ext4 does not reuse an inode for five seconds after it was
// freed, and looks at each of those whenever it makes a file. On a busy spool that
// was two fifths of all CPU time; a rename costs a tenth of it.
//
// What a reused file held before can be seen again after a power cut, in whole or
// in part: under the name of the finished message, or behind or within the new
// content. The CRC of the records and the id on each event tell (ParseControl);
// such a file counts as incomplete and its message goes back to the router.
//
// Message files are not reused: they must never change under a reader's hands, and
// their pages, which an unlink throws away, would have to be written to the disk.

const (
	poolMax   = 512 // files kept; a burst may exceed it by poolCheck
	poolCheck = 256 // files put in between two counts
)

// A pool is the router's view of pool/: names that were there when it last looked.
type pool struct {
	mu    sync.Mutex
	names []string
	taken map[string]bool // being reused: still in pool/, but not to be taken again
	empty int             // routed messages until the next look
	puts  int             // files put in since the last count
	full  bool
}

func (s *Spool) poolPath(name string) string { return s.Root + "/" + PoolDir + "/" + name }

// takeFromPool returns the name of a file in pool/, or "" if there is none. The
// caller gives the name back when the file has left pool/.
func (s *Spool) takeFromPool() string {
	p := &s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.names) == 0 {
		if p.empty > 0 {
			p.empty--
			return ""
		}
		p.names = slices.DeleteFunc(s.poolNames(poolMax), func(name string) bool { return p.taken[name] })
		if len(p.names) == 0 {
			p.empty = 16 // nothing there: do not look for every message
			return ""
		}
	}
	name := p.names[len(p.names)-1]
	p.names = p.names[:len(p.names)-1]
	if p.taken == nil {
		p.taken = make(map[string]bool)
	}
	p.taken[name] = true
	return name
}

func (p *pool) giveBack(name string) {
	p.mu.Lock()
	delete(p.taken, name)
	p.mu.Unlock()
}

func (s *Spool) poolNames(max int) []string {
	d, err := os.Open(s.poolPath(""))
	if err != nil {
		return nil // a spool without a pool works without one
	}
	defer d.Close()
	names, err := d.Readdirnames(max)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	ours := names[:0]
	for _, name := range names {
		if _, err := ParseID(name); err == nil {
			ours = append(ours, name)
		}
	}
	return ours
}

// reuse writes content over a file of the pool and gives it the name path. It
// returns false if there is no file to be reused; then nothing has been done.
func (s *Spool) reuse(path string, content []byte) (bool, error) {
	name := s.takeFromPool()
	if name == "" {
		return false, nil
	}
	defer s.pool.giveBack(name)
	old := s.poolPath(name)
	f, err := s.disk().Open(old)
	if err != nil {
		return false, nil // gone, or not ours to write
	}
	err = overwrite(f, content)
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = s.disk().Rename(old, path)
	}
	if err != nil {
		return false, errors.Join(err, s.disk().Remove(old))
	}
	return true, nil
}

func overwrite(f disk.File, content []byte) error {
	size, links, err := f.Stat()
	if err != nil {
		return err
	}
	if links != 1 {
		return errors.New("pool: file has another name")
	}
	if err := f.WriteAt([][]byte{content}, 0); err != nil {
		return err
	}
	if size > int64(len(content)) {
		return f.Truncate(int64(len(content)))
	}
	return nil
}

// discardControl puts the control file of a finished message into the pool, or
// removes it if the pool is full.
func (s *Spool) discardControl(id ID) error {
	path := s.ControlPath(id)
	if s.poolHasRoom() && s.disk().Rename(path, s.poolPath(string(id))) == nil {
		return nil
	}
	return s.disk().Remove(path)
}

func (s *Spool) poolHasRoom() bool {
	p := &s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.puts == 0 {
		p.full = len(s.poolNames(poolMax)) >= poolMax
	}
	p.puts = (p.puts + 1) % poolCheck
	return !p.full
}
