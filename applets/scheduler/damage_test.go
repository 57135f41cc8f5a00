package scheduler

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/disk/disktest"
	"zmailer/spool/dsn"
)

// TestDamagedControl flips bytes in control files and cuts them short, 10,000 times:
// each is read right, taken for unfinished, or set aside with an alert. Nothing else
// is disturbed.
func TestDamagedControl(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 500
	}
	w := newWorld(t, testConf)
	rnd := rand.New(rand.NewPCG(1, 2))
	id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe?SUCCESS", "smtp/b.test/ben", "local//eve"}})
	at := time.Now()
	events := (&spool.Event{Rcpts: []int{0}, At: at, Result: dsn.Success("2.0.0", "ok")}).Append(nil)
	events = (&spool.Event{Rcpts: []int{1}, At: at, Next: at.Add(time.Hour), Result: dsn.Temp("4.2.2", "mailbox full")}).Append(events)
	events = spool.AppendReport(events, []int{0}, at, spool.ReportSuccess, spool.NewID())
	if err := w.spool.AppendEvents(id, events); err != nil {
		t.Fatal(err)
	}
	path := w.spool.ControlPath(id)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := w.control(id)
	message, err := os.ReadFile(w.spool.QueuePath(id))
	if err != nil {
		t.Fatal(err)
	}
	var right, unfinished, aside int
	for i := range n {
		b, what := damage(rnd, whole)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l := w.q.read(id, true)
		_, gone := os.Lstat(path)
		switch {
		case l.control != nil:
			right++
			if err := sameOrEarlier(l.control, want); err != nil {
				t.Fatalf("%d: %s: %v\n%s", i, what, err, b)
			}
		case l.incomplete || gone == nil:
			unfinished++
		default:
			aside++
			if _, err := os.Stat(w.spool.Path(spool.PostmanDir, id) + ".why"); err != nil {
				t.Fatalf("%d: %s: set aside without a word: %v", i, what, err)
			}
			if !strings.Contains(w.log.String(), "control file is set aside") {
				t.Fatal("no alert in the log")
			}
			w.emptyPostman()
			if err := os.WriteFile(w.spool.QueuePath(id), message, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d read right, %d taken for unfinished, %d set aside", right, unfinished, aside)
	if right == 0 || unfinished == 0 || aside == 0 {
		t.Error("one of the outcomes was not met with")
	}
}

func damage(rnd *rand.Rand, whole []byte) (b []byte, what string) {
	if rnd.IntN(4) == 0 {
		n := rnd.IntN(len(whole))
		return slices.Clone(whole[:n]), fmt.Sprintf("cut at %d", n)
	}
	b = slices.Clone(whole)
	at, c := rnd.IntN(len(b)), byte(rnd.IntN(255)+1)
	b[at] ^= c
	return b, fmt.Sprintf("byte %d changed by %#x", at, c)
}

// sameOrEarlier checks that no recipient got further than he is: an event that is
// lost means a second attempt, never none.
func sameOrEarlier(got, want *spool.Control) error {
	if got.ID != want.ID || len(got.Groups) != len(want.Groups) {
		return fmt.Errorf("another message: %+v", got)
	}
	for n := range 3 {
		g, w := got.Rcpt(n), want.Rcpt(n)
		if g == nil || g.User != w.User || g.Host != w.Host || g.Notify != w.Notify {
			return fmt.Errorf("recipient %d is %+v", n, g)
		}
		if g.State != w.State && g.State != spool.Pending || !strings.HasPrefix(w.Reported, g.Reported) {
			return fmt.Errorf("recipient %d is in state %d, reported %q", n, g.State, g.Reported)
		}
	}
	return nil
}

func (w *world) emptyPostman() {
	w.t.Helper()
	dir := w.spool.Root + "/" + spool.PostmanDir
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(dir + "/" + e.Name()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestDiskFails makes each single operation of the disk fail, or find it full, while
// a message fails for one recipient and is delivered to the other: its report is
// always written in the end, before the message is removed.
func TestDiskFails(t *testing.T) {
	for _, fault := range []disktest.Fault{disktest.Fail, disktest.Full} {
		for at, met := 1, true; met; at++ {
			met = false
			inBubble(t, testConf, func(t *testing.T, w *world) {
				w.setAnswer(func(tr try) dsn.Result {
					if tr.user == "joe" {
						return dsn.Perm("5.1.1", "no such user")
					}
					return dsn.Success("2.0.0", "ok")
				})
				id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe", "smtp/c.test/ben"}})
				d := disktest.New(w.spool.Root, at, fault)
				w.spool.Disk = d
				w.q.post(func() { w.q.consider(id, false, func() {}) })
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				met = d.Ops() >= at
				if n := len(w.reports()); n != 1 || !w.gone(id) {
					t.Errorf("fault %d at operation %d: %d reports, message gone %v", fault, at, n, w.gone(id))
				}
				if n := len(w.tried()); n != 2 {
					t.Errorf("fault %d at operation %d: %d attempts", fault, at, n)
				}
			})
			if at > 100 {
				t.Fatal("no end of operations")
			}
		}
	}
}

// TestDeadBesideLive: a dead destination with 50,000 messages makes live ones wait
// no longer than they do without it.
func TestDeadBesideLive(t *testing.T) {
	dead := 50_000
	if testing.Short() {
		dead = 2000
	}
	var p95 [2]time.Duration
	for i, n := range []int{0, dead} {
		inBubble(t, "match '*/*' interval=1m retries='1 2 3 5' skew=0 maxthr=20 initial=5 delay-warning=0 command=fake", func(t *testing.T, w *world) {
			w.setAnswer(func(tr try) dsn.Result {
				if tr.host == "dead.test" {
					time.Sleep(30 * time.Second) // connect timeout
					return dsn.Result{Action: dsn.RetryAt, Status: "4.4.1", Text: "connection timed out"}
				}
				time.Sleep(time.Second)
				return dsn.Success("2.0.0", "ok")
			})
			for range n {
				w.send(letter{from: "bulk@a.test", to: []string{"smtp/dead.test/joe"}})
			}
			sent := make(map[spool.ID]time.Time)
			for j := range 500 {
				id := w.send(letter{from: "ann@a.test", to: []string{fmt.Sprintf("smtp/live%d.test/joe", j%50)}})
				sent[id] = time.Now()
				time.Sleep(2 * time.Second)
			}
			time.Sleep(time.Minute)
			var latency []time.Duration
			for _, tr := range w.tried() {
				if at, live := sent[tr.id]; live {
					latency = append(latency, tr.at.Sub(at))
				}
			}
			if len(latency) != len(sent) {
				t.Fatalf("%d of %d delivered", len(latency), len(sent))
			}
			slices.Sort(latency)
			p95[i] = latency[len(latency)*95/100]
		})
	}
	t.Logf("p95 of the wait for the first attempt: %v without, %v with %d dead", p95[0], p95[1], dead)
	if p95[1] > p95[0]+time.Second {
		t.Errorf("live destinations wait %v beside a dead one, %v without", p95[1], p95[0])
	}
}

// holds checks that the index has n messages, of one recipient each.
func (w *world) holds(n int) {
	w.t.Helper()
	w.q.ask(w.t.Context(), func() {
		if st := &w.q.stats; st.messages != n || st.rcpts != n {
			w.t.Errorf("%d messages with %d recipients in the index, want %d", st.messages, st.rcpts, n)
		}
	})
}

// TestDamagedInIndex: a control file that is damaged while the scheduler knows its
// message is set aside by whatever reads it next, and the others go on.
func TestDamagedInIndex(t *testing.T) {
	full := func(try) dsn.Result { return dsn.Temp("4.2.2", "mailbox full") }
	spoil := func(w *world, id spool.ID) {
		if err := os.WriteFile(w.spool.ControlPath(id), []byte("v\t1\nnonsense\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(t *testing.T, w *world, id spool.ID) {
		t.Helper()
		synctest.Wait()
		for _, name := range []string{string(id), string(id) + ".control", string(id) + ".why"} {
			if _, err := os.Stat(w.spool.Root + "/" + spool.PostmanDir + "/" + name); err != nil {
				t.Error(err)
			}
		}
		if !strings.Contains(w.log.String(), `level=ERROR msg="control file is set aside" spoolid=`+string(id)) {
			t.Error("no alert in the log")
		}
		w.holds(1)
	}
	for name, read := range map[string]func(t *testing.T, w *world, id spool.ID){
		"attempt": func(t *testing.T, w *world, id spool.ID) { time.Sleep(2 * time.Minute) },
		"list": func(t *testing.T, w *world, id spool.ID) {
			c := &client{q: w.q, ctx: t.Context()}
			if e, err := c.entry(&seen{id: id, state: []seenRcpts{{rcpts: []int{0}}}}, &queuesock.Selection{}); e != nil || err != nil {
				t.Errorf("%+v, %v", e, err)
			}
		},
		"report": func(t *testing.T, w *world, id spool.ID) {
			w.q.post(func() {
				m := w.q.shard(msgID([]byte(id)))[msgID([]byte(id))]
				w.q.sendWarning(m)
			})
		},
		"change": func(t *testing.T, w *world, id spool.ID) {
			w.q.post(func() {
				m := w.q.shard(msgID([]byte(id)))[msgID([]byte(id))]
				w.q.removeAll(m, decision{result: func(*spool.Rcpt) dsn.Result { return deleted() }})
			})
		},
		"file removed": func(t *testing.T, w *world, id spool.ID) {
			if err := os.Rename(w.spool.ControlPath(id), w.spool.Root+"/"+spool.PostmanDir+"/"+string(id)+".control"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Minute)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, testConf, func(t *testing.T, w *world) {
				w.setAnswer(full)
				id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe", "smtp/c.test/ben", "local//eve"}})
				good := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
				synctest.Wait()
				spoil(w, id)
				read(t, w, id)
				gone(t, w, id)
				w.setAnswer(func(try) dsn.Result { return dsn.Success("2.0.0", "ok") })
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if !w.gone(good) {
					t.Error("the other message is not delivered")
				}
				w.holds(0)
			})
		})
	}
}

// TestDamagedWhileRunning: an agent that is at work ends in peace, and what it did is
// in the log.
func TestDamagedWhileRunning(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "slow" {
				time.Sleep(10 * time.Minute)
			}
			return dsn.Success("2.0.0", "delivered all the same")
		})
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/slow", "parked/c.test/ben"}})
		w.q.post(func() { w.q.consider(id, false, func() {}) })
		time.Sleep(time.Minute)
		if err := os.Truncate(w.spool.ControlPath(id), 30); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.suspect(id) })
		synctest.Wait()
		w.holds(1)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		w.holds(0)
		if log := w.log.String(); !strings.Contains(log, "delivered all the same") || !strings.Contains(log, `to="recipient 0"`) {
			t.Error("the delivery is not in the log")
		}
	})
}

