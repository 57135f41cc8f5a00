package scheduler

import (
	"testing"
	"testing/synctest"
	"time"
)

const rateConf = `
match '*/*' maxthr=20 initial=20 command=fake delay-warning=0
match 'dest/*' rate=10/1h
match 'sender/*' sender-rate=4/1h
match 'channel/*' channel-rate=6/1h
`

// after counts the attempts in the first d.
func (w *world) triedWithin(start time.Time, d time.Duration, keep func(try) bool) (n int) {
	for _, tr := range w.tried() {
		if tr.at.Sub(start) <= d && keep(tr) {
			n++
		}
	}
	return n
}

func TestRates(t *testing.T) {
	inBubble(t, rateConf, func(t *testing.T, w *world) {
		start := time.Now()
		for i := range 30 {
			w.send(letter{from: "ann@a.test", to: []string{"dest/b.test/x"}})
			w.send(letter{from: "bulk@a.test", to: []string{"sender/s.test/x"}})
			w.send(letter{from: "ann@a.test", to: []string{"channel/c" + string(rune('a'+i)) + ".test/x"}})
		}
		one := w.send(letter{from: "ann@a.test", to: []string{"sender/s.test/x"}})
		null := w.send(letter{to: []string{"dest/b.test/null"}})
		synctest.Wait()
		if !w.gone(one) {
			t.Error("a sender below his limit waits for one above")
		}
		if !w.gone(null) {
			t.Error("mail without a sender is limited")
		}
		time.Sleep(6 * time.Hour)
		for _, tt := range []struct {
			channel    string
			after      time.Duration
			want, most int
		}{
			{"dest", 10 * time.Second, 11, 11}, // with the one without a sender
			{"dest", time.Hour + time.Minute, 21, 21},
			{"dest", 90*time.Minute + time.Minute, 26, 26},
			{"sender", 10 * time.Second, 5, 5}, // with the one of another sender
			{"sender", time.Hour + time.Minute, 9, 9},
			{"channel", 10 * time.Second, 6, 6},
			{"channel", time.Hour + time.Minute, 12, 12},
		} {
			n := w.triedWithin(start, tt.after, func(tr try) bool { return tr.channel == tt.channel })
			if n < tt.want || n > tt.most {
				t.Errorf("%s: %d messages in %v, want %d", tt.channel, n, tt.after, tt.want)
			}
		}
	})
}

func TestBucket(t *testing.T) {
	r := Rate{N: 3, Per: time.Minute}
	var b bucket
	now := time.Unix(1_000_000, 0)
	for i, wait := range []int{0, 0, 0, 20, 40, 60} {
		if at := b.when(now, r, 1); at.Sub(now) != time.Duration(wait)*time.Second {
			t.Errorf("message %d: waits %v, want %d s", i, at.Sub(now), wait)
		}
		b.take(now, r, 1)
	}
	if at := b.when(now.Add(time.Hour), r, 1); !at.Equal(now.Add(time.Hour)) {
		t.Error("waits although there was nothing for an hour")
	}
}
