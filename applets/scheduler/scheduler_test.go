package scheduler

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// TestDeadDestination: a destination that cannot be reached is left alone as a
// whole; another one does not notice.
func TestDeadDestination(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		start := time.Now()
		w.setAnswer(func(tr try) dsn.Result {
			if tr.host == "dead.test" {
				return dsn.Result{Action: dsn.RetryAt, Status: "4.4.1", Text: "connection refused"}
			}
			return dsn.Success("2.0.0", "ok")
		})
		var ids []spool.ID
		for range 40 {
			ids = append(ids, w.send(letter{from: "ann@a.test", to: []string{"smtp/dead.test/joe"}}))
		}
		synctest.Wait()
		if n := len(w.tried()); n > 2 {
			t.Errorf("%d attempts at once on a dead destination, want at most initial=2", n)
		}
		time.Sleep(30 * time.Second)
		live := w.send(letter{from: "ann@a.test", to: []string{"smtp/live.test/joe"}})
		late := w.send(letter{from: "ann@a.test", to: []string{"smtp/dead.test/joe"}})
		synctest.Wait()
		if !w.gone(live) {
			t.Error("live destination waits for the dead one")
		}
		tries := w.tried()
		if last := tries[len(tries)-1]; last.id == late {
			t.Error("new mail wakes a destination that is in back-off")
		}
		// The second failure waits 2 intervals, with one probe each.
		time.Sleep(4*time.Minute + 30*time.Second)
		n := 0
		for _, at := range times(start, w.tried()) {
			if at > 0 && at != 30 {
				n++
			}
		}
		if n != 2 {
			t.Errorf("%d probes at %v, want 2", n, times(start, w.tried()))
		}
		w.setAnswer(func(tr try) dsn.Result { return dsn.Success("2.0.0", "ok") })
		time.Sleep(5 * time.Minute)
		for _, id := range append(ids, late) {
			if !w.gone(id) {
				t.Fatalf("%s was not delivered when the destination recovered", id)
			}
		}
	})
}

func TestExpiry(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.host == "dead.test" {
				return dsn.Result{Action: dsn.RetryAt, Status: "4.4.1", Text: "connection refused"}
			}
			return dsn.Temp("4.2.2", "mailbox full")
		})
		full := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		dead := w.send(letter{from: "bob@a.test", to: []string{"smtp/dead.test/ben@dead.test"}})
		null := w.send(letter{to: []string{"smtp/b.test/nobody@b.test"}})
		time.Sleep(3 * time.Hour)
		if n := len(w.reports()); n != 0 {
			t.Fatalf("%d reports after 3 hours", n)
		}
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		reports := w.reports()
		if len(reports) != 2 {
			t.Fatalf("%d delay warnings, want 2", len(reports))
		}
		if all := strings.Join(reports, ""); !strings.Contains(all, "Action: delayed") {
			t.Errorf("no delay warning:\n%s", all)
		}
		time.Sleep(18 * time.Hour)
		if n := len(w.reports()); n != 2 {
			t.Errorf("%d reports after 22 hours: the warning is to be given once", n)
		}
		if w.gone(full) {
			t.Error("gone before its time")
		}
		time.Sleep(2*time.Hour + time.Minute)
		synctest.Wait()
		for _, id := range []spool.ID{full, dead, null} {
			if !w.gone(id) {
				t.Errorf("%s is there after its time", id)
			}
		}
		all := strings.Join(w.reports(), "")
		for _, want := range []string{"5.4.7", "could not be delivered within 24 hours", "mailbox full", "connection refused", "Action: failed"} {
			if !strings.Contains(all, want) {
				t.Errorf("reports lack %q", want)
			}
		}
		if n := len(w.reports()); n != 4 {
			t.Errorf("%d reports, want 4: none about mail without a sender", n)
		}
		if !strings.Contains(w.log.String(), "msg=\"double bounce\"") {
			t.Error("double bounce is not in the log")
		}
	})
}

func TestDoubleBounceCopy(t *testing.T) {
	inBubble(t, testConf+"queue double-bounce=postmaster@mx.test\n", func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result { return dsn.Perm("5.1.1", "no such user") })
		id := w.send(letter{errmsg: true, from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		synctest.Wait()
		if reports := w.reports(); len(reports) != 1 || !strings.Contains(reports[0], "to <postmaster@mx.test>") {
			t.Errorf("reports: %v", reports)
		}
		if !w.gone(id) {
			t.Error("message is still there")
		}
	})
}

