package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"zmailer/testdata/load"
)

func TestLedger(t *testing.T) {
	l := newLedger()
	for _, s := range []string{
		"ack 1-0-0 joe,ann", "ack 1-0-1 joe", "ack 1-0-2 joe", "no 1-0-3 400 later",
		"have 1-0-0 joe 2", "have 1-0-0 ann 1", "held 1-0-1 deferred", "have 1-0-9 joe 1", "fsck 0",
	} {
		l.line(s)
	}
	got, lost := l.tally()
	if want := (load.Tally{Acked: 3, Recipients: 4, Delivered: 2, Held: 1, Lost: 1, Duplicates: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(lost) != 1 || len(l.trouble) != 0 {
		t.Errorf("lost %q, trouble %q", lost, l.trouble)
	}
	l.booted() // 1-0-1 must be seen again
	if got, _ := l.tally(); got.Lost != 2 {
		t.Errorf("after another boot: %+v", got)
	}
	l.line("no 1-0-4 550 never")
	if len(l.trouble) != 1 {
		t.Errorf("a refusal for good is no trouble: %q", l.trouble)
	}
}

// TestPowerCut shows that flushed writes survive, that others may not, and that
// nothing is written after the cut.
func TestPowerCut(t *testing.T) {
	dir := t.TempDir()
	stable := filepath.Join(dir, "stable")
	if err := os.WriteFile(stable, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := openDisk(stable, filepath.Join(dir, "now"))
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	block := func(c byte) []byte {
		b := make([]byte, 4096)
		for i := range b {
			b[i] = c
		}
		return b
	}
	if err := d.write(block('a'), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		if err := d.write(block('b'), int64(i+1)*4096); err != nil {
			t.Fatal(err)
		}
	}
	l, err := d.powerCut(rand.New(rand.NewPCG(1, 2)))
	if err != nil || l.kept+l.lost+l.torn != 12 || l.lost == 0 || l.torn == 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	if d.write(block('c'), 0) != errCut || d.flush() != errCut {
		t.Error("the disk works without power")
	}
	b, err := os.ReadFile(stable)
	if err != nil || string(b[:4096]) != string(block('a')) {
		t.Errorf("what was flushed is gone: %v", err)
	}
}
