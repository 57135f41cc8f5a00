package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"zmailer/spool"
)

// TestNotRegular puts things that are no files of ours into the journal's directory,
// which is not root's: nobody hangs, and nobody is led elsewhere.
func TestNotRegular(t *testing.T) {
	other := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "other")
		b := append((&segment{epoch: 7}).header("00000000-0000-0000-0000-000000000000"), make([]byte, 64)...)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	things := map[string]func(t *testing.T, path string) error{
		"fifo":    func(_ *testing.T, path string) error { return syscall.Mkfifo(path, 0o600) },
		"symlink": func(t *testing.T, path string) error { return os.Symlink(other(t), path) },
		"link":    func(t *testing.T, path string) error { return os.Link(other(t), path) },
	}
	for thing, make := range things {
		for _, name := range []string{"00000001.seg", "00000001.kept.seg", "done.earlier", "lock"} {
			t.Run(thing+" "+name, func(t *testing.T) {
				s := newSpool(t)
				path := filepath.Join(s.Root, spool.JournalDir, name)
				if err := make(t, path); err != nil {
					t.Fatal(err)
				}
				if _, err := Recover(s, quiet); err == nil {
					t.Error("recovered")
				}
				if j, err := Open(s, quiet); err == nil {
					j.Close()
					t.Error("opened")
				}
				if _, err := Inspect(path); !errors.Is(err, spool.ErrNotRegular) {
					t.Errorf("inspected: %v", err)
				}
				if _, err := openSegment(diskOf(s), path); err == nil {
					t.Error("opened for writing")
				}
			})
		}
		t.Run(thing+" done log", func(t *testing.T) {
			s := newSpool(t)
			var failed error
			d, err := OpenDone(s, func(err error) { failed = err })
			if err != nil {
				t.Fatal(err)
			}
			if err := make(t, d.path); err != nil {
				t.Fatal(err)
			}
			d.Done(spool.NewID())
			d.Close()
			if failed == nil {
				t.Error("written")
			}
		})
		t.Run(thing+" message", func(t *testing.T) {
			s := newSpool(t)
			j, err := Open(s, quiet)
			if err != nil {
				t.Fatal(err)
			}
			id := spool.NewID()
			if err := j.Append(context.Background(), id, message(1)); err != nil {
				t.Fatal(err)
			}
			stopHard(j)
			crash(t, s)
			if err := make(t, s.Path(spool.RouterDir, id)); err != nil {
				t.Fatal(err)
			}
			if st, err := Recover(s, quiet); err != nil || st.Restored != 1 {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}
