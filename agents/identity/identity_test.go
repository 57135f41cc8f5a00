package identity

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

func needRoot(t testing.TB) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func TestDoAsRoot(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for uid := 3001; uid < 3033; uid++ {
		wg.Go(func() {
			id := Identity{UID: uid, GID: uid + 1000, Groups: []int{uid + 1000, 4999}}
			for range 20 {
				name := filepath.Join(dir, id.Key())
				err := id.Do(func() error {
					if _, err := os.ReadFile(secret); !errors.Is(err, os.ErrPermission) {
						t.Errorf("uid %d reads a file of root: %v", uid, err)
					}
					if err := os.WriteFile(name, nil, 0o600); err != nil {
						return err
					}
					return os.Chown(name, -1, 4999) // allowed for a group of one's own
				})
				if err != nil {
					t.Error(err)
					return
				}
				st, err := os.Stat(name)
				if err != nil || int(st.Sys().(*syscall.Stat_t).Uid) != uid {
					t.Errorf("owner of %s: %v", name, err)
				}
				if _, err := os.ReadFile(secret); err != nil {
					t.Errorf("root again: %v", err)
				}
				if err := os.Remove(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDoAfterPanic(t *testing.T) {
	needRoot(t)
	func() {
		defer func() { recover() }()
		Identity{UID: 3001, GID: 3001}.Do(func() error { panic("x") })
	}()
	if os.Geteuid() != 0 || syscall.Getegid() != os.Getgid() {
		t.Error("identity was not given back")
	}
}

func TestCheck(t *testing.T) {
	if err := (Identity{UID: os.Geteuid()}).Check(); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		if err := (Identity{UID: os.Geteuid() + 1}).Do(func() error { return nil }); !errors.Is(err, ErrOther) {
			t.Errorf("another user: %v", err)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	needRoot(b)
	id := Identity{UID: 3001, GID: 3001, Groups: []int{3001, 3002}}
	for b.Loop() {
		id.Do(func() error { return nil })
	}
}
