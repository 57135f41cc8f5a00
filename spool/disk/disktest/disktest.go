// Package disktest is a disk for tests: it works on a real directory, makes
// chosen operations fail or be the last before a power cut, and knows which
// states of the directory a power cut may leave.
//
// The model of a power cut: what a sync covered is there. Of the other writes to
// a file nothing, a first half, or everything is there, independently for each
// file. Of the other changes of names a prefix is there: file systems that keep a
// journal of their metadata commit it in order. With Any set, any subset is.
package disktest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"zmailer/spool/disk"
)

// ErrPowerCut is what every operation returns after the power is gone.
var ErrPowerCut = errors.New("power cut")

// A Fault is what happens at an operation.
type Fault int

const (
	None  Fault = iota
	Fail        // the operation does nothing and fails with EIO
	Full        // it fails with ENOSPC; a write gets half of its bytes down first
	Cut         // the power goes right before the operation
	After       // the power goes right after the operation
)

// A Disk is a disk.Disk below a root directory.
type Disk struct {
	Root string

	mu    sync.Mutex
	n     int // operations so far
	at    int // the operation that Fault happens at, from 1
	fault Fault
	dead  bool
	log   []op
	files map[string]*inode // as the running system sees them
	lost  int               // writebacks that failed
}

// An inode is a file by identity; it keeps its content under all its names.
type inode struct {
	data   []byte // as the running system sees it
	synced []byte // as the disk surely has it
	clean  bool   // no write since the last sync
	lost   bool   // its writeback failed, and nobody tries again
}

type op struct {
	kind     string // create, rename, remove
	ino      *inode
	from, to string // directories matter: relative paths
	synced   bool
}

// New returns a disk whose operation number at (from 1) has the given fault.
func New(root string, at int, fault Fault) *Disk {
	return &Disk{Root: root, at: at, fault: fault, files: make(map[string]*inode)}
}

// Ops is the number of operations so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// Dead says whether the power is gone.
func (d *Disk) Dead() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dead
}

// step counts an operation and does it unless a fault forbids. half does the
// part of it that gets down on a full disk.
func (d *Disk) step(do func() error, half func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return ErrPowerCut
	}
	d.n++
	if d.n != d.at {
		return do()
	}
	switch d.fault {
	case Fail:
		return syscall.EIO
	case Full:
		if half != nil {
			half()
		}
		return syscall.ENOSPC
	case Cut:
		d.dead = true
		return ErrPowerCut
	case After:
		err := do()
		d.dead = true
		return err
	}
	return do()
}

func (d *Disk) rel(path string) string {
	rel, err := filepath.Rel(d.Root, path)
	if err != nil {
		panic(err)
	}
	return rel
}

func (d *Disk) create(path string, mode fs.FileMode, size int64) (disk.File, error) {
	var f *file
	err := d.step(func() error {
		real, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		if err := real.Truncate(size); err != nil {
			return err
		}
		ino := &inode{data: make([]byte, size)}
		d.files[d.rel(path)] = ino
		d.log = append(d.log, op{kind: "create", ino: ino, to: d.rel(path)})
		f = &file{d: d, real: real, ino: ino}
		return nil
	}, nil)
	if f == nil {
		return nil, err
	}
	return f, err
}

// Create implements disk.Disk.
func (d *Disk) Create(path string, mode fs.FileMode) (disk.File, error) {
	return d.create(path, mode, 0)
}

// Allocate implements disk.Disk.
func (d *Disk) Allocate(path string, size int64) (disk.File, error) {
	return d.create(path, 0o600, size)
}

func (d *Disk) open(path string, flags int) (disk.File, error) {
	var f *file
	err := d.step(func() error {
		real, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		f = &file{d: d, real: real, ino: d.inode(path), append: flags == os.O_APPEND}
		return nil
	}, nil)
	if f == nil {
		return nil, err
	}
	return f, err
}

// inode returns the file at path; one that was there before the test began is
// durable.
func (d *Disk) inode(path string) *inode {
	rel := d.rel(path)
	if d.files[rel] == nil {
		b, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		d.files[rel] = &inode{data: b, synced: b, clean: true}
		d.log = append(d.log, op{kind: "create", ino: d.files[rel], to: rel, synced: true})
	}
	return d.files[rel]
}

// Open implements disk.Disk.
func (d *Disk) Open(path string) (disk.File, error) { return d.open(path, 0) }

// Append implements disk.Disk.
func (d *Disk) Append(path string) (disk.File, error) { return d.open(path, os.O_APPEND) }

// Rename implements disk.Disk.
func (d *Disk) Rename(from, to string) error {
	return d.step(func() error {
		var ino *inode
		if _, err := os.Lstat(from); err == nil {
			ino = d.inode(from)
		}
		if err := disk.OS.Rename(from, to); err != nil {
			return err
		}
		delete(d.files, d.rel(from))
		d.files[d.rel(to)] = ino
		d.log = append(d.log, op{kind: "rename", ino: ino, from: d.rel(from), to: d.rel(to)})
		return nil
	}, nil)
}

// Remove implements disk.Disk.
func (d *Disk) Remove(path string) error {
	return d.step(func() error {
		if _, err := os.Lstat(path); err != nil {
			return nil
		}
		ino := d.inode(path)
		delete(d.files, d.rel(path))
		d.log = append(d.log, op{kind: "remove", ino: ino, from: d.rel(path)})
		return os.Remove(path)
	}, nil)
}

