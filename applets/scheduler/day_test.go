package scheduler

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A day of a scheduler in virtual time: what stands in scheduler.conf happens to the
// second. Times are written as on a clock that shows 0:00:00 when the day begins.

const dayConf = `
match '*/*' interval=1m retries='1 2 4 8 15 30 60 120 180 240' skew=0 expiry=1d expiry2=2h delay-warning=4h initial=4 maxthr=4 command=fake
match 'skewed/*' retries=60 skew=10 delay-warning=0
match 'parked/*' queueonly delay-warning=0
match 'slow/*' initial=2 maxthr=8
match 'dest/*' rate=60/1h initial=100 maxthr=100
match 'dest-rcpts/*' rate-rcpts=60/1h initial=100 maxthr=100
match 'sender/*' sender-rate=6/1h
match 'sender-rcpts/*' sender-rate-rcpts=6/1h
match 'channel/*' channel-rate=12/1h
match 'channel-rcpts/*' channel-rate-rcpts=12/1h
queue report-interval=5m
`

// clock writes the time that has passed since start.
func clock(start, at time.Time) string {
	d := at.Sub(start).Round(time.Millisecond)
	s := fmt.Sprintf("%d:%02d:%02d", int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60)
	if ms := d.Milliseconds() % 1000; ms != 0 {
		s += fmt.Sprintf(".%03d", ms)
	}
	return s
}

// A day is what happened, by whom it happened to, in order.
type day struct {
	t     *testing.T
	start time.Time
	tries map[string][]string // by user: the times
	at    map[string][]time.Time
}

// live runs the queue for a time and has check look at what it did.
func live(t *testing.T, conf string, fn func(w *world), lasts time.Duration, check func(d *day, w *world)) {
	inBubble(t, conf, func(t *testing.T, w *world) {
		d := &day{t: t, start: time.Now(), tries: make(map[string][]string), at: make(map[string][]time.Time)}
		fn(w)
		time.Sleep(lasts)
		synctest.Wait()
		for _, tr := range w.tried() {
			d.tries[tr.user] = append(d.tries[tr.user], clock(d.start, tr.at))
			d.at[tr.user] = append(d.at[tr.user], tr.at)
		}
		check(d, w)
	})
}

func (d *day) tried(user, want string) {
	d.t.Helper()
	if got := strings.Join(d.tries[user], " "); got != want {
		d.t.Errorf("%s\ntried at %s\nwant     %s", user, got, want)
	}
}

