// Package journal makes many small messages durable with one sync.
//
// One fsync and one rename for each message limits any spool to a few hundred
// messages a second. The journal is an append-only log of whole messages in
// preallocated segments: all sessions that wait share one fdatasync. The message
// is also written as a plain file, without a sync of its own; most are delivered
// before the file system ever writes them out.
//
// A segment is dropped when it is full or half a minute old: after a syncfs of
// the spool its messages are durable as files. Only in another incarnation of the
// file system (after a boot, or when it was mounted again) are segments replayed
// (Recover): within one the page cache has everything, also when every process of
// the mailer was killed.
//
// # On disk
//
// journal/<n>.seg: a header block, then records. All numbers are little endian.
//
//	header   "ZMJRNL1\n", epoch (8 bytes), created (8, Unix µs), incarnation (64, see spool.Incarnation); padded to 4096
//	record   mark (4, low half of the epoch), length (4), CRC-32C (4), zero (4), id (16), message
//
// The CRC covers epoch, id and message, so that a record of the segment's earlier
// life is never taken for one of this life. A record begins at a multiple of 8.
// A header of zeroes is a free segment, kept to be used again: its blocks are
// allocated and written, so that a sync of it has no file system metadata to write.
//
// # Orders that matter
//
// A header is durable before the first record is acknowledged. A segment's header
// is cleared only after a syncfs that began after its last record's file was
// renamed into router/. The file system is held open for that from before the
// first of these files is written: the kernel reports a failed write only to who
// had it open then. A descriptor whose sync failed is never synced again: the
// kernel reports such an error once, and a second success would be a lie. The
// segment is abandoned with what it holds, and the next message opens another.
//
// # After an error of the disk
//
// When the syncfs fails, any file written until then may be lost, and no later
// syncfs proves the contrary. The segments begun until then, and until two seconds
// after, are kept as <n>.kept.seg until another incarnation replays them like all
// others. The log has an ALERT. As long as one is kept, so are the segments that a
// server finds at its start, and the done log is not rotated: it has to know
// what was delivered when they are replayed. With sixteen kept segments no more
// messages are taken (ENOSPC: 452), with another ALERT.
// What a server that was killed has left of this incarnation, with none
// kept, is dropped after a syncfs of the next server: Linux reports an error to it,
// too, unless somebody else has been told since.
package journal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zmailer/spool"
	"zmailer/spool/disk"
)

const (
	headerSize = 4096
	recordHead = 32
	maxFree    = 2 // free segments kept for reuse
	// MaxAge is how long a message may depend on the journal alone.
	MaxAge = 30 * time.Second
	// maxMessage is what fits a record; the spool sends larger ones as files.
	maxMessage = spool.SmallMessage + 64<<10

	magic = "ZMJRNL1\n"
)

// segmentSize is a variable for the tests, which want small segments.
var segmentSize int64 = 32 << 20

var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

// A Journal is the open journal of a spool. It implements spool.Journal. One
// process at a time has it open.
type Journal struct {
	dir  string
	disk disk.Disk
	fs   disk.FS // of the message files, open since before the first was written
	log  *slog.Logger
	boot string
	lock *os.File

	mu         sync.Mutex
	pending    []*entry // waiting for the next commit
	committing bool

	// Owned by whoever commits.
	active *segment
	iov    [][]byte

	segMu   sync.Mutex // guards what follows
	retired []*segment // full or old: to be dropped after a syncfs
	free    []string
	kept    int           // segments on disk that only a replay may drop
	next    int           // number of the next segment
	kick    chan struct{} // a segment was retired
	stop    chan struct{}
	stopped sync.WaitGroup

	doubt time.Time // segments begun before are not to be dropped; the checkpoint's
}

// An entry is one message that waits to be durable.
type entry struct {
	id   spool.ID
	msg  []byte
	head [recordHead]byte
	done chan error
}

// errLead makes a waiting session the one that commits next.
var errLead = errors.New("lead the next commit")

type segment struct {
	path    string
	f       disk.File
	epoch   uint64
	end     int64
	created time.Time
	failed  bool // a write or a sync of it did
}