// TestUnfinishedControl: one that the router never finishes is looked at again before
// the next scan.
func TestUnfinishedControl(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}})
		st, err := os.Stat(w.spool.ControlPath(id))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(w.spool.ControlPath(id), st.Size()-4); err != nil {
			t.Fatal(err)
		}
		now := time.Now() // the clock of the files is not that of the test
		if err := os.Chtimes(w.spool.ControlPath(id), now, now); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(id, true, func() {}) })
		time.Sleep(abandonAge - time.Minute)
		if !w.gone(id) {
			time.Sleep(2 * time.Minute)
		} else {
			t.Error("set aside while the router may be at it")
		}
		if !w.gone(id) {
			t.Error("not set aside")
		}
	})
}

// TestReportWithoutMessage: the sender hears of a failure although somebody has removed
// the message file.
func TestReportWithoutMessage(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}})
		ev := spool.Event{Rcpts: []int{0}, At: time.Now(), Result: dsn.Perm("5.1.1", "no such user")}
		if err := w.spool.AppendEvents(id, ev.Append(nil)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(w.spool.QueuePath(id)); err != nil {
			t.Fatal(err)
		}
		w.q.post(func() { w.q.consider(id, false, func() {}) })
		time.Sleep(5 * time.Minute)
		if r := w.reports(); len(r) != 1 || !strings.Contains(r[0], "joe@b.test") || !strings.Contains(r[0], "text/rfc822-headers") {
			t.Errorf("reports: %q", r)
		}
		if !w.gone(id) {
			t.Error("the control file is still there")
		}
	})
}
