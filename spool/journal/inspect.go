package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"zmailer/spool"
)

// A Kind is what a file of the journal holds.
type Kind int

// Kinds of segments.
const (
	Free    Kind = iota // to be used again
	Current             // of this boot
	Earlier             // of an earlier boot: Recover replays it
	Damaged             // neither a segment nor free
)

// A Segment is what Inspect found.
type Segment struct {
	Kind    Kind
	Records int // messages in a segment of an earlier boot
}

// Inspect looks at the segment at path without changing it.
func Inspect(path string) (Segment, error) {
	boot, err := spool.Incarnation(filepath.Dir(filepath.Dir(path))) // of the spool
	if err != nil {
		return Segment{}, err
	}
	f, err := openRegular(path)
	if err != nil {
		return Segment{}, err
	}
	defer f.Close()
	h := make([]byte, headerSize)
	n, err := io.ReadFull(f, h)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Segment{}, err
	}
	switch {
	case n < headerSize || !bytes.HasPrefix(h, []byte(magic)):
		// A short one lost its allocation, and no record was acknowledged from it.
		if len(bytes.Trim(h[:n], "\x00")) > 0 {
			return Segment{Kind: Damaged}, nil
		}
		return Segment{}, nil
	case bootOf(h) == boot:
		return Segment{Kind: Current}, nil
	}
	s := Segment{Kind: Earlier}
	epoch := binary.LittleEndian.Uint64(h[8:])
	for off := int64(headerSize); ; s.Records++ {
		_, msg, err := readRecord(f, off, epoch)
		if err != nil {
			return s, fmt.Errorf("journal segment %s: %w", path, err)
		}
		if msg == nil {
			return s, nil
		}
		off += (recordHead + int64(len(msg)) + 7) &^ 7
	}
}
