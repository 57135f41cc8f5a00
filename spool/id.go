package spool

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"
)

// An ID names one message in file names, logs and replies: 16 letters and
// digits that sort by time of acceptance. It holds 52 bits of microseconds since
// 1970 and 28 random bits, so that processes need no coordination; the exclusive
// creation of the file it names settles the remaining doubt.
type ID string

// IDLen is the length of every id.
const IDLen = 16

// alphabet is Crockford's base 32: no I, L, O or U, so that an id survives being
// read aloud.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const randomBits = 28

var lastMicro atomic.Int64

// NewID returns an id that this process has not returned before, even when the
// clock stands still or steps back.
func NewID() ID {
	now := time.Now().UnixMicro()
	for {
		last := lastMicro.Load()
		if now <= last {
			now = last + 1
		}
		if lastMicro.CompareAndSwap(last, now) {
			break
		}
	}
	var r [4]byte
	rand.Read(r[:])
	low := binary.LittleEndian.Uint32(r[:]) & (1<<randomBits - 1)
	return makeID(uint64(now), low)
}

func makeID(micro uint64, low uint32) ID {
	// 80 bits as 16 digits of 5 bits: hi holds the first 8 digits, lo the last 8.
	hi := micro >> (52 - 40) & (1<<40 - 1)
	lo := micro&(1<<12-1)<<randomBits | uint64(low)
	var b [IDLen]byte
	for i := 7; i >= 0; i-- {
		b[i], hi = alphabet[hi&31], hi>>5
		b[8+i], lo = alphabet[lo&31], lo>>5
	}
	return ID(b[:])
}

// ParseID checks that s is an id. File names from disk and words from pipes pass
// through here before they become part of a path.
func ParseID(s string) (ID, error) {
	if len(s) != IDLen {
		return "", fmt.Errorf("spool id %.40q: want %d characters", s, IDLen)
	}
	for i := 0; i < len(s); i++ {
		if digit(s[i]) < 0 {
			return "", fmt.Errorf("spool id %.40q: bad character %q", s, s[i])
		}
	}
	return ID(s), nil
}

func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'Z' && c != 'I' && c != 'L' && c != 'O' && c != 'U':
		n := int(c-'A') + 10
		for _, gap := range "ILOU" {
			if rune(c) > gap {
				n--
			}
		}
		return n
	}
	return -1
}

// Time is when the id was made.
func (id ID) Time() time.Time {
	var v uint64
	for i := 0; i < 8; i++ {
		v = v<<5 | uint64(digit(id[i]))
	}
	var lo uint64
	for i := 8; i < 11; i++ { // 15 bits, of which the first 12 are time
		lo = lo<<5 | uint64(digit(id[i]))
	}
	return time.UnixMicro(int64(v<<12 | lo>>3))
}

// Hash is the name of the hash directory of the id, its last character. That
// character is random, so messages spread evenly over the 32 directories.
func (id ID) Hash() string { return string(id[IDLen-1:]) }

// HashDirs lists the names of all hash directories.
func HashDirs() []string {
	dirs := make([]string, len(alphabet))
	for i := range dirs {
		dirs[i] = alphabet[i : i+1]
	}
	return dirs
}
