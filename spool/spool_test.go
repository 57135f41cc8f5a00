package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zmailer/spool/disk"
	"zmailer/spool/dsn"
)

func newSpool(t testing.TB) *Spool {
	t.Helper()
	root := filepath.Join(t.TempDir(), "postoffice")
	if err := Create(root, false); err != nil {
		t.Fatal(err)
	}
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sampleEnvelope = Envelope{
	External: true, HasFrom: true, From: "ada@example.net", EnvID: "x", Ret: "FULL", RcvdFrom: "h (h [192.0.2.1])",
	With: "ESMTPS", BodyType: "8BITMIME", SMTPUTF8: true, Client: "192.0.2.1", TLS: "TLSv1.3",
	Hold: "a filter asked for it", Tag: "a b", NotBefore: time.Unix(1795590000, 0), DeliverBy: DeliverBy{At: time.Unix(1795600000, 0), Trace: true, Told: true},
	To: []Recipient{{Addr: "bob@example.org", Notify: "SUCCESS,FAILURE", ORcpt: "rfc822;bob@example.org"}, {Addr: `"a b"@example.org`}},
}

const sampleMessage = "Subject: x\n\nbody\n"

func submit(t testing.TB, s *Spool, body string) ID {
	t.Helper()
	id, err := s.SubmitMessage(context.Background(), &sampleEnvelope, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func controlFor(m *Message) *Control {
	return &Control{
		ID: m.ID, Size: m.Size, HeaderOffset: m.Header, BodyOffset: m.Header, Arrival: m.Modified,
		Groups: []Group{{Sender: Hop{"smtp", "", "ada@example.net", 99}, Header: []byte("Subject: x\n\n"),
			Rcpts: []Rcpt{{Hop: Hop{"local", "", "bob", 1001}}}}},
	}
}

func TestSubmitAndOpen(t *testing.T) {
	for _, size := range []int{0, 100, SmallMessage - 10, SmallMessage + 1, 3*SmallMessage + 7} {
		s := newSpool(t)
		body := strings.Repeat("0123456789", size/10+1)[:size]
		id := submit(t, s, body)
		m, err := OpenMessage(s.Path(RouterDir, id), id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(m.File, m.Header, m.Size-m.Header))
		if err != nil || string(got) != body {
			t.Errorf("size %d: read back %d bytes, %v", size, len(got), err)
		}
		if m.Env.From != sampleEnvelope.From || len(m.Env.To) != 2 || m.Env.To[0] != sampleEnvelope.To[0] || m.Env.To[1] != sampleEnvelope.To[1] || m.Env.DeliverBy != sampleEnvelope.DeliverBy {
			t.Errorf("envelope %+v", m.Env)
		}
		m.Close()
		if names, _ := os.ReadDir(filepath.Join(s.Root, PublicDir)); len(names) != 0 {
			t.Errorf("left in public/: %v", names)
		}
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	s := newSpool(t)
	for _, size := range []int{10, 2 * SmallMessage} {
		sub, err := s.Submit(&sampleEnvelope)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sub.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		sub.Abort()
		if err := sub.Commit(context.Background()); err == nil {
			t.Error("commit after abort")
		}
	}
	for _, d := range []string{PublicDir, RouterDir} {
		if names, _ := os.ReadDir(filepath.Join(s.Root, d)); len(names) != 0 {
			t.Errorf("%s: %v", d, names)
		}
	}
}

// A brittleDisk fails to rename, and counts what was closed.
type brittleDisk struct {
	disk.Disk
	fail           bool
	opened, closed int
}

func (d *brittleDisk) Create(path string, mode os.FileMode) (disk.File, error) {
	f, err := d.Disk.Create(path, mode)
	d.opened++
	return &countedFile{f, d}, err
}

func (d *brittleDisk) Rename(from, to string) error {
	if d.fail {
		return syscall.EIO
	}
	return d.Disk.Rename(from, to)
}

type countedFile struct {
	disk.File
	d *brittleDisk
}

func (f *countedFile) Close() error {
	f.d.closed++
	return f.File.Close()
}

// A descriptor that is closed twice is perhaps somebody else's the second time.
func TestSubmissionClosesOnce(t *testing.T) {
	for _, size := range []int{10, 2 * SmallMessage} {
		for _, fail := range []bool{false, true} {
			s := newSpool(t)
			d := &brittleDisk{Disk: disk.OS, fail: fail}
			s.Disk = d
			sub, err := s.Submit(&sampleEnvelope)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := sub.Write(make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if err := sub.Commit(context.Background()); (err != nil) != fail {
				t.Fatalf("commit: %v", err)
			}
			sub.Abort()
			sub.Abort()
			if d.opened != 1 || d.closed != 1 {
				t.Errorf("%d bytes, fail %v: %d opened, %d closed", size, fail, d.opened, d.closed)
			}
			if names, _ := os.ReadDir(filepath.Join(s.Root, PublicDir)); len(names) != 0 {
				t.Errorf("left in public/: %v", names)
			}
		}
	}
}

func TestEnvelopeRefusesInjection(t *testing.T) {
	for _, bad := range []string{"a\nto <x>", "a\rb", "a\x00b", "a\x7f"} {
		for _, env := range []Envelope{{HasFrom: true, From: bad}, {To: []Recipient{{Addr: bad}}}, {FullName: bad}, {EnvID: bad}, {Header: []string{"X: " + bad}}, {Header: []string{bad + ": x"}},
			{To: []Recipient{{Addr: "x", ORcpt: bad}}}} {
			if b, err := env.Append(nil); err == nil {
				t.Errorf("%q was written as %q", bad, b)
			}
		}
	}
}

var badEnvelopes = []string{
	"", "from <a>\n", "frobnicate x\nenv-end\n", "to\nenv-end\n", "to <>\nenv-end\n", "todsn NOTIFY=NEVER\nenv-end\n",
	"todsn NOTIFY=NEVER\ntodsn NOTIFY=NEVER\nto x\nenv-end\n", "todsn FOO=1\nto x\nenv-end\n",
	"notbefore soon\nenv-end\n", "notbefore -1\nenv-end\n", "deliverby\nenv-end\n", "deliverby 5\nenv-end\n", "deliverby 0 N\nenv-end\n", "deliverby 5 X\nenv-end\n", "deliverby 5 TR\nenv-end\n", "header\nenv-end\n", "header no field\nenv-end\n", strings.Repeat("header A: b\n", MaxAddedFields+1) + "env-end\n",
	"from <a\rb>\nenv-end\n", "from <a>\r\nenv-end\n", "envid a\x00b\nenv-end\n", "todsn ORCPT=rfc822;a\x1bb\nto x\nenv-end\n",
	"comment " + strings.Repeat("x", MaxEnvelopeLine+10) + "\nenv-end\n",
}

func TestBadEnvelope(t *testing.T) {
	for _, in := range badEnvelopes {
		_, _, err := ParseEnvelope([]byte(in))
		var bad *BadEnvelope
		if !errors.As(err, &bad) {
			t.Errorf("%.40q: %v, want a BadEnvelope", in, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, in := range badEnvelopes {
		f.Add([]byte(in))
	}
	b, err := sampleEnvelope.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		env, off, err := ParseEnvelope(in)
		if err != nil {
			return
		}
		if off > int64(len(in)) {
			t.Fatalf("offset %d in %d bytes", off, len(in))
		}
		if out, err := env.Append(nil); err == nil {
			if _, _, err := ParseEnvelope(out); err != nil {
				t.Fatalf("%q: written form %q is refused: %v", in, out, err)
			}
		}
	})
}

func TestOpenMessageRefuses(t *testing.T) {
	s := newSpool(t)
	dir := t.TempDir()
	id := NewID()
	plain := filepath.Join(dir, "plain")
	os.WriteFile(plain, []byte("env-end\n"), 0o600)
	link, hard, sub := filepath.Join(dir, "link"), filepath.Join(dir, "hard"), filepath.Join(dir, "sub")
	os.Symlink(plain, link)
	os.Mkdir(sub, 0o700)
	for _, path := range []string{link, sub} {
		if _, err := OpenMessage(path, id); !errors.Is(err, ErrNotRegular) {
			t.Errorf("%s: %v", path, err)
		}
	}
	os.Link(plain, hard)
	if _, err := OpenMessage(plain, id); !errors.Is(err, ErrNotRegular) {
		t.Errorf("two links: %v", err)
	}
	_ = s
}

func TestAppendAfterTornLine(t *testing.T) {
	s := newSpool(t)
	id := submit(t, s, sampleMessage)
	m, err := OpenMessage(s.Path(RouterDir, id), id)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := s.Route(RouterDir, controlFor(m), nil); err != nil {
		t.Fatal(err)
	}
	tear(s, id)
	ev := Event{Rcpts: []int{0}, At: time.Now(), Result: dsn.Perm("5.0.0", "no")}
	if err := s.AppendEvents(id, ev.Append(nil)); err != nil {
		t.Fatal(err)
	}
	c, err := ReadControl(s.ControlPath(id))
	if err != nil || c.Rcpt(0).State != Bounced {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestPool(t *testing.T) {
	s := newSpool(t)
	route := func() *Control {
		id := submit(t, s, sampleMessage)
		m, err := OpenMessage(s.Path(RouterDir, id), id)
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		c := controlFor(m)
		if err := s.Route(RouterDir, c, nil); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := route()
	first.Groups[0].Header = bytes.Repeat([]byte("a long header\n"), 1000)
	os.WriteFile(s.ControlPath(first.ID), first.Append(nil), 0o600)
	ino := func(path string) uint64 {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return st.Sys().(*syscall.Stat_t).Ino
	}
	used := ino(s.ControlPath(first.ID))
	if err := s.Finish(first.ID); err != nil {
		t.Fatal(err)
	}
	s.pool.empty = 0
	second := route()
	if ino(s.ControlPath(second.ID)) != used {
		t.Error("control file was not reused")
	}
	if c, err := ReadControl(s.ControlPath(second.ID)); err != nil || c.Torn || c.ID != second.ID {
		t.Errorf("%+v, %v", c, err)
	}
	// Bounded, also when nobody takes.
	for range poolMax + 3*poolCheck {
		id := NewID()
		os.WriteFile(s.ControlPath(id), nil, 0o600)
		if err := s.Finish(id); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, s, PoolDir); n > poolMax+poolCheck {
		t.Errorf("%d files in the pool", n)
	}
	if n := count(t, s, TransportDir); n != 1 {
		t.Errorf("%d control files left", n)
	}
}

func TestRenameNewNeverReplaces(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	os.WriteFile(a, []byte("a"), 0o600)
	os.WriteFile(b, []byte("b"), 0o600)
	if err := disk.OS.Rename(a, b); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if got, _ := os.ReadFile(b); string(got) != "b" {
		t.Errorf("b is %q", got)
	}
}

func TestWatch(t *testing.T) {
	s := newSpool(t)
	w, err := s.WatchRouter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	want := map[ID]bool{submit(t, s, "a"): true, submit(t, s, "b"): true}
	for len(want) > 0 {
		if err := w.Next(ctx, func(id ID) { delete(want, id) }); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := w.Next(ctx, func(ID) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
}

func BenchmarkSubmit(b *testing.B) {
	s := newSpool(b)
	s.NoSync = true
	body := strings.Repeat("x", 4096)
	b.ReportAllocs()
	for b.Loop() {
		submit(b, s, body)
	}
}