// notifyRows: NOTIFY and outcome, and whether a report follows.
var notifyRows = []struct {
	notify string
	result dsn.Result
	want   bool
}{
	{"", dsn.Success("2.0.0", "ok"), false},
	{"", dsn.Perm("5.1.1", "no"), true},
	{"NEVER", dsn.Perm("5.1.1", "no"), false},
	{"NEVER", dsn.Success("2.0.0", "ok"), false},
	{"SUCCESS", dsn.Success("2.0.0", "ok"), true},
	{"SUCCESS", dsn.Perm("5.1.1", "no"), false},
	{"FAILURE", dsn.Success("2.0.0", "ok"), false},
	{"FAILURE", dsn.Perm("5.1.1", "no"), true},
	{"DELAY", dsn.Perm("5.1.1", "no"), false},
	{"SUCCESS,FAILURE", dsn.Success("2.0.0", "ok"), true},
	{"SUCCESS,FAILURE,DELAY", dsn.Perm("5.1.1", "no"), true},
	{"SUCCESS", dsn.Result{Action: dsn.OK, Status: "2.0.0", Remote: true, Text: "250 ok"}, false},
	{"SUCCESS", dsn.Result{Action: dsn.OK, Status: "2.1.9", Remote: true, Text: "250 ok"}, true},
	{"SUCCESS", dsn.Result{Action: dsn.Expanded, Text: "sent to others"}, false},
}

func TestNotify(t *testing.T) {
	for _, row := range notifyRows {
		inBubble(t, testConf, func(t *testing.T, w *world) {
			w.setAnswer(func(try) dsn.Result { return row.result })
			id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test?" + row.notify}})
			synctest.Wait()
			if got := len(w.reports()) == 1; got != row.want {
				t.Errorf("NOTIFY=%s, %v: report %v, want %v", row.notify, row.result.Action, got, row.want)
			}
			if !w.gone(id) {
				t.Errorf("NOTIFY=%s, %v: message is still there", row.notify, row.result.Action)
			}
		})
	}
}

// TestReportsCollected: failures of one message are reported together, also when
// others of its recipients take longer.
func TestReportsCollected(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.host == "slow.test" {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			return dsn.Perm("5.1.1", "no such user")
		})
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/b1", "smtp/c.test/c1", "smtp/slow.test/s1", "smtp/b.test/b2"}})
		time.Sleep(4 * time.Minute)
		if n := len(w.reports()); n != 0 {
			t.Errorf("%d reports within the interval", n)
		}
		time.Sleep(2 * time.Minute)
		reports := w.reports()
		if len(reports) != 1 {
			t.Fatalf("%d reports, want 1", len(reports))
		}
		for _, want := range []string{"b1", "b2", "c1"} {
			if !strings.Contains(reports[0], want) {
				t.Errorf("report lacks %s", want)
			}
		}
		for n, r := range []string{"f", "f", "", "f"} {
			if got := w.control(id).Rcpt(n).Reported; got != r {
				t.Errorf("recipient %d: reported %q, want %q", n, got, r)
			}
		}
		time.Sleep(time.Hour)
		if n := len(w.reports()); n != 1 {
			t.Errorf("%d reports after an hour", n)
		}
	})
}

// TestReportCannotBeWritten: the message stays until its report is durable.
func TestReportCannotBeWritten(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result { return dsn.Perm("5.1.1", "no such user") })
		public := w.spool.Root + "/" + spool.PublicDir
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		if err := os.Rename(public, public+".away"); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(id, false, func() {}) })
		time.Sleep(10 * time.Minute)
		if w.gone(id) {
			t.Fatal("message is gone without its report")
		}
		if err := os.Rename(public+".away", public); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if n := len(w.reports()); n != 1 || !w.gone(id) {
			t.Errorf("%d reports, gone: %v", n, w.gone(id))
		}
		if n := len(w.tried()); n != 1 {
			t.Errorf("tried %d times", n)
		}
	})
}

// TestControlCannotBeWritten: what was delivered is not delivered again while its
// event cannot be written.
func TestControlCannotBeWritten(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe", "smtp/b.test/ben"}})
		dir := filepath.Dir(w.spool.ControlPath(id))
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "ben" {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Error(err)
			}
			return dsn.Success("2.0.0", "ok")
		})
		w.q.post(func() { w.q.consider(id, false, func() {}) })
		time.Sleep(10*time.Minute + diskRetry/2) // between two attempts to write
		if n := len(w.tried()); n != 2 {
			t.Errorf("%d attempts while nothing could be written", n)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if r := w.control(id).Rcpt(0); r.State != spool.Done {
			t.Errorf("delivered recipient: %+v", r)
		}
	})
}

// TestRestart: attempts and times are those of the control file.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConf)
		w.run()
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "joe" {
				return dsn.Success("2.0.0", "ok")
			}
			return dsn.Temp("4.2.2", "mailbox full")
		})
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe", "smtp/b.test/ben"}})
		time.Sleep(90 * time.Second) // tried at 0 and 60 s; next at 180 s
		w.stop()
		before := len(w.tried())
		if before != 3 {
			t.Fatalf("%d attempts before the restart", before)
		}
		w.reopen(testConf)
		w.run()
		defer func() { w.stop() }()
		w.q.post(func() { w.q.consider(id, true, func() {}) })
		time.Sleep(80 * time.Second)
		if n := len(w.tried()); n != before {
			t.Errorf("tried %d times before the time", n-before)
		}
		time.Sleep(15 * time.Second)
		tries := w.tried()
		if len(tries) != before+1 || tries[before].user != "ben" {
			t.Errorf("attempts after the restart: %+v", tries[before:])
		}
	})
}

