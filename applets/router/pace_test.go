package router

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

// hanging is a policy whose function for hang.example says so in the log and hangs.
const hanging = `. cf/router.cf
elsewhere() {
	case $2 in
	hang.example)
		log hanging
		while :; do sleep 60; done
		;;
	esac
	deliver smtp "$2" "$1"
}
`

// impatient has the time for a decision be over as soon as the policy hangs.
func impatient(st *site, w *worker) {
	st.r.limits.stall = time.Hour
	st.log.told = func(line []byte) {
		if bytes.Contains(line, []byte("text=hanging")) {
			w.pace.late()
		}
	}
}

// TestHangs: a message whose policy hangs for one recipient waits, and nothing is asked
// about the others.
func TestHangs(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": hanging})
	w := newWorker(st.r)
	impatient(st, w)
	id := st.submit(to("x@hang.example", "y@hang.example", "z@far.example"), plainMessage)
	if err := w.guarded(t.Context(), job{id: id, dir: spool.RouterDir}); !errors.Is(err, errDeferred) || !st.in(spool.DeferredDir, id) {
		t.Fatalf("%v\n%s", err, st.log)
	}
	log := st.log.String()
	if strings.Count(log, "text=hanging") != 1 || strings.Contains(log, "z@far.example") || !strings.Contains(log, "no decision within") {
		t.Errorf("log:\n%s", log)
	}
}

// TestHangsTooLong: when its time is over, the recipients for whom the policy hangs go
// back, and the others get the message.
func TestHangsTooLong(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": hanging})
	w := newWorker(st.r)
	impatient(st, w)
	st.r.now = func() time.Time { return time.Now().Add(6 * 24 * time.Hour) }
	id := st.submit(to("x@hang.example", "joe@example.org", "y@hang.example", "z@far.example"), plainMessage)
	if err := w.guarded(t.Context(), job{id: id, dir: spool.RouterDir}); err != nil {
		t.Fatalf("%v\n%s", err, st.log)
	}
	want := "[sender@remote.example]; error 5.4.7 x@hang.example " + tooLate + "; local joe joe@example.org; error 5.4.7 y@hang.example " + tooLate + "; smtp far.example z@far.example"
	if got := rcpts(st.read(id)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestArrival: a message is as old as its file, whenever it came into this spool; that
// is what the scheduler counts from too. Nobody makes his own younger than it is.
func TestArrival(t *testing.T) {
	st := newSite(t, map[string]string{
		"router.cf": ". cf/router.cf\nrelation -t text -f %d/missing gone\nelsewhere() { gone \"$2\"; }\n",
		"db/users":  "joe 0 0 /nonexistent\nmallory 4321 4321 /nonexistent\n",
	})
	arrived := func(id spool.ID, at time.Time) {
		t.Helper()
		if err := os.Chtimes(st.spool.Path(spool.RouterDir, id), at, at); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-6 * 24 * time.Hour).Truncate(time.Second)
	id := st.submit(to("x@far.example"), plainMessage)
	arrived(id, old)
	if err := st.route(id); err != nil {
		t.Fatal(err)
	}
	if c := st.read(id); !strings.Contains(rcpts(c), "error 5.4.7") || !c.Arrival.Equal(old) {
		t.Errorf("%s, arrival %v", rcpts(c), c.Arrival)
	}
	id = st.submit(to("joe@example.org"), plainMessage)
	arrived(id, time.Now().Add(1000*time.Hour))
	st.stranger(id)
	if err := st.route(id); err != nil {
		t.Fatal(err)
	}
	if c := st.read(id); c.Arrival.After(time.Now()) {
		t.Errorf("arrives at %v", c.Arrival)
	}
}

// TestRewriteExpires: a message whose header the policy cannot rewrite goes back in the
// end.
func TestRewriteExpires(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\ncrossbar() { rewriting x; }\nrewrite() { nosuchcommand; }\n"})
	id := st.submit(to("x@far.example"), plainMessage)
	if err := st.route(id); !errors.Is(err, errDeferred) {
		t.Fatalf("%v\n%s", err, st.log)
	}
	st.r.now = func() time.Time { return time.Now().Add(6 * 24 * time.Hour) }
	if err := st.routeFrom(job{id: id, dir: spool.DeferredDir}); err != nil {
		t.Fatal(err)
	}
	if got, want := rcpts(st.read(id)), "[sender@remote.example]; error 5.4.7 x@far.example "+tooLate; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
