package smtp

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

// TestDeliverBy: the table of RFC 2852 §4.1.4, by what the sender asks for, what is
// left of the time, and what the host offers.
func TestDeliverBy(t *testing.T) {
	by := regexp.MustCompile(` BY=(-?[0-9]+);([A-Z]+)$`)
	for _, tt := range []struct {
		mode   string
		left   time.Duration
		ext    string
		notify string
		want   string
		by     string // as sent
		rcpt   string // parameters as sent
	}{
		{"R", time.Hour, "DSN,DELIVERBY", "", "ok 2.0.0", "R", ""},
		{"RT", time.Hour, "DSN,DELIVERBY 60", "", "ok 2.0.0", "RT", ""},
		{"R", time.Hour, "DSN,DELIVERBY 4000", "", "error 5.4.7", "", ""},
		{"R", time.Hour, "DSN", "", "error 5.4.7", "", ""},
		{"R", time.Hour, "DELIVERBY 99999999999999999999", "", "ok 2.0.0", "R", ""}, // no number: none is known
		{"R", -time.Second, "DSN,DELIVERBY", "", "error 5.4.7", "", ""},
		{"R", 0, "DSN,DELIVERBY", "", "error 5.4.7", "", ""},
		{"N", time.Hour, "DSN,DELIVERBY 4000", "", "ok 2.0.0", "N", ""},
		{"NT", -time.Hour, "DSN,DELIVERBY", "NEVER", "ok 2.0.0", "NT", " NOTIFY=NEVER"},
		{"N", time.Hour, "DSN", "", "ok 2.1.9", "", " NOTIFY=FAILURE,DELAY"},
		{"N", time.Hour, "DSN", "SUCCESS", "ok 2.1.9", "", " NOTIFY=SUCCESS,DELAY"},
		{"N", time.Hour, "DSN", "FAILURE,DELAY", "ok 2.1.9", "", " NOTIFY=FAILURE,DELAY"},
		{"N", time.Hour, "DSN", "NEVER", "ok 2.0.0", "", " NOTIFY=NEVER"},
		{"N", time.Hour, "SIZE", "", "ok 2.1.9", "", ""},
		{"N", time.Hour, "SIZE", "NEVER", "ok 2.0.0", "", ""},
	} {
		s := newSink(t, strings.Split(tt.ext, ",")...)
		d := start(t, quick)
		l := simple("a@x.test")
		g := &l.groups[0]
		g.Rcpts[0].Notify = tt.notify
		g.By.At = time.Unix(time.Now().Add(tt.left).Unix(), 0)
		if err := g.By.SetMode(tt.mode); err != nil {
			t.Fatal(err)
		}
		if got := outcome(d.deliver(l, s.host())); got != tt.want {
			t.Errorf("%+v: got %s", tt, got)
		}
		for _, m := range s.received() {
			if got := strings.TrimPrefix(m.rcpts[0], "<a@x.test>"); got != tt.rcpt {
				t.Errorf("%+v: RCPT with %s", tt, got)
			}
			f := by.FindStringSubmatch(m.from)
			if f == nil {
				if tt.by != "" || strings.Contains(m.from, "BY=") {
					t.Errorf("%+v: MAIL %s", tt, m.from)
				}
				continue
			}
			left, err := strconv.Atoi(f[1])
			if sent := int(tt.left / time.Second); err != nil || f[2] != tt.by || left > sent || left < sent-60 {
				t.Errorf("%+v: MAIL %s", tt, m.from)
			}
		}
	}
}

// TestDeliverByOtherHost: mode R finds the host that knows of it.
func TestDeliverByOtherHost(t *testing.T) {
	old, good := newSink(t, "DSN"), newSink(t, "DSN", "DELIVERBY")
	d := start(t, quick)
	l := simple("a@x.test")
	l.groups[0].By = spool.DeliverBy{At: time.Now().Add(time.Hour), Return: true}
	if got := outcome(d.deliver(l, old.host()+", "+good.host())); got != "ok 2.0.0" || len(old.received()) != 0 || len(good.received()) != 1 {
		t.Errorf("got %s", got)
	}
}

// TestDeliverByLMTP: a delivery server is the end of the way, and need not know of
// it. What it has taken is delivered, and it is for us to say so.
func TestDeliverByLMTP(t *testing.T) {
	for _, tt := range []struct {
		left   time.Duration
		ext    string
		want   string
		remote bool
	}{
		{time.Hour, "SIZE", "ok 2.0.0", false},
		{time.Hour, "DSN", "ok 2.0.0", true},
		{-time.Second, "SIZE", "error 5.4.7", false},
	} {
		s := newSink(t, tt.ext)
		s.lmtp = true
		d := start(t, func(o *options) {
			quick(o)
			o.lmtp = true
		})
		l := simple("a@x.test")
		l.groups[0].By = spool.DeliverBy{At: time.Now().Add(tt.left), Return: true}
		l.groups[0].Rcpts[0].Notify = "SUCCESS"
		res := d.deliver(l, s.host())
		if got := outcome(res); got != tt.want || res[0].Remote != tt.remote {
			t.Errorf("%+v: got %s, %+v", tt, got, res)
		}
	}
}