// TestRestartOwesReport: a crash between the failure and its report.
func TestRestartOwesReport(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		ev := spool.Event{Rcpts: []int{0}, At: time.Now(), Result: dsn.Perm("5.1.1", "no such user")}
		if err := w.spool.AppendEvents(id, ev.Append(nil)); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(id, true, func() {}) })
		synctest.Wait()
		if n := len(w.reports()); n != 1 || !w.gone(id) || len(w.tried()) != 0 {
			t.Errorf("%d reports, gone %v, %d attempts", n, w.gone(id), len(w.tried()))
		}
	})
}

func TestUnreadableControl(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		if err := w.spool.AppendEvents(id, spool.AppendLine(nil, "?", "0", "1", "what is this")); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(id, false, func() {}) })
		half := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		b, err := os.ReadFile(w.spool.ControlPath(half))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(w.spool.ControlPath(half), b[:len(b)-2], 0o600); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(half, false, func() {}) })
		good := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		synctest.Wait()
		if !w.gone(id) || !w.gone(good) || w.gone(half) {
			t.Errorf("gone: bad %v, good %v, half %v", w.gone(id), w.gone(good), w.gone(half))
		}
		if _, err := os.Stat(w.spool.Path(spool.PostmanDir, id) + ".why"); err != nil {
			t.Error(err)
		}
		// The router finishes the half one.
		if err := os.WriteFile(w.spool.ControlPath(half), b, 0o600); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(half, false, func() {}) })
		synctest.Wait()
		if !w.gone(half) {
			t.Error("completed control file was not taken up")
		}
	})
}

// TestConcurrency: a destination starts with few jobs at once, gets more with each
// success, and never more than maxthr.
func TestConcurrency(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		var mu sync.Mutex
		now, most := 0, 0
		w.setAnswer(func(try) dsn.Result {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(10 * time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			return dsn.Success("2.0.0", "ok")
		})
		for range 30 {
			w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		}
		peak := func() int {
			mu.Lock()
			defer mu.Unlock()
			return most
		}
		time.Sleep(5 * time.Second)
		if n := peak(); n != 2 {
			t.Errorf("%d jobs at first, want initial=2", n)
		}
		time.Sleep(time.Minute)
		if n := peak(); n != 4 {
			t.Errorf("%d jobs later, want maxthr=4", n)
		}
	})
}

// TestSenderFairness: who has sent one message does not wait for all of somebody
// who has sent hundreds.
func TestSenderFairness(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result {
			time.Sleep(time.Second)
			return dsn.Success("2.0.0", "ok")
		})
		for range 200 {
			w.send(letter{from: "bulk@a.test", to: []string{"smtp/b.test/joe"}})
		}
		one := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		time.Sleep(5 * time.Second)
		if !w.gone(one) {
			t.Error("one message waits behind 200 of another sender")
		}
	})
}

// TestManyRecipients: more recipients than fit a job.
func TestManyRecipients(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		var to []string
		for i := range 2500 {
			to = append(to, "smtp/b.test/u"+strconv.Itoa(i))
		}
		w.setAnswer(func(tr try) dsn.Result {
			if len(tr.user)%2 == 0 {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			return dsn.Success("2.0.0", "ok")
		})
		id := w.send(letter{from: "ann@a.test", to: to})
		synctest.Wait()
		w.setAnswer(func(try) dsn.Result { return dsn.Success("2.0.0", "ok") })
		time.Sleep(2 * time.Minute)
		if !w.gone(id) {
			t.Error("message is still there")
		}
		seen := make(map[string]int)
		for _, tr := range w.tried() {
			seen[tr.user]++
		}
		for user, n := range seen {
			if want := 2 - len(user)%2; n != want {
				t.Fatalf("%s: tried %d times, want %d", user, n, want)
			}
		}
		if len(seen) != 2500 {
			t.Errorf("%d recipients tried", len(seen))
		}
	})
}

// TestStop: what is running at the end is pending afterwards.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, testConf)
		w.run()
		w.setAnswer(func(tr try) dsn.Result {
			time.Sleep(map[string]time.Duration{"quick": 3 * time.Second, "slow": time.Hour}[tr.user])
			return dsn.Success("2.0.0", "ok")
		})
		quick := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/quick"}})
		slow := w.send(letter{from: "ann@a.test", to: []string{"smtp/c.test/slow"}})
		time.Sleep(time.Second)
		start := time.Now()
		w.stop()
		if d := time.Since(start); d > stopTime+time.Second {
			t.Errorf("took %v to stop", d)
		}
		if !w.gone(quick) {
			t.Error("result that came in time was not used")
		}
		if r := w.control(slow).Rcpt(0); r.State != spool.Pending || r.Attempts != 0 {
			t.Errorf("unfinished recipient: %+v", r)
		}
		time.Sleep(2 * time.Hour) // the agent's goroutine ends
	})
}

// TestScarce: descriptors that are short for a while hold up delivery for no longer.
func TestScarce(t *testing.T) {
	inBubble(t, "match '*/*' command=/scarce", func(t *testing.T, w *world) {
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		time.Sleep(25 * time.Second) // 20 starts fail, one a second
		if !w.gone(id) {
			t.Error("not delivered when there are descriptors again")
		}
	})
}
