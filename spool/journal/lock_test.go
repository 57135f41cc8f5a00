package journal

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"zmailer/spool"
)

// TestRecoverWaits shows that nobody goes on while another process recovers.
func TestRecoverWaits(t *testing.T) {
	s := newSpool(t)
	other, err := lockRecovery(filepath.Join(s.Root, spool.JournalDir))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := Recover(s, quiet)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	other.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestRecoverBesideServer shows that recovery does not wait for a running server,
// and that a second server is refused.
func TestRecoverBesideServer(t *testing.T) {
	s := newSpool(t)
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := Recover(s, quiet); err != nil {
		t.Error(err)
	}
	if second, err := Open(s, quiet); err == nil {
		second.Close()
		t.Error("a second server has opened the journal")
	}
}

// TestLockOwner shows that the server, which owns the journal's directory, can take
// the lock that root has made, and that root gives away nothing else.
func TestLockOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const server = 12345
	s := newSpool(t)
	dir := filepath.Join(s.Root, spool.JournalDir)
	lock := filepath.Join(dir, "lock")
	if err := os.Chown(dir, server, server); err != nil {
		t.Fatal(err)
	}
	owner := func(path string) uint32 {
		t.Helper()
		st, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Uid
	}
	recovered := func(what string) {
		t.Helper()
		if _, err := Recover(s, quiet); err != nil {
			t.Fatal(err)
		}
		if got := owner(lock); got != server {
			t.Errorf("%s: the lock belongs to %d", what, got)
		}
	}
	recovered("made")
	if err := os.Chown(lock, 0, 0); err != nil {
		t.Fatal(err)
	}
	recovered("found")

	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, link := range map[string]func(string, string) error{"link": os.Link, "symlink": os.Symlink} {
		if err := errors.Join(os.Remove(lock), link(other, lock)); err != nil {
			t.Fatal(err)
		}
		if _, err := Recover(s, quiet); err == nil {
			t.Errorf("%s: taken for the lock", name)
		}
		if got := owner(other); got != 0 {
			t.Errorf("%s: given to %d", name, got)
		}
	}
}
