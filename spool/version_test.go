package spool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestVersion(t *testing.T) {
	root := filepath.Join(t.TempDir(), "spool")
	if err := Create(root, false); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, VersionFile)
	if b, err := os.ReadFile(path); err != nil || string(b) != "1\n" {
		t.Fatalf("%q, %v", b, err)
	}
	for text, ok := range map[string]bool{"1\n": true, "1": true, "2\n": false, "": false, "x": false, "0": false, "-1": false, "99999999999999999999": false} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(root)
		made := Create(root, false)
		if ok != (err == nil) || ok != (made == nil) || !ok && (!errors.Is(err, ErrVersion) || !errors.Is(made, ErrVersion)) {
			t.Errorf("%q: %v, %v", text, err, made)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%q became %q", text, b)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err != nil {
		t.Errorf("a spool from before there was a file: %v", err)
	}
}
