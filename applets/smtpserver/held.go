package smtpserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// A held message has come but not yet been taken: what is found in it decides,
// and stands in the envelope, which is written before it. Small ones are held in
// memory, others in a file without a name, which a crash takes along.
type held struct {
	dir  string
	mem  bytes.Buffer
	file *os.File
	out  *bufio.Writer
	size int64
}

// maxHeldMemory is the size up to which a message is held in memory.
const maxHeldMemory = 128 << 10

// maxHeldHeader bounds the header that the checks see.
const maxHeldHeader = 1 << 20

func newHeld(sp *spool.Spool) *held { return &held{dir: filepath.Join(sp.Root, spool.PublicDir)} }

func (h *held) Write(p []byte) (int, error) {
	if h.file == nil && h.mem.Len()+len(p) > maxHeldMemory {
		if err := h.spill(); err != nil {
			return 0, err
		}
	}
	h.size += int64(len(p))
	if h.file == nil {
		return h.mem.Write(p)
	}
	return h.out.Write(p)
}

func (h *held) spill() error {
	f, err := os.CreateTemp(h.dir, "held.")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	h.file, h.out = f, bufio.NewWriterSize(f, 64<<10)
	_, err = h.out.Write(h.mem.Bytes())
	h.mem = bytes.Buffer{}
	return err
}

// finish makes what was written readable.
func (h *held) finish() error {
	if h.file == nil {
		return nil
	}
	return h.out.Flush()
}

// reader reads the message from its beginning. Any number may read at once.
func (h *held) reader() io.Reader {
	if h.file == nil {
		return bytes.NewReader(h.mem.Bytes())
	}
	return io.NewSectionReader(h.file, 0, h.size)
}

// from reads the message from an offset on.
func (h *held) from(offset int64) io.Reader {
	if h.file == nil {
		return bytes.NewReader(h.mem.Bytes()[offset:])
	}
	return io.NewSectionReader(h.file, offset, h.size-offset)
}

// header reads the fields of the message; if there are too many, the first.
func (h *held) header() (rfc5322.Header, error) {
	fields, _, err := h.split()
	if errors.Is(err, rfc5322.ErrTooLarge) {
		err = nil
	}
	return fields, err
}

// split reads the fields and finds where the body begins. With ErrTooLarge, it does
// not begin within maxHeldHeader.
func (h *held) split() (rfc5322.Header, int64, error) {
	b := h.mem.Bytes()
	if h.file != nil {
		b = make([]byte, min(h.size, maxHeldHeader))
		if _, err := io.ReadFull(h.reader(), b); err != nil {
			return nil, 0, err
		}
	}
	b = b[:min(len(b), maxHeldHeader)]
	fields, offset, err := rfc5322.ParseHeader(b)
	if err == nil && offset == len(b) && h.size > int64(len(b)) {
		err = rfc5322.ErrTooLarge
	}
	return fields, int64(offset), err
}

func (h *held) close() {
	if h.file != nil {
		h.file.Close() // it has no name: nothing of it is left
	}
}