// Open recovers what an earlier boot left and opens the journal of s. It fails if
// another process has it open.
func Open(s *spool.Spool, log *slog.Logger) (*Journal, error) {
	boot, err := spool.Incarnation(s.Root)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		dir: filepath.Join(s.Root, spool.JournalDir), disk: diskOf(s), log: log, boot: boot,
		kick: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	// A router or scheduler that has just recovered still holds the lock for a moment.
	for deadline := time.Now().Add(lockWait); ; time.Sleep(lockWait / 100) {
		j.lock, err = recoverAlone(s, log, boot, nil)
		if !errors.Is(err, errInUse) || time.Now().After(deadline) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	if j.fs, err = j.disk.OpenFS(s.Root); err != nil {
		return nil, errors.Join(err, j.lock.Close())
	}
	if err := j.collect(); err != nil {
		return nil, errors.Join(err, j.fs.Close(), j.lock.Close())
	}
	j.stopped.Go(j.checkpoints)
	return j, nil
}

// collect lists the segments left by an earlier process of this boot: the used
// ones are dropped at the first checkpoint, the free ones are used again. If that
// process had to keep one, the used ones are kept.
func (j *Journal) collect() error {
	paths, err := segmentPaths(j.dir)
	if err != nil {
		return err
	}
	doubt := anyKept(j.dir)
	for _, path := range paths {
		if n := segmentNumber(path); n >= j.next {
			j.next = n + 1
		}
		if isKept(path) {
			j.kept++
			continue
		}
		used, err := hasHeader(path)
		if err != nil {
			return err
		}
		if !used {
			j.free = append(j.free, path)
			continue
		}
		f, err := openSegment(j.disk, path)
		if err != nil {
			return err
		}
		j.retired = append(j.retired, &segment{path: path, f: f})
	}
	if doubt {
		j.doubt = time.Now()
		j.log.Error("ALERT: the journal keeps messages that may not be on the disk", "size", j.kept)
		j.alertFull()
	}
	if len(j.retired) > 0 {
		j.wake()
	}
	return nil
}

// Append makes msg durable. See spool.Journal. It waits for the disk, whatever ctx
// says: the message must not change while it is being written.
func (j *Journal) Append(_ context.Context, id spool.ID, msg []byte) error {
	if len(msg) > maxMessage {
		return fmt.Errorf("journal: message of %d bytes", len(msg))
	}
	e := &entry{id: id, msg: msg, done: make(chan error, 1)}
	j.mu.Lock()
	j.pending = append(j.pending, e)
	lead := !j.committing
	j.committing = true
	j.mu.Unlock()
	if !lead {
		if err := <-e.done; err != errLead {
			return err
		}
	}
	return j.lead(e)
}

// lead commits everything that waits, self among it, and passes the lead on.
func (j *Journal) lead(self *entry) error {
	j.mu.Lock()
	batch := j.pending
	j.pending = nil
	j.mu.Unlock()
	var selfErr error
	for len(batch) > 0 {
		n, err := j.commit(batch)
		for _, e := range batch[:n] {
			if e == self {
				selfErr = err
			} else {
				e.done <- err
			}
		}
		batch = batch[n:]
	}
	j.mu.Lock()
	if len(j.pending) > 0 {
		j.pending[0].done <- errLead
	} else {
		j.committing = false
	}
	j.mu.Unlock()
	return selfErr
}

// commit writes and syncs as much of batch as fits the active segment, at least
// one, and returns how many that were and what became of them.
func (j *Journal) commit(batch []*entry) (int, error) {
	if err := j.room(recordSize(batch[0])); err != nil {
		return len(batch), err
	}
	seg := j.active
	iov := j.iov[:0]
	end := seg.end
	n := 0
	for _, e := range batch {
		size := recordSize(e)
		if n > 0 && (end+size > segmentSize || len(iov)+3 > 1000) {
			break
		}
		seg.seal(e)
		iov = append(iov, e.head[:], e.msg)
		if pad := size - recordHead - int64(len(e.msg)); pad > 0 {
			iov = append(iov, zeroes[:pad])
		}
		end += size
		n++
	}
	j.iov = iov
	if err := seg.f.WriteAt(iov, seg.end); err != nil {
		j.abandon(err)
		return n, err
	}
	if err := seg.f.Sync(); err != nil {
		j.abandon(err)
		return n, err
	}
	seg.end = end
	return n, nil
}

var zeroes [8]byte

func recordSize(e *entry) int64 {
	return (recordHead + int64(len(e.msg)) + 7) &^ 7
}

func (s *segment) seal(e *entry) {
	h := e.head[:]
	binary.LittleEndian.PutUint32(h[0:], uint32(s.epoch))
	binary.LittleEndian.PutUint32(h[4:], uint32(len(e.msg)))
	binary.LittleEndian.PutUint32(h[8:], recordCRC(s.epoch, string(e.id), e.msg))
	copy(h[16:], e.id)
}

func recordCRC(epoch uint64, id string, msg []byte) uint32 {
	var b [8 + spool.IDLen]byte
	binary.LittleEndian.PutUint64(b[:], epoch)
	copy(b[8:], id)
	return crc32.Update(crc32.Checksum(b[:], castagnoli()), castagnoli(), msg)
}

// abandon gives the active segment up after an error. What was acknowledged from
// it stays valid until a syncfs has made the files durable.
func (j *Journal) abandon(err error) {
	j.log.Error("journal segment abandoned", "err", err, "segment", filepath.Base(j.active.path))
	j.active.failed = true
	j.retire()
}

func (j *Journal) retire() {
	j.segMu.Lock()
	j.retired = append(j.retired, j.active)
	j.segMu.Unlock()
	j.active = nil
	j.wake()
}

func (j *Journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// room makes sure that the active segment can take size more bytes.
func (j *Journal) room(size int64) error {
	if j.active != nil && (j.active.end+size > segmentSize || time.Since(j.active.created) > MaxAge) {
		j.retire()
	}
	if j.active != nil {
		return nil
	}
	seg, err := j.newSegment()
	if err == nil {
		j.active = seg
	}
	return err
}

func (j *Journal) newSegment() (seg *segment, err error) {
	if err := j.mayGrow(); err != nil {
		return nil, err
	}
	path, fresh := j.takeFree()
	var f disk.File
	if fresh {
		f, err = j.disk.Allocate(path, segmentSize)
	} else {
		f, err = openSegment(j.disk, path)
	}
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer func() {
		if err != nil { // it holds nothing that anybody was promised
			err = errors.Join(err, f.Close(), j.disk.Remove(path))
		}
	}()
	seg = &segment{path: path, f: f, end: headerSize, created: time.Now()}
	var r [8]byte
	rand.Read(r[:])
	seg.epoch = binary.LittleEndian.Uint64(r[:])
	if err := f.WriteAt([][]byte{seg.header(j.boot)}, 0); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	if fresh {
		if err := j.disk.SyncDir(j.dir); err != nil {
			return nil, err
		}
	}
	return seg, nil
}

func (j *Journal) takeFree() (path string, fresh bool) {
	j.segMu.Lock()
	defer j.segMu.Unlock()
	if n := len(j.free); n > 0 {
		path = j.free[n-1]
		j.free = j.free[:n-1]
		return path, false
	}
	j.next++
	return segmentPath(j.dir, j.next-1), true
}

func (s *segment) header(boot string) []byte {
	b := make([]byte, headerSize)
	copy(b, magic)
	binary.LittleEndian.PutUint64(b[8:], s.epoch)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.created.UnixMicro()))
	copy(b[bootStart:bootEnd], boot)
	return b
}

// bootStart and bootEnd are where a header has the incarnation, filled with zeroes.
const bootStart, bootEnd = 24, 88

func bootOf(header []byte) string {
	return string(bytes.TrimRight(header[bootStart:bootEnd], "\x00"))
}

func diskOf(s *spool.Spool) disk.Disk {
	if s.Disk != nil {
		return s.Disk
	}
	return disk.OS
}
