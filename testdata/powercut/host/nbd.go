package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// A disk is a block device with a write cache that loses its content when the power
// is cut. The machine reaches it by the NBD protocol (the part of it that QEMU
// needs: one export, simple replies, FLUSH).
//
// now is what the machine reads back. stable is what survives: a write gets there
// when the machine asks for a flush. Of the writes after the last flush a power cut
// keeps some, loses some, and keeps some sectors of others, without regard to their
// order, as drives do.
type disk struct {
	now, stable *os.File
	size        int64

	mu      sync.Mutex
	cache   []write // since the last flush
	cut     bool
	flushes int
}

type write struct {
	off  int64
	data []byte
}

const sector = 512

// openDisk begins with the machine off: what it reads is what survived.
func openDisk(stable, now string) (*disk, error) {
	d := &disk{}
	var err error
	if d.stable, err = os.OpenFile(stable, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if d.now, err = os.Create(now); err != nil {
		return nil, errors.Join(err, d.stable.Close())
	}
	st, err := d.stable.Stat()
	if err == nil {
		d.size = st.Size()
		err = copySparse(d.now, d.stable, d.size)
	}
	if err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *disk) close() error { return errors.Join(d.stable.Close(), d.now.Close()) }

func copySparse(to, from *os.File, size int64) error {
	if err := to.Truncate(size); err != nil {
		return err
	}
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(buf)) {
		n, err := from.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return err
		}
		if string(buf[:n]) == string(zero[:n]) {
			continue
		}
		if _, err := to.WriteAt(buf[:n], off); err != nil {
			return err
		}
	}
	return nil
}

var errCut = errors.New("the power is cut")

func (d *disk) read(p []byte, off int64) error {
	_, err := d.now.ReadAt(p, off)
	return err
}

func (d *disk) write(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errCut
	}
	if _, err := d.now.WriteAt(p, off); err != nil {
		return err
	}
	d.cache = append(d.cache, write{off, p})
	return nil
}

func (d *disk) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return errCut
	}
	for _, w := range d.cache {
		if _, err := d.stable.WriteAt(w.data, w.off); err != nil {
			return err
		}
	}
	d.cache = nil
	d.flushes++
	return nil
}

// A loss is what a power cut did to the cache.
type loss struct{ kept, lost, torn int }

// powerCut ends everything and decides what survives of the cache. From its return
// on no write or flush succeeds.
func (d *disk) powerCut(rnd *rand.Rand) (l loss, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	for _, i := range rnd.Perm(len(d.cache)) {
		w := d.cache[i]
		switch rnd.IntN(3) {
		case 0:
			l.kept++
			_, err = d.stable.WriteAt(w.data, w.off)
		case 1:
			l.lost++
		case 2:
			l.torn++
			for at := 0; at < len(w.data) && err == nil; at += sector {
				if rnd.IntN(2) == 0 {
					_, err = d.stable.WriteAt(w.data[at:min(at+sector, len(w.data))], w.off+int64(at))
				}
			}
		}
		if err != nil {
			return l, err
		}
	}
	return l, nil
}

// Numbers of the NBD protocol.
const (
	nbdMagic       = 0x4e42444d41474943 // NBDMAGIC
	nbdOption      = 0x49484156454f5054 // IHAVEOPT
	nbdOptReply    = 0x0003e889045565a9
	nbdRequest     = 0x25609513
	nbdReply       = 0x67446698
	nbdFixed       = 1
	nbdNoZeroes    = 2
	nbdOptAbort    = 2
	nbdOptInfo     = 6
	nbdOptGo       = 7
	nbdRepAck      = 1
	nbdRepInfo     = 3
	nbdRepUnknown  = 1<<31 + 1
	nbdHasFlags    = 1
	nbdSendFlush   = 4
	nbdRead        = 0
	nbdWrite       = 1
	nbdDisconnect  = 2
	nbdFlush       = 3
	nbdEIO         = 5
	nbdEINVAL      = 22
	nbdMaxTransfer = 32 << 20
)

// serve answers one machine until it goes away.
func (d *disk) serve(conn net.Conn) error {
	r, w := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriterSize(conn, 256<<10)
	if err := d.negotiate(r, w); err != nil {
		return fmt.Errorf("nbd: %w", err)
	}
	for {
		if err := d.request(r, w); err != nil {
			return err
		}
		if r.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

func put(w io.Writer, fields ...any) error {
	for _, f := range fields {
		if err := binary.Write(w, binary.BigEndian, f); err != nil {
			return err
		}
	}
	return nil
}

func (d *disk) negotiate(r *bufio.Reader, w *bufio.Writer) error {
	if err := put(w, uint64(nbdMagic), uint64(nbdOption), uint16(nbdFixed|nbdNoZeroes)); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var flags uint32
	if err := binary.Read(r, binary.BigEndian, &flags); err != nil {
		return err
	}
	for {
		var opt struct {
			Magic    uint64
			Opt, Len uint32
		}
		if err := binary.Read(r, binary.BigEndian, &opt); err != nil {
			return err
		}
		if opt.Magic != nbdOption || opt.Len > 64<<10 {
			return errors.New("bad option")
		}
		if _, err := r.Discard(int(opt.Len)); err != nil {
			return err
		}
		var err error
		switch opt.Opt {
		case nbdOptGo, nbdOptInfo:
			err = put(w, uint64(nbdOptReply), opt.Opt, uint32(nbdRepInfo), uint32(12),
				uint16(0), uint64(d.size), uint16(nbdHasFlags|nbdSendFlush),
				uint64(nbdOptReply), opt.Opt, uint32(nbdRepAck), uint32(0))
		case nbdOptAbort:
			return io.EOF
		default:
			err = put(w, uint64(nbdOptReply), opt.Opt, uint32(nbdRepUnknown), uint32(0))
		}
		if err == nil {
			err = w.Flush()
		}
		if err != nil {
			return err
		}
		if opt.Opt == nbdOptGo {
			return nil
		}
	}
}

func (d *disk) request(r *bufio.Reader, w *bufio.Writer) error {
	var h [28]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return err
	}
	kind := binary.BigEndian.Uint16(h[6:])
	off, n := int64(binary.BigEndian.Uint64(h[16:])), int64(binary.BigEndian.Uint32(h[24:]))
	if binary.BigEndian.Uint32(h[:]) != nbdRequest || n > nbdMaxTransfer {
		return errors.New("nbd: bad request")
	}
	var data []byte
	var err error
	if kind == nbdWrite {
		data = make([]byte, n)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
	}
	code := uint32(0)
	switch {
	case kind == nbdDisconnect:
		return io.EOF
	case off < 0 || off+n > d.size:
		code = nbdEINVAL
	case kind == nbdRead:
		data = make([]byte, n)
		err = d.read(data, off)
	case kind == nbdWrite:
		err = d.write(data, off)
	case kind == nbdFlush:
		err = d.flush()
	default:
		code = nbdEINVAL
	}
	if errors.Is(err, errCut) {
		return err // there is nobody any more
	}
	if err != nil {
		code = nbdEIO
	}
	if err := put(w, uint32(nbdReply), code); err != nil {
		return err
	}
	if _, err := w.Write(h[8:16]); err != nil {
		return err
	}
	if kind == nbdRead && code == 0 {
		_, err := w.Write(data)
		return err
	}
	return nil
}

func (d *disk) flushCount() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushes
}
