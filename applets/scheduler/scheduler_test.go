package scheduler

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

func TestDelivered(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/b.test/ben@b.test", "local//eve"}})
		synctest.Wait()
		if n := len(w.tried()); n != 3 {
			t.Errorf("%d attempts, want 3", n)
		}
		if !w.gone(id) {
			t.Error("message is still there")
		}
		for _, want := range []string{"msg=delivered spoolid=" + string(id) + " to=joe@b.test", "msg=done spoolid=" + string(id)} {
			if !strings.Contains(w.log.String(), want) {
				t.Errorf("log lacks %s", want)
			}
		}
		if w.q.stats.messages != 0 || w.q.stats.rcpts != 0 {
			t.Errorf("counters: %d messages, %d recipients", w.q.stats.messages, w.q.stats.rcpts)
		}
	})
}

// times gives the seconds from start at which recipients were tried.
func times(start time.Time, tries []try) []int {
	var s []int
	for _, tr := range tries {
		s = append(s, int(tr.at.Sub(start).Round(time.Second)/time.Second))
	}
	return s
}

func TestRetryTable(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		start := time.Now()
		w.setAnswer(func(tr try) dsn.Result { return dsn.Temp("4.2.2", "mailbox full") })
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		time.Sleep(22 * time.Minute)
		want := []int{0, 60, 180, 360, 660, 960, 1260}
		got := times(start, w.tried())
		if len(got) != len(want) {
			t.Fatalf("tried at %v, want %v", got, want)
		}
		for i := range want {
			if d := got[i] - want[i]; d < 0 || d > i+1 {
				t.Fatalf("tried at %v, want %v", got, want)
			}
		}
		c := w.control(id)
		r := c.Rcpt(0)
		if r.Attempts != 7 || r.State != spool.Pending || !r.Next.After(time.Now()) || r.Last.Text != "mailbox full" {
			t.Errorf("control file: %+v", r)
		}
	})
}

func TestFailureReport(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "joe@b.test" {
				return dsn.Result{Action: dsn.Failed, Status: "5.1.1", Text: "550 no such user", Relay: "mx.b.test", Remote: true}
			}
			return dsn.Success("2.0.0", "ok")
		})
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/c.test/ben@c.test"}})
		synctest.Wait()
		if !w.gone(id) {
			t.Error("message is still there")
		}
		reports := w.reports()
		if len(reports) != 1 {
			t.Fatalf("%d reports", len(reports))
		}
		for _, want := range []string{"errormsg\n", "from <>\n", "to <ann@a.test>\n", "5.1.1", "joe@b.test"} {
			if !strings.Contains(reports[0], want) {
				t.Errorf("report lacks %q:\n%s", want, reports[0])
			}
		}
		if strings.Contains(reports[0], "ben@c.test") {
			t.Error("report names a recipient that got the message")
		}
	})
}
