// Package cdb reads and writes constant databases in the format of
// D. J. Bernstein's cdb, so that the tools of cdb and tinycdb read ours and
// we read theirs.
//
// A file starts with 256 pairs (position, slots), one for each value of the
// low byte of a key's hash. The records follow, each as key length, data
// length, key, data; after them the hash tables, whose slots are pairs (hash,
// position of the record), position 0 being free. Everything is a 32-bit
// little-endian number, so a file has at most 4 GiB.
//
// A file is replaced, never changed: Writer makes a new one beside it and
// renames it when it is complete and on disk. A Reader trusts nothing in a
// file; one that is cut short or overwritten while it is mapped causes an
// error and no crash.
package cdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

const (
	headerSize = 256 * 8
	maxFile    = 1<<32 - 1

	// MaxKey and MaxValue bound what is written and what is read.
	MaxKey   = 64 << 10
	MaxValue = 16 << 20
)

// ErrCorrupt is the cause of every error about the contents of a file.
var ErrCorrupt = errors.New("corrupt cdb")

// Reader is an open database, safe for concurrent use. Its memory is given
// back when it is no longer reachable.
type Reader struct {
	data []byte
	end  uint64 // of the records
	n    int
}

// Open opens the database at path.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := Map(f)
	return r, errors.Join(err, f.Close())
}

// Map makes a Reader of an open file, which may be closed afterwards.
func Map(f *os.File) (*Reader, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", f.Name())
	}
	if st.Size() < headerSize || st.Size() > maxFile {
		return nil, fmt.Errorf("%s: %w: %d bytes long", f.Name(), ErrCorrupt, st.Size())
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", f.Name(), err)
	}
	r := &Reader{data: data}
	runtime.AddCleanup(r, func(data []byte) { unix.Munmap(data) }, data)
	if err := r.index(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

// New makes a Reader of the bytes of a file.
func New(data []byte) (*Reader, error) {
	if len(data) < headerSize || len(data) > maxFile {
		return nil, fmt.Errorf("%w: %d bytes long", ErrCorrupt, len(data))
	}
	r := &Reader{data: data}
	return r, r.index()
}

// index checks the header: every table must lie within the file and behind
// the records.
func (r *Reader) index() (err error) {
	defer guard(&err)()
	size := uint64(len(r.data))
	r.end = size
	slots := uint64(0)
	for i := range uint64(256) {
		pos, n := r.pair(i * 8)
		if n == 0 {
			continue
		}
		if pos < headerSize || pos+n*8 > size {
			return fmt.Errorf("%w: table %d lies outside the file", ErrCorrupt, i)
		}
		r.end = min(r.end, pos)
		slots += n
	}
	if slots == 0 {
		r.end = headerSize
	}
	r.n = int(slots / 2)
	runtime.KeepAlive(r)
	return nil
}

// Len is the number of records, going by the size of the hash tables.
func (r *Reader) Len() int { return r.n }

// Get returns the first value of key.
func (r *Reader) Get(key string) (val string, found bool, err error) {
	if len(key) > MaxKey {
		return "", false, nil
	}
	defer guard(&err)()
	h := hash(key)
	pos, n := r.pair(uint64(h&255) * 8)
	if n == 0 {
		return "", false, nil
	}
	slot := uint64(h>>8) % n
	for range n {
		sh, rec := r.pair(pos + slot*8)
		if rec == 0 {
			break
		}
		if sh == uint64(h) {
			k, v, _, err := r.record(rec)
			if err != nil {
				return "", false, err
			}
			if string(k) == key {
				val, found = string(v), true
				break
			}
		}
		if slot++; slot == n {
			slot = 0
		}
	}
	runtime.KeepAlive(r)
	return val, found, nil
}

// Each calls f for every record in the order of the file, until f returns an
// error. What f gets is only valid during the call.
func (r *Reader) Each(f func(key, val []byte) error) (err error) {
	defer guard(&err)()
	for pos := uint64(headerSize); pos < r.end; {
		k, v, next, err := r.record(pos)
		if err != nil {
			return err
		}
		if next > r.end {
			return fmt.Errorf("%w: record at %d runs into the tables", ErrCorrupt, pos)
		}
		if err := f(k, v); err != nil {
			return err
		}
		pos = next
	}
	runtime.KeepAlive(r)
	return nil
}

// pair reads two numbers; the caller has checked that they are in the file.
func (r *Reader) pair(pos uint64) (a, b uint64) {
	d := r.data[pos : pos+8]
	return uint64(binary.LittleEndian.Uint32(d)), uint64(binary.LittleEndian.Uint32(d[4:]))
}

func (r *Reader) record(pos uint64) (key, val []byte, next uint64, err error) {
	size := uint64(len(r.data))
	if pos < headerSize || pos+8 > size {
		return nil, nil, 0, fmt.Errorf("%w: record at %d lies outside the file", ErrCorrupt, pos)
	}
	klen, vlen := r.pair(pos)
	if pos+8+klen+vlen > size {
		return nil, nil, 0, fmt.Errorf("%w: record at %d runs out of the file", ErrCorrupt, pos)
	}
	if klen > MaxKey || vlen > MaxValue {
		return nil, nil, 0, fmt.Errorf("%w: record at %d is too large", ErrCorrupt, pos)
	}
	mid := pos + 8 + klen
	return r.data[pos+8 : mid], r.data[mid : mid+vlen], mid + vlen, nil
}

// guard turns the fault of reading a mapped page that is no longer in the
// file into an error of the function that defers what it returns.
func guard(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		p := recover()
		if p == nil {
			return
		}
		if _, fault := p.(interface{ Addr() uintptr }); !fault {
			panic(p)
		}
		*err = fmt.Errorf("%w: the file became shorter", ErrCorrupt)
	}
}

func hash(key string) uint32 {
	h := uint32(5381)
	for i := range len(key) {
		h = (h<<5 + h) ^ uint32(key[i])
	}
	return h
}