// reported checks the reports: lines of time, addressee, kind and recipients.
func (d *day) reported(w *world, want ...string) {
	d.t.Helper()
	var got []string
	for line := range strings.Lines(w.log.String()) {
		if !strings.Contains(line, " msg=report ") {
			continue
		}
		f := make(map[string]string)
		for word := range strings.FieldsSeq(line) {
			key, v, _ := strings.Cut(word, "=")
			f[key] = v
		}
		at, err := time.Parse(time.RFC3339, f["time"])
		if err != nil {
			d.t.Fatal(err)
		}
		b, err := os.ReadFile(w.spool.Path(spool.RouterDir, spool.ID(f["msgid"])))
		if err != nil {
			d.t.Fatal(err)
		}
		got = append(got, clock(d.start, at)+" "+reportLine(string(b)))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.t.Errorf("reports\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// reportLine is addressee, recipients and actions of a report.
func reportLine(text string) string {
	var words []string
	for l := range strings.Lines(text) {
		for _, field := range []string{"to ", "Action: ", "Final-Recipient: rfc822; "} {
			if v, ok := strings.CutPrefix(strings.TrimSpace(l), field); ok {
				words = append(words, v)
			}
		}
	}
	return strings.Join(words, " ")
}

// TestDayOfFailures: the retry table, the back-off of a destination, the delay
// warning, expiry with its report, and failures that are collected.
func TestDayOfFailures(t *testing.T) {
	live(t, dayConf, func(w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			switch {
			case tr.host == "dead.test":
				return dsn.Result{Action: dsn.RetryAt, Status: "4.4.1", Text: "connection refused"}
			case strings.HasPrefix(tr.user, "nobody"):
				return dsn.Perm("5.1.1", "no such user")
			}
			return dsn.Temp("4.2.2", "mailbox full")
		})
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/full@b.test"}})
		w.send(letter{from: "bob@a.test", to: []string{"smtp/dead.test/one@dead.test"}})
		w.send(letter{from: "eve@a.test", to: []string{"smtp/c.test/nobody@c.test", "smtp/d.test/slow@d.test"}})
		w.send(letter{from: "max@a.test", to: []string{"parked/b.test/parked@b.test"}})
		w.send(letter{to: []string{"smtp/n.test/null@n.test"}})
	}, 27*time.Hour, func(d *day, w *world) {
		const table = "0:00:00 0:01:00 0:03:00 0:07:00 0:15:00 0:30:00 1:00:00 2:00:00 4:00:00 7:00:00 11:00:00 15:00:00 19:00:00 23:00:00"
		for _, user := range []string{"full@b.test", "one@dead.test", "slow@d.test", "null@n.test"} {
			d.tried(user, table)
		}
		d.tried("nobody@c.test", "0:00:00")
		d.tried("parked@b.test", "")
		d.reported(w,
			"0:05:00 <eve@a.test> nobody@c.test failed",
			"4:00:00 <ann@a.test> full@b.test delayed",
			"4:00:00 <bob@a.test> one@dead.test delayed",
			"4:00:00 <eve@a.test> slow@d.test delayed",
			"24:00:00 <ann@a.test> full@b.test failed",
			"24:00:00 <bob@a.test> one@dead.test failed",
			"24:00:00 <eve@a.test> slow@d.test failed",
			"26:00:00 <max@a.test> parked@b.test failed", // never tried: expiry2
		)
		if n := w.q.stats.messages; n != 0 {
			t.Errorf("%d messages are left", n)
		}
	})
}

// TestDayOfSkew: waits are longer by up to a tenth, at random, and never shorter.
func TestDayOfSkew(t *testing.T) {
	const n = 40
	live(t, dayConf, func(w *world) {
		w.setAnswer(func(try) dsn.Result { return dsn.Temp("4.2.2", "mailbox full") })
		for i := range n {
			w.send(letter{from: "ann@a.test", to: []string{fmt.Sprintf("skewed/h%d.test/u%d", i, i)}})
		}
	}, 12*time.Hour, func(d *day, _ *world) {
		firsts := make(map[string]bool)
		for i := range n {
			at := d.at[fmt.Sprintf("u%d", i)]
			if len(at) < 11 || len(at) > 12 {
				d.t.Fatalf("tried %d times in 12 hours", len(at))
			}
			for j := 1; j < len(at); j++ {
				if wait := at[j].Sub(at[j-1]); wait < time.Hour || wait > 66*time.Minute {
					d.t.Errorf("wait of %v, want 60 to 66 minutes", wait)
				}
			}
			firsts[clock(d.start, at[1])] = true
		}
		if len(firsts) < n/2 {
			d.t.Errorf("%d messages are tried at %d different times", n, len(firsts))
		}
	})
}

// TestDayOfRates: as many as the rate says go at once, the rest at even distances;
// other senders and mail without a sender do not wait.
func TestDayOfRates(t *testing.T) {
	// want lists how many recipients are tried when, from the first one that waits.
	want := func(atOnce int, every time.Duration, batch, all int) map[string]int {
		m := map[string]int{"0:00:00": atOnce}
		for n, at := atOnce, every; n < all; n, at = n+batch, at+every {
			m[clock(time.Time{}, time.Time{}.Add(at))] += min(batch, all-n)
		}
		return m
	}
	live(t, dayConf, func(w *world) {
		for i := range 90 {
			w.send(letter{from: "ann@a.test", to: []string{"dest/b.test/dest"}})
			if i < 45 {
				w.send(letter{from: "ann@a.test", to: []string{"dest-rcpts/b.test/dest-rcpts", "dest-rcpts/b.test/dest-rcpts"}})
			}
			if i < 20 {
				w.send(letter{from: "bulk@a.test", to: []string{fmt.Sprintf("sender/s%d.test/sender", i)}})
				w.send(letter{from: "bulk@a.test", to: []string{"sender-rcpts/s.test/sender-rcpts", "sender-rcpts/s.test/sender-rcpts"}})
			}
			if i < 30 {
				w.send(letter{from: fmt.Sprintf("u%d@a.test", i), to: []string{fmt.Sprintf("channel/c%d.test/channel", i)}})
				w.send(letter{from: fmt.Sprintf("u%d@a.test", i), to: []string{fmt.Sprintf("channel-rcpts/c%d.test/channel-rcpts", i), fmt.Sprintf("channel-rcpts/c%d.test/channel-rcpts", i)}})
			}
		}
		for _, channel := range []string{"dest", "dest-rcpts", "sender", "sender-rcpts", "channel", "channel-rcpts"} {
			w.send(letter{to: []string{channel + "/b.test/null"}})
		}
		w.send(letter{from: "other@a.test", to: []string{"sender/s.test/other"}})
		w.send(letter{from: "other@a.test", to: []string{"sender-rcpts/s.test/other"}})
	}, 24*time.Hour, func(d *day, _ *world) {
		d.tried("null", strings.TrimSuffix(strings.Repeat("0:00:00 ", 6), " "))
		d.tried("other", "0:00:00 0:00:00")
		for user, want := range map[string]map[string]int{
			"dest":          want(60, time.Minute, 1, 90),
			"dest-rcpts":    want(60, 2*time.Minute, 2, 90),
			"sender":        want(6, 10*time.Minute, 1, 20),
			"sender-rcpts":  want(6, 20*time.Minute, 2, 40),
			"channel":       want(12, 5*time.Minute, 1, 30),
			"channel-rcpts": want(12, 10*time.Minute, 2, 60),
		} {
			got := make(map[string]int)
			for _, at := range d.tries[user] {
				got[at]++
			}
			for at, n := range want {
				if got[at] != n {
					d.t.Errorf("%s: %d at %s, want %d", user, got[at], at, n)
				}
			}
			if len(got) != len(want) {
				d.t.Errorf("%s: tried at %d different times, want %d", user, len(got), len(want))
			}
		}
	})
}

// TestDayOfSlowStart: a destination begins with two jobs at once and gets one more with
// each that succeeds, up to eight; when it fails it is down to one.
func TestDayOfSlowStart(t *testing.T) {
	live(t, dayConf, func(w *world) {
		began := time.Now()
		w.setAnswer(func(tr try) dsn.Result {
			time.Sleep(10 * time.Second)
			if at := tr.at.Sub(began); at >= 50*time.Second && at < time.Minute {
				return dsn.Result{Action: dsn.RetryAt, Status: "4.4.2", Text: "connection lost"}
			}
			return dsn.Success("2.0.0", "ok")
		})
		for range 60 {
			w.send(letter{from: "ann@a.test", to: []string{"slow/b.test/joe"}})
		}
	}, time.Hour, func(d *day, _ *world) {
		got := make(map[string]int)
		var order []string
		for _, at := range d.tries["joe"] {
			if got[at]++; got[at] == 1 {
				order = append(order, at)
			}
		}
		var lines []string
		for _, at := range order {
			lines = append(lines, fmt.Sprintf("%s %d", at, got[at]))
		}
		want := []string{
			"0:00:00 2", "0:00:10 4", "0:00:20 8", "0:00:30 8", "0:00:40 8", "0:00:50 8",
			// All eight lose their connection: one failure, and a minute of back-off.
			"0:02:00 1", "0:02:10 2", "0:02:20 4", "0:02:30 8", "0:02:40 8", "0:02:50 7",
		}
		if !slices.Equal(lines, want) {
			d.t.Errorf("jobs at once\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}
