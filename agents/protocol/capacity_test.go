package protocol

import (
	"syscall"
	"testing"
)

// TestAffordable: few descriptors mean few jobs at once, and never none.
func TestAffordable(t *testing.T) {
	var had syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &had); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &had); err != nil {
			t.Error(err)
		}
	}()
	for _, tt := range []struct {
		limit uint64
		want  int
	}{{min(had.Max, 1024), 50}, {64, 12}, {10, 1}} {
		l := syscall.Rlimit{Cur: tt.limit, Max: had.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
			t.Skip(err)
		}
		if got := affordable(50); got != tt.want {
			t.Errorf("%d descriptors: %d jobs, want %d", tt.limit, got, tt.want)
		}
	}
}
