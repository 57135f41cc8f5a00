package scheduler

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// in is a time for delivery as from the command MAIL.
func in(d time.Duration, mode string) (by spool.DeliverBy) {
	by.At, by.Told = time.Unix(time.Now().Add(d).Unix(), 0), d <= 0
	if err := by.SetMode(mode); err != nil {
		panic(err)
	}
	return by
}

func busy(try) dsn.Result { return dsn.Temp("4.2.2", "mailbox full") }

// TestDeliverByReturn: with mode R what is not delivered goes back at the time, after
// a last attempt shortly before.
func TestDeliverByReturn(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		start := time.Now()
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "good@b.test" {
				return dsn.Success("2.1.5", "fine")
			}
			return busy(tr)
		})
		by := in(20*time.Minute, "R")
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/b.test/good@b.test", "smtp/b.test/ben@b.test?NEVER"}, by: by})
		time.Sleep(20*time.Minute - time.Second)
		synctest.Wait()
		if w.gone(id) || len(w.reports()) > 0 {
			t.Fatal("it went back too early")
		}
		want := []int{0, 60, 180, 360, 660, 960, 1140}
		var got []int
		for _, tr := range w.tried() {
			if tr.user == "joe@b.test" {
				got = append(got, int(tr.at.Sub(start)/time.Second))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("tried at %v, want %v", got, want)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		reps := w.reports()
		if len(reps) != 1 || !w.gone(id) {
			t.Fatalf("%d reports, gone %v", len(reps), w.gone(id))
		}
		for _, line := range []string{
			"Action: failed", "Status: 5.4.7", "Final-Recipient: rfc822; joe@b.test", "Deliver-By-Date: " + rfc5322.FormatDate(by.At),
		} {
			if !containsLine(reps[0], line) {
				t.Errorf("no %q in\n%s", line, reps[0])
			}
		}
		if strings.Contains(reps[0], "ben@b.test") || strings.Contains(reps[0], "good@b.test") || !strings.Contains(reps[0], "mailbox full") {
			t.Errorf("report:\n%s", reps[0])
		}
	})
}

// TestDeliverByNotify: with mode N the sender is told at the time, once, and it goes
// on; a restart in between changes nothing.
func TestDeliverByNotify(t *testing.T) {
	for _, tt := range []struct {
		by     time.Duration
		notify string
		want   []int // minutes of the reports
	}{
		{time.Hour, "", []int{60}},
		{time.Hour, "FAILURE,DELAY", []int{60}},
		{time.Hour, "FAILURE", nil},
		{time.Hour, "NEVER", nil},
		{6 * time.Hour, "", []int{240, 360}}, // the warning comes first
		{-time.Hour, "", []int{240}},         // over when it came: the host before has told
		{0, "", []int{240}},
	} {
		inBubble(t, testConf, func(t *testing.T, w *world) {
			w.setAnswer(busy)
			id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test?" + tt.notify}, by: in(tt.by, "N")})
			var got []int
			for minute := 0; minute < 8*60; minute += 5 {
				if n := len(w.reports()); n > len(got) {
					got = append(got, minute)
				}
				if minute == 200 || minute == 400 {
					w.stop()
					w.reopen(testConf)
					w.run()
					w.q.post(func() { w.q.consider(id, true, func() {}) })
				}
				time.Sleep(5*time.Minute + time.Millisecond)
				synctest.Wait()
			}
			for i, want := range tt.want {
				if len(got) != len(tt.want) || got[i] < want || got[i] > want+5 {
					t.Fatalf("%+v: reports at %v", tt, got)
				}
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%+v: reports at %v", tt, got)
			}
			for _, rep := range w.reports() {
				if !containsLine(rep, "Action: delayed") || !strings.Contains(rep, "\nDeliver-By-Date: ") || !strings.Contains(rep, "\nStatus: 4.") {
					t.Errorf("report:\n%s", rep)
				}
			}
			if w.gone(id) {
				t.Error("it is gone")
			}
		})
	}
}

