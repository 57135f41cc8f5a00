package secret

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name, text string
		mode       os.FileMode
		wantErr    string
	}{
		{"good", "key", 0o600, ""},
		{"read-only", "key", 0o400, ""},
		{"full", "12345678", 0o600, ""},
		{"large", "123456789", 0o600, "at most 8"},
		{"group", "key", 0o640, "read by others"},
		{"others", "key", 0o604, "read by others"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path, 8)
		switch {
		case tt.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: error %v, want %q", tt.name, err, tt.wantErr)
			}
		case err != nil || string(got) != tt.text:
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, "/dev/null", filepath.Join(dir, "none")} {
		if _, err := Read(path, 8); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}
