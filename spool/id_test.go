package spool

import (
	"testing"
	"time"
)

func TestNewIDUniqueSortable(t *testing.T) {
	seen := make(map[ID]bool)
	var last ID
	for range 100000 {
		id := NewID()
		if seen[id] || id <= last {
			t.Fatalf("id %s after %s", id, last)
		}
		seen[id], last = true, id
	}
}

func TestIDTime(t *testing.T) {
	for _, tm := range []time.Time{time.UnixMicro(0), time.UnixMicro(1), time.UnixMicro(1795573200123456), time.UnixMicro(1<<52 - 1)} {
		id := makeID(uint64(tm.UnixMicro()), 1<<28-1)
		if !id.Time().Equal(tm) {
			t.Errorf("%s.Time() = %v, want %v", id, id.Time(), tm)
		}
		if _, err := ParseID(string(id)); err != nil {
			t.Error(err)
		}
	}
}

func TestDigit(t *testing.T) {
	for i := range len(alphabet) {
		if digit(alphabet[i]) != i {
			t.Errorf("digit(%c) = %d, want %d", alphabet[i], digit(alphabet[i]), i)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "../../etc/passwd", "0123456789ABCDEF0", "0123456789ABCDEI", "0123456789abcdef", "0123456789ABCDE/"} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("ParseID(%q) = %s, want an error", s, id)
		}
	}
}

func BenchmarkNewID(b *testing.B) {
	for b.Loop() {
		NewID()
	}
}