// TestDeliverByPassedOn: of whom the sender hears that he was given to another host.
func TestDeliverByPassedOn(t *testing.T) {
	relay := func(status string) dsn.Result {
		return dsn.Result{Action: dsn.OK, Status: status, Relay: "mx.b.test[192.0.2.1]:25", Remote: true, Text: "250 queued"}
	}
	for _, tt := range []struct {
		mode, notify string
		result       dsn.Result
		want         string
	}{
		{"N", "", relay("2.0.0"), ""},
		{"N", "", relay("2.1.9"), "relayed"},
		{"N", "FAILURE", relay("2.1.9"), "relayed"},
		{"N", "NEVER", relay("2.1.9"), ""},
		{"NT", "", relay("2.0.0"), "relayed"},
		{"RT", "", relay("2.0.0"), "relayed"},
		{"RT", "NEVER", relay("2.0.0"), ""},
		{"RT", "SUCCESS", relay("2.0.0"), "relayed"},
		{"R", "", relay("2.0.0"), ""},
		{"R", "SUCCESS", relay("2.0.0"), ""},
		{"RT", "", dsn.Success("2.1.5", "delivered"), ""},
		{"RT", "SUCCESS", dsn.Success("2.1.5", "delivered"), "delivered"},
	} {
		inBubble(t, testConf, func(t *testing.T, w *world) {
			w.setAnswer(func(try) dsn.Result { return tt.result })
			by := in(time.Hour, tt.mode)
			id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test?" + tt.notify}, by: by})
			none := w.send(letter{to: []string{"smtp/b.test/joe@b.test?" + tt.notify}, by: by}) // a report itself
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			reps := w.reports()
			if !w.gone(id) || !w.gone(none) || len(reps) > 1 || (len(reps) == 1) != (tt.want != "") || strings.Contains(w.log.String(), "double bounce") {
				t.Fatalf("%+v: %d reports, gone %v %v", tt, len(reps), w.gone(id), w.gone(none))
			}
			if len(reps) == 1 && (!containsLine(reps[0], "Action: "+tt.want) || !containsLine(reps[0], "Deliver-By-Date: "+rfc5322.FormatDate(by.At))) {
				t.Errorf("%+v:\n%s", tt, reps[0])
			}
		})
	}
}

// TestDeliverByBusy: what an agent is working on at the time ends by its result, and
// what the administrator holds goes back when it is released.
func TestDeliverByBusy(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			time.Sleep(10 * time.Minute)
			if tr.user == "joe@b.test" {
				return dsn.Success("2.1.5", "fine")
			}
			return busy(tr)
		})
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test", "smtp/c.test/ben@c.test"}, by: in(time.Minute, "R")})
		held := w.send(letter{from: "eve@a.test", to: []string{"smtp/d.test/dan@d.test"}, by: in(time.Minute, "R"), kept: map[int]bool{0: true}})
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		reps := w.reports()
		if len(reps) != 1 || !containsLine(reps[0], "Final-Recipient: rfc822; ben@c.test") || !containsLine(reps[0], "Status: 5.4.7") || strings.Contains(reps[0], "joe@") {
			t.Errorf("reports %q", reps)
		}
		if len(w.tried()) != 2 || w.gone(held) {
			t.Errorf("tried %+v", w.tried())
		}
		w.q.ask(t.Context(), func() {
			key := msgID([]byte(held))
			w.q.release(w.q.shard(key)[key], nil, true, "")
		})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(w.tried()) != 2 || !w.gone(held) || len(w.reports()) != 2 {
			t.Errorf("tried %+v, %d reports", w.tried(), len(w.reports()))
		}
	})
}

// TestDeliverByOver: what the router gives us too late is not tried.
func TestDeliverByOver(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		id := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, by: spool.DeliverBy{At: time.Now().Add(-time.Second), Return: true}})
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if reps := w.reports(); len(w.tried()) != 0 || !w.gone(id) || len(reps) != 1 || !containsLine(reps[0], "Status: 5.4.7") {
			t.Errorf("tried %+v, reports %q", w.tried(), reps)
		}
	})
}

// TestFarTimes: times that users can ask for beyond those of the index are as late as
// it knows, and not in the past.
func TestFarTimes(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		for _, far := range []time.Time{time.Unix(1<<32-1, 0), time.Unix(1<<32+5, 0), time.Unix(1<<40, 0)} {
			w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, before: map[int]time.Time{0: far}, by: spool.DeliverBy{At: far, Return: true}})
		}
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if len(w.tried()) != 0 || len(w.reports()) != 0 {
			t.Errorf("tried %+v, %d reports", w.tried(), len(w.reports()))
		}
	})
}