// SyncDir implements disk.Disk.
func (d *Disk) SyncDir(path string) error {
	return d.step(func() error {
		rel := d.rel(path)
		last := -1
		for i, o := range d.log {
			if filepath.Dir(o.to) == rel || filepath.Dir(o.from) == rel {
				last = i
			}
		}
		// What is journaled before the directory's change is durable with it.
		for i := 0; i <= last; i++ {
			d.log[i].synced = true
		}
		return nil
	}, nil)
}

// Writeback is what the kernel does by itself, with a failing disk: what was not
// synced of the file at path never gets there. The running system still sees it,
// and only those who have the file system open hear of it.
func (d *Disk) Writeback(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inode(path).lost = true
	d.lost++
}

// OpenFS implements disk.Disk. Failed writebacks of the past were reported to
// somebody else.
func (d *Disk) OpenFS(string) (disk.FS, error) {
	var s *fileSystem
	err := d.step(func() error { s = &fileSystem{d: d, heard: d.lost}; return nil }, nil)
	if s == nil {
		return nil, err
	}
	return s, err
}

type fileSystem struct {
	d     *Disk
	heard int // of so many failed writebacks
}

func (s *fileSystem) Sync() error {
	d := s.d
	return d.step(func() error {
		for i := range d.log {
			d.log[i].synced = true
			d.log[i].ino.sync()
		}
		if s.heard < d.lost {
			s.heard = d.lost
			return syscall.EIO
		}
		return nil
	}, nil)
}

func (s *fileSystem) Close() error { return s.d.step(func() error { return nil }, nil) }

func (i *inode) sync() {
	if i == nil || i.lost {
		return
	}
	i.synced, i.clean = append([]byte(nil), i.data...), true
}

type file struct {
	d      *Disk
	real   *os.File
	ino    *inode
	append bool
}

func (f *file) put(p []byte, off int64) {
	if need := off + int64(len(p)); int64(len(f.ino.data)) < need {
		f.ino.data = append(f.ino.data, make([]byte, need-int64(len(f.ino.data)))...)
	}
	copy(f.ino.data[off:], p)
	f.ino.clean, f.ino.lost = false, false
	if _, err := f.real.WriteAt(p, off); err != nil {
		panic(err)
	}
}

func (f *file) Write(p []byte) (int, error) {
	off := int64(len(f.ino.data))
	n := 0
	err := f.d.step(func() error { f.put(p, off); n = len(p); return nil },
		func() { n = len(p) / 2; f.put(p[:n], off) })
	return n, err
}

func (f *file) WriteAt(iov [][]byte, off int64) error {
	var p []byte
	for _, v := range iov {
		p = append(p, v...)
	}
	return f.d.step(func() error { f.put(p, off); return nil }, func() { f.put(p[:len(p)/2], off) })
}

func (f *file) Sync() error {
	return f.d.step(func() error { f.ino.sync(); return nil }, nil)
}

func (f *file) Stat() (int64, int, error) { return int64(len(f.ino.data)), 1, nil }

func (f *file) Truncate(size int64) error {
	return f.d.step(func() error {
		f.ino.data, f.ino.clean = f.ino.data[:size], false
		return f.real.Truncate(size)
	}, nil)
}

// Close closes the real file in any case.
func (f *file) Close() error {
	err := f.real.Close()
	return errors.Join(f.d.step(func() error { return nil }, nil), err)
}

// Crashes calls check with each state of the directory that a power cut now may
// leave, built below fresh directories that make returns, and returns their number.
func (d *Disk) Crashes(fresh func() string, check func(root string)) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var free []int // changes of names that may be missing
	for i, o := range d.log {
		if !o.synced {
			free = append(free, i)
		}
	}
	n := 0
	for kept := 0; kept <= len(free); kept++ {
		names := make(map[string]*inode)
		for i, o := range d.log {
			if !o.synced && kept < len(free) && i >= free[kept] {
				continue
			}
			o.apply(names)
		}
		n += contents(names, fresh, check)
	}
	return n
}

func (o op) apply(names map[string]*inode) {
	if o.from != "" {
		delete(names, o.from)
	}
	if o.to != "" {
		names[o.to] = o.ino
	}
}

// contents goes through the combinations of what unsynced files may hold.
func contents(names map[string]*inode, fresh func() string, check func(string)) int {
	var paths, dirty []string
	for path, ino := range names {
		paths = append(paths, path)
		if !ino.clean {
			dirty = append(dirty, path)
		}
	}
	total := 1
	for range dirty {
		total *= 3
	}
	for c := range total {
		root := fresh()
		choice := make(map[string]int)
		for _, path := range dirty {
			choice[path], c = c%3, c/3
		}
		for _, path := range paths {
			b := names[path].survivor(choice[path])
			if err := os.WriteFile(filepath.Join(root, path), b, 0o600); err != nil {
				panic(err)
			}
		}
		check(root)
	}
	return total
}

func (i *inode) survivor(choice int) []byte {
	switch {
	case i.clean, choice == 2 && !i.lost:
		return i.data
	case choice == 0, i.lost:
		return i.synced
	}
	// The first half of what differs got down.
	b := append([]byte(nil), i.data[:len(i.synced)+(len(i.data)-len(i.synced))/2]...)
	if len(i.data) == len(i.synced) {
		first := strings.Compare(string(i.data), string(i.synced))
		if first != 0 {
			at := 0
			for at < len(b) && i.data[at] == i.synced[at] {
				at++
			}
			half := at + (len(b)-at)/2
			copy(b[half:], i.synced[half:])
		}
	}
	return b
}
