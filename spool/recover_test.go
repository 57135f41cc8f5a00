package spool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zmailer/spool/dsn"
)

// TestStopAfterEachStep leaves the spool as a crash after each step of routing and
// finishing would, recovers, and checks the promise of the state table.
func TestStopAfterEachStep(t *testing.T) {
	type result struct {
		router, queue, transport, postman int
		rec                               Recovered
	}
	steps := []struct {
		name string
		do   func(s *Spool, m *Message, c *Control)
		want result
	}{
		{"submitted", func(*Spool, *Message, *Control) {}, result{router: 1}},
		{"message moved", func(s *Spool, m *Message, c *Control) {
			os.Rename(s.Path(RouterDir, m.ID), s.QueuePath(m.ID))
		}, result{router: 1, rec: Recovered{Requeued: 1}}},
		{"control file created", func(s *Spool, m *Message, c *Control) {
			os.Rename(s.Path(RouterDir, m.ID), s.QueuePath(m.ID))
			os.WriteFile(s.ControlPath(m.ID), nil, 0o600)
		}, result{router: 1, rec: Recovered{Requeued: 1}}},
		{"control file half written", func(s *Spool, m *Message, c *Control) {
			os.Rename(s.Path(RouterDir, m.ID), s.QueuePath(m.ID))
			b := c.Append(nil)
			os.WriteFile(s.ControlPath(m.ID), b[:len(b)-1], 0o600)
		}, result{router: 1, rec: Recovered{Requeued: 1}}},
		{"routed", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
		}, result{queue: 1, transport: 1}},
		{"event appended", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			ev := Event{Rcpts: []int{0}, At: time.Now(), Next: time.Now(), Result: dsn.Temp("4.0.0", "later")}
			s.AppendEvents(m.ID, ev.Append(nil))
		}, result{queue: 1, transport: 1}},
		{"event torn", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			tear(s, m.ID)
		}, result{queue: 1, transport: 1}},
		{"message unlinked, all done", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			ev := Event{Rcpts: []int{0}, At: time.Now(), Result: dsn.Success("2.0.0", "ok")}
			s.AppendEvents(m.ID, ev.Append(nil))
			os.Remove(s.QueuePath(m.ID))
		}, result{rec: Recovered{Orphans: 1}}},
		{"message lost, work left", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			os.Remove(s.QueuePath(m.ID))
		}, result{postman: 1, rec: Recovered{Quarantined: 1}}},
		{"reused file under its old name", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			other := *c
			other.ID = NewID()
			os.WriteFile(s.ControlPath(m.ID), other.Append(nil), 0o600)
			os.Remove(s.RunPath("boot"))
		}, result{router: 1, rec: Recovered{Requeued: 1}}},
		{"reused file, old end left", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			b := c.Append(nil)
			b = append(b[:len(b)/2], bytes.Repeat([]byte("old content\n"), 10)...)
			os.WriteFile(s.ControlPath(m.ID), append(b, c.Append(nil)[len(b)/3:]...), 0o600)
			os.Remove(s.RunPath("boot"))
		}, result{router: 1, rec: Recovered{Requeued: 1}}},
		{"finished", func(s *Spool, m *Message, c *Control) {
			s.Route(RouterDir, c, nil)
			s.Finish(m.ID)
		}, result{}},
	}
	for _, step := range steps {
		t.Run(step.name, func(t *testing.T) {
			s := newSpool(t)
			id := submit(t, s, sampleMessage)
			m, err := OpenMessage(s.Path(RouterDir, id), id)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			step.do(s, m, controlFor(m))
			for range 2 { // recovery that is itself interrupted and repeated changes nothing
				rec, err := s.Recover(func(ID, string) {})
				if err != nil {
					t.Fatal(err)
				}
				step.want.rec, rec = rec, step.want.rec
				if step.want.rec != rec && rec != (Recovered{}) {
					t.Errorf("recovered %+v, want %+v", step.want.rec, rec)
				}
				step.want.rec = Recovered{}
			}
			got := result{router: count(t, s, RouterDir), queue: count(t, s, QueueDir), transport: count(t, s, TransportDir), postman: count(t, s, PostmanDir)}
			if got != step.want {
				t.Errorf("got %+v, want %+v", got, step.want)
			}
			if got.router == 1 {
				b, _ := os.ReadFile(s.Path(RouterDir, id))
				if !bytes.HasSuffix(b, []byte(sampleMessage)) {
					t.Errorf("message is damaged: %q", b)
				}
			}
		})
	}
}

// A message that the file system refuses does not keep the router from the others.
func TestRecoverGoesOn(t *testing.T) {
	s := newSpool(t)
	bad, twice, good := submit(t, s, "bad\n"), submit(t, s, "twice\n"), submit(t, s, "good\n")
	for _, id := range []ID{bad, twice, good} {
		os.Rename(s.Path(RouterDir, id), s.QueuePath(id))
	}
	os.Mkdir(s.ControlPath(bad), 0o700) // cannot be read as a file
	os.WriteFile(s.Path(RouterDir, twice), []byte("env-end\nthe other\n"), 0o600)
	rec, err := s.Recover(func(ID, string) {})
	if want := (Recovered{Requeued: 1, Quarantined: 1, Failed: 1}); err != nil || rec != want {
		t.Errorf("recovered %+v, %v, want %+v", rec, err, want)
	}
	for _, path := range []string{s.QueuePath(bad), s.Path(PostmanDir, twice), s.Path(RouterDir, twice), s.Path(RouterDir, good)} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

// tear leaves what a process that dies in the middle of an event leaves.
func tear(s *Spool, id ID) {
	b, _ := os.ReadFile(s.ControlPath(id))
	os.WriteFile(s.ControlPath(id), append(b, "+\t0\t17"...), 0o600)
}

func count(t *testing.T, s *Spool, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Root, dir), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSweep(t *testing.T) {
	s := newSpool(t)
	old := filepath.Join(s.Root, PublicDir, "1.old")
	os.WriteFile(old, nil, 0o600)
	os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour))
	os.WriteFile(filepath.Join(s.Root, PublicDir, "1.new"), nil, 0o600)
	os.Symlink(old, filepath.Join(s.Root, PublicDir, "1.link"))
	if n, err := s.Sweep(24 * time.Hour); n != 1 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	for i := range 3000 { // more than are read at once
		path := filepath.Join(s.Root, PublicDir, fmt.Sprintf("2.%d", i))
		os.WriteFile(path, nil, 0o600)
		os.Chtimes(path, time.Time{}, time.Now().Add(-25*time.Hour))
	}
	if n, err := s.Sweep(24 * time.Hour); n != 3000 || err != nil {
		t.Errorf("removed %d of 3000, %v", n, err)
	}
}
