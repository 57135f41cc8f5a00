package load

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCheck(t *testing.T) {
	m := &Message{ID: "r1-7", To: []string{"joe"}, Size: 5000}
	text := append([]byte("Return-Path: <x>\n"), m.Text()...)
	if id, err := Check(text); id != m.ID || err != nil {
		t.Fatalf("whole message: %q, %v", id, err)
	}
	for _, n := range []int{len(text) - 1, len(text) / 2, len(text) - 5000} {
		if _, err := Check(text[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: not noticed", n, len(text))
		}
	}
	text[len(text)-100] ^= 1
	if _, err := Check(text); err == nil {
		t.Error("changed byte: not noticed")
	}
	if _, err := Check(append([]byte("Subject: report\n\n"), m.Text()...)); err != ErrForeign {
		t.Errorf("report: %v", err)
	}
	if _, err := Check([]byte("Subject: x\n\nhello\n")); err != ErrForeign {
		t.Errorf("foreign message: %v", err)
	}
}

func TestCount(t *testing.T) {
	dir := t.TempDir()
	m := &Message{ID: "a", To: []string{"joe"}}
	for _, name := range []string{"new/1", "cur/2"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append([]byte("X: y\n"), m.Text()...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/new/3", bytes.ToUpper(m.Text()), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := Maildirs(map[string]string{"joe": dir})
	if err != nil || c.Places["a"]["joe"] != 2 || c.Foreign != 1 || len(c.Damaged) != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
}
