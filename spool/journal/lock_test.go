package journal

import (
	"path/filepath"
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
