package disk

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// leave undoes Enter, which no program does.
func leave() {
	if b := base.Swap(nil); b != nil {
		unix.Close(b.fd)
	}
}

func TestEnter(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "queue"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Enter(filepath.Join(root, "missing")); err == nil {
		t.Fatal("entered a directory that is not there")
	}
	if err := Enter(root); err != nil {
		t.Fatal(err)
	}
	defer leave()
	for _, from := range []string{root + "/new", root + "//new", other + "/new"} {
		f, err := OS.Create(from, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte("text"))
		f.Close()
		to := root + "/queue/id"
		if err := OS.Rename(from, to); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(to); string(b) != "text" {
			t.Errorf("%s: read %q, %v", from, b, err)
		}
		if err := OS.Remove(to); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(to); err == nil {
			t.Errorf("%s: still there", to)
		}
	}
	// A neighbour whose name begins alike is not below it.
	if dir, _ := at(root + "2/x"); dir != unix.AT_FDCWD {
		t.Error("a path beside the directory is resolved from it")
	}
}

func BenchmarkOpen(b *testing.B) {
	root := b.TempDir()
	path := filepath.Join(root, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	open := func(b *testing.B) {
		for b.Loop() {
			fd, err := OpenFD(path, unix.O_RDONLY, 0)
			if err != nil {
				b.Fatal(err)
			}
			unix.Close(fd)
		}
	}
	b.Run("from the root", open)
	if err := Enter(root); err != nil {
		b.Fatal(err)
	}
	defer leave()
	b.Run("from the spool", open)
}
