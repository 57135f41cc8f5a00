package scheduler

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unique"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// TestPriorities: urgent mail goes first, bulk mail last, and yet bulk mail gets on
// while there is always normal mail to do.
func TestPriorities(t *testing.T) {
	const conf = "match '*/*' initial=1 maxthr=1 skew=0 command=fake"
	inBubble(t, conf, func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result {
			time.Sleep(time.Second)
			return dsn.Success("2.0.0", "ok")
		})
		w.send(letter{from: "first@a.test", to: []string{"smtp/b.test/first"}}) // occupies the destination
		synctest.Wait()
		bulk := w.send(letter{from: "list@a.test", to: []string{"smtp/b.test/bulk"}, priority: "bulk"})
		for range 20 {
			w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/normal"}})
		}
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/high"}, priority: "high"})
		time.Sleep(10 * time.Second)
		tries := w.tried()
		if len(tries) < 9 || tries[1].user != "high" {
			t.Fatalf("order: %+v", tries)
		}
		if w.gone(bulk) {
			t.Error("bulk mail goes before normal mail that was there")
		}
		// As much normal mail as can be delivered, for as long as it takes.
		for range 600 {
			if w.gone(bulk) {
				return
			}
			w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/normal"}})
			time.Sleep(time.Second)
		}
		t.Error("bulk mail starves")
	})
}

// TestPriorityOfRetries: the same for what was tried before.
func TestPriorityOfRetries(t *testing.T) {
	q := idleQueue(t)
	var order []string
	th := q.thread(threadKey{unique.Make("smtp"), unique.Make("b.test")})
	for i, prio := range []uint8{4, 1, 0} {
		m := &message{priority: prio, sender: unique.Make("ann@a.test"), heapIdx: -1, arrival: sec(i)}
		v := &vertex{msg: m, th: th, attempts: 1, heapIdx: -1, first: int32(prio)}
		q.makeReady(v)
	}
	q.now = q.now.Add((4*retryBehind + 1) * time.Second)
	q.makeReady(&vertex{msg: &message{heapIdx: -1, sender: unique.Make("ann@a.test")}, th: th, attempts: 1, heapIdx: -1, first: 9})
	for th.readyLen() > 0 {
		order = append(order, itoa(int(th.pop(th.peek()).first)))
	}
	if want := []string{"0", "1", "4", "9"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func TestRcptRates(t *testing.T) {
	const conf = `
match '*/*' maxthr=20 initial=20 command=fake delay-warning=0
match 'dest/*' rate-rcpts=10/1h
match 'sender/*' sender-rate-rcpts=4/1h
match 'channel/*' channel-rate-rcpts=6/1h
`
	inBubble(t, conf, func(t *testing.T, w *world) {
		start := time.Now()
		for i := range 10 {
			host := string(rune('a' + i))
			for _, to := range []string{"dest/b.test", "sender/s.test", "channel/" + host + ".test"} {
				w.send(letter{from: "ann@a.test", to: []string{to + "/x", to + "/y"}})
			}
		}
		big := w.send(letter{from: "ann@a.test", to: []string{"sender/big.test/1", "sender/big.test/2", "sender/big.test/3", "sender/big.test/4", "sender/big.test/5"}})
		time.Sleep(24 * time.Hour)
		if !w.gone(big) {
			t.Error("a message with more recipients than the rate allows at once never goes")
		}
		for _, tt := range []struct {
			channel string
			after   time.Duration
			want    int
		}{
			{"dest", 10 * time.Second, 10}, {"dest", 61 * time.Minute, 20},
			{"sender", 10 * time.Second, 4}, {"sender", 61 * time.Minute, 8},
			{"channel", 10 * time.Second, 6}, {"channel", 61 * time.Minute, 12},
		} {
			n := w.triedWithin(start, tt.after, func(tr try) bool { return tr.channel == tt.channel && tr.host != "big.test" })
			if n != tt.want {
				t.Errorf("%s: %d recipients in %v, want %d", tt.channel, n, tt.after, tt.want)
			}
		}
	})
}

// TestExpiry2: a host that was down for longer than expiry tries everything once
// more before it gives up; what cannot be tried is given up after expiry2.
func TestExpiry2(t *testing.T) {
	const conf = `
match '*/*' interval=1m retries='1' skew=0 expiry=1d expiry2=2h delay-warning=0 command=fake
match 'parked/*' queueonly
`
	inBubble(t, conf, func(t *testing.T, w *world) {
		w.setAnswer(func(tr try) dsn.Result {
			if tr.user == "full" {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			return dsn.Success("2.0.0", "ok")
		})
		old := time.Now().Add(-25 * time.Hour)
		good := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe"}, arrival: old})
		full := w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/full"}, arrival: old})
		parked := w.send(letter{from: "ann@a.test", to: []string{"parked/b.test/joe"}, arrival: old})
		synctest.Wait()
		if !w.gone(good) || len(w.tried()) != 2 {
			t.Errorf("an old message is not tried: %+v", w.tried())
		}
		if reports := w.reports(); !w.gone(full) || len(reports) != 1 {
			t.Errorf("what failed after expiry: gone %v, %d reports", w.gone(full), len(reports))
		}
		if w.gone(parked) {
			t.Error("what was not tried is given up at expiry")
		}
		time.Sleep(61 * time.Minute)
		synctest.Wait()
		if !w.gone(parked) || len(w.reports()) != 2 {
			t.Error("what was not tried is there after expiry2")
		}
	})
}

// TestDoubleBounceEnds: a report to a postmaster who does not exist is the end.
func TestDoubleBounceEnds(t *testing.T) {
	inBubble(t, testConf+"queue double-bounce=postmaster@mx.test\n", func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result { return dsn.Perm("5.1.1", "no such user") })
		id := w.send(letter{errmsg: true, comment: doubleBounced, to: []string{"smtp/mx.test/postmaster@mx.test"}})
		synctest.Wait()
		if n := len(w.reports()); n != 0 || !w.gone(id) {
			t.Errorf("%d reports, gone %v", n, w.gone(id))
		}
	})
}

// TestRequireTLS: a report about a message that asked for TLS does not carry it.
func TestRequireTLS(t *testing.T) {
	inBubble(t, testConf, func(t *testing.T, w *world) {
		w.setAnswer(func(try) dsn.Result { return dsn.Perm("5.7.30", "no TLS") })
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, ret: "FULL", attr: spool.Attributes{RequireTLS: true}})
		w.send(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe@b.test"}, ret: "FULL"})
		synctest.Wait()
		secret := 0
		for _, r := range w.reports() {
			envelope, _, _ := strings.Cut(r, "\n"+spool.EnvEnd+"\n")
			if containsLine(r, "hello") {
				secret++
			}
			if containsLine(r, "hello") == containsLine(envelope, "requiretls") {
				t.Error("a report asks for TLS if, and only if, its message did")
			}
		}
		if n := len(w.reports()); n != 2 || secret != 1 {
			t.Errorf("%d reports, %d with the content; want 2 and 1", n, secret)
		}
	})
}
