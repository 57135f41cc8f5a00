package cdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func build(t testing.TB, path string, kv ...string) {
	t.Helper()
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(kv); i += 2 {
		if err := w.Put(kv[i], kv[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, r *Reader, key string) string {
	t.Helper()
	v, ok, err := r.Get(key)
	if err != nil || !ok {
		t.Fatalf("Get(%q) = %v, %v", key, ok, err)
	}
	return v
}

func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.cdb")
	var kv []string
	for i := range 5000 {
		kv = append(kv, fmt.Sprint("key", i), strings.Repeat("v", i%300))
	}
	kv = append(kv, "", "empty", "dup", "1", "dup", "2", "bin\x00ary\xff", "\n")
	build(t, path, kv...)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(kv); i += 2 {
		want := kv[i+1]
		if kv[i] == "dup" {
			want = "1"
		}
		if got := get(t, r, kv[i]); got != want {
			t.Errorf("Get(%q) = %q, want %q", kv[i], got, want)
		}
	}
	if _, ok, err := r.Get("none"); ok || err != nil {
		t.Errorf("Get(none) = %v, %v", ok, err)
	}
	n := 0
	err = r.Each(func(k, v []byte) error {
		if string(k) != kv[2*n] || string(v) != kv[2*n+1] {
			t.Errorf("record %d is %q %q", n, k, v)
		}
		n++
		return nil
	})
	if err != nil || n != len(kv)/2 || r.Len() != n {
		t.Errorf("Each: %d of %d records, Len %d, %v", n, len(kv)/2, r.Len(), err)
	}
}

func TestEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.cdb")
	build(t, path)
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.Get("x"); ok || err != nil || r.Len() != 0 {
		t.Errorf("Get = %v, %v, Len = %d", ok, err, r.Len())
	}
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.cdb")
	build(t, path, "k", "old")
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	old, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second writer: %v", err)
	}
	if err := w.Put("k", "aborted"); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	if get(t, old, "k") != "old" {
		t.Error("Abort changed the database")
	}
	build(t, path, "k", "new")
	if get(t, old, "k") != "old" {
		t.Error("an open reader sees another version")
	}
	now, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if get(t, now, "k") != "new" {
		t.Error("the new version is not in place")
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want that of the old file", st.Mode(), err)
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("temporary file left behind")
	}
}

func TestCommitFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err == nil {
		t.Error("a directory was replaced")
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("temporary file left behind")
	}
	if _, err := Create(filepath.Join(path, "none", "t.cdb")); err == nil {
		t.Error("created in a directory that does not exist")
	}
}

func TestNoSymlink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []func(string, string) error{os.Symlink, os.Link} {
		path := filepath.Join(dir, "t.cdb")
		if err := link(victim, path+".new"); err != nil {
			t.Fatal(err)
		}
		if _, err := Create(path); err == nil {
			t.Error("wrote through a link")
		}
		if b, err := os.ReadFile(victim); err != nil || string(b) != "precious" {
			t.Errorf("victim is %q, %v", b, err)
		}
		if err := os.Remove(path + ".new"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBounds(t *testing.T) {
	w, err := Create(filepath.Join(t.TempDir(), "t.cdb"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if w.Put(strings.Repeat("k", MaxKey+1), "v") == nil || w.Put("k", strings.Repeat("v", MaxValue+1)) == nil {
		t.Error("a record too large was taken")
	}
}

func image(t testing.TB, kv ...string) []byte {
	path := filepath.Join(t.TempDir(), "t.cdb")
	build(t, path, kv...)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHostile(t *testing.T) {
	good := image(t, "key", "value")
	at := int(hash("key")&255) * 8
	table := binary.LittleEndian.Uint32(good[at:])
	patch := func(off int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[off:], v)
		return b
	}
	slotAt := int(table) + int((hash("key")>>8)%2)*8
	for name, b := range map[string][]byte{
		"empty":               {},
		"header cut":          good[:headerSize-1],
		"table cut":           good[:len(good)-1],
		"table far away":      patch(at, 1<<32-1),
		"table in the header": patch(at, 8),
		"too many slots":      patch(at+4, 1<<32-1),
		"record far away":     patch(slotAt+4, 1<<32-2),
		"record in header":    patch(slotAt+4, 16),
		"key too long":        patch(headerSize, 1<<32-1),
		"value too long":      patch(headerSize+4, 1<<32-1),
	} {
		r, err := New(b)
		if err == nil {
			_, _, err = r.Get("key")
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func TestFileCutWhileMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t.cdb")
	build(t, path, "key", strings.Repeat("v", 100<<10))
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Get("key"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get = %v, want ErrCorrupt", err)
	}
	if err := r.Each(func(k, v []byte) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Each = %v, want ErrCorrupt", err)
	}
}

// TestTinycdb proves the format against another implementation.
func TestTinycdb(t *testing.T) {
	tool, err := exec.LookPath("cdb")
	if err != nil {
		t.Skip("the cdb command of tinycdb is not installed")
	}
	dir := t.TempDir()
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	var kv []string
	var in bytes.Buffer
	for i := range 1000 {
		k, v := fmt.Sprint("key", i), fmt.Sprint("value", i*i)
		kv = append(kv, k, v)
		fmt.Fprintf(&in, "+%d,%d:%s->%s\n", len(k), len(v), k, v)
	}
	in.WriteString("\n")
	build(t, ours, kv...)
	dump, err := exec.Command(tool, "-d", ours).Output()
	if err != nil || !bytes.Equal(dump, in.Bytes()) {
		t.Errorf("cdb -d of our file differs: %v", err)
	}
	out, err := exec.Command(tool, "-q", ours, "key77").Output()
	if err != nil || string(out) != "value5929" {
		t.Errorf("cdb -q of our file = %q, %v", out, err)
	}
	cmd := exec.Command(tool, "-c", theirs)
	cmd.Stdin = &in
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cdb -c: %v %s", err, msg)
	}
	r, err := Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(kv); i += 2 {
		if got := get(t, r, kv[i]); got != kv[i+1] {
			t.Errorf("Get(%q) = %q, want %q", kv[i], got, kv[i+1])
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(image(f, "key", "value", "a", "b", "key", "2"), "key")
	f.Add(make([]byte, headerSize), "")
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		r, err := New(data)
		if err != nil {
			return
		}
		if _, _, err := r.Get(key); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("Get: %v", err)
		}
		if err := r.Each(func(k, v []byte) error { return nil }); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("Each: %v", err)
		}
	})
}

func BenchmarkGet(b *testing.B) {
	path := filepath.Join(b.TempDir(), "t.cdb")
	var kv []string
	for i := range 100000 {
		kv = append(kv, fmt.Sprint("user", i), "somebody@example.org")
	}
	build(b, path, kv...)
	r, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		if _, ok, err := r.Get(kv[i]); !ok || err != nil {
			b.Fatal(ok, err)
		}
		i = (i + 7919*2) % len(kv)
	}
}
