package router

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

// TestPanic: a message that crashes the router is tried again, and set aside with
// the reason when it does so for the third time.
func TestPanic(t *testing.T) {
	st := newSite(t, nil)
	st.r.now = func() time.Time { panic("poison") }
	id := st.submit(to("joe@example.org"), plainMessage)
	w := newWorker(st.r)
	j := job{id: id, dir: spool.RouterDir}
	for range maxPanics {
		err := w.guarded(context.Background(), j)
		var p *panicError
		if !errors.As(err, &p) {
			t.Fatal(err)
		}
		if !st.in(spool.RouterDir, id) {
			t.Fatal("message is gone")
		}
		st.r.now = time.Now
		st.r.settle(j, err)
		st.r.now = func() time.Time { panic("poison") }
		j.panics++
	}
	why, err := os.ReadFile(st.spool.Path(spool.PostmanDir, id) + ".why")
	if err != nil || !strings.Contains(string(why), "poison") || !st.in(spool.PostmanDir, id) {
		t.Errorf("%q, %v", why, err)
	}
}

// TestInterrupted: a message in work when the router must end stays where it is.
func TestInterrupted(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\nslow() { sleep 60; }\nelsewhere() { slow; }\n"})
	id := st.submit(to("x@far.example"), plainMessage)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := newWorker(st.r).guarded(ctx, job{id: id, dir: spool.RouterDir}); err == nil || !st.in(spool.RouterDir, id) {
		t.Errorf("%v", err)
	}
}

// TestCrashAfterEachStep stops after each thing that routing does to the disk, as
// a crash would, recovers, and expects the message routed once.
func TestCrashAfterEachStep(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after func(st *site, id spool.ID)
	}{
		{"nothing", func(*site, spool.ID) {}},
		{"rename to queue", func(st *site, id spool.ID) {
			st.move(st.spool.Path(spool.RouterDir, id), st.spool.QueuePath(id))
		}},
		{"half a control file", func(st *site, id spool.ID) {
			st.move(st.spool.Path(spool.RouterDir, id), st.spool.QueuePath(id))
			if err := os.WriteFile(st.spool.ControlPath(id), []byte("v\t1\ni\t"+string(id)+"\t1"), 0o600); err != nil {
				st.t.Fatal(err)
			}
		}},
		{"copy in public", func(st *site, id spool.ID) {
			if err := os.WriteFile(st.spool.Root+"/public/1.copy", []byte("env-end\n"), 0o600); err != nil {
				st.t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := newSite(t, nil)
			id := st.submit(to("joe@example.org"), plainMessage)
			tt.after(st, id)
			if _, err := st.spool.Recover(func(spool.ID, string) {}); err != nil {
				t.Fatal(err)
			}
			if err := st.route(id); err != nil {
				t.Fatal(err)
			}
			if got := rcpts(st.read(id)); got != "[sender@remote.example]; local joe joe@example.org" || st.in(spool.RouterDir, id) {
				t.Error(got)
			}
		})
	}
}

func (st *site) move(from, to string) {
	st.t.Helper()
	if err := os.Rename(from, to); err != nil {
		st.t.Fatal(err)
	}
}
