package router

import (
	"errors"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

// TestDeliverBy: what the sender asks of the time of delivery holds for those he
// writes to and for where their mail is forwarded to, not for the members of a list
// with an owner.
func TestDeliverBy(t *testing.T) {
	st := newSite(t, map[string]string{"lists/talk": "joe\nx@far.example\n"})
	env := to("talk@example.org", "ann@example.org")
	env.DeliverBy = spool.DeliverBy{At: time.Unix(time.Now().Unix()+60, 0), Return: true, Trace: true}
	c := st.control(env, "\n")
	if len(c.Groups) != 2 || !c.Groups[0].By.IsZero() || c.Groups[1].By != env.DeliverBy {
		t.Errorf("%+v", c.Groups)
	}
}

// TestDeliverByPassed: mail that has to go back at a time does not wait for a table
// beyond it.
func TestDeliverByPassed(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\nrelation -t text -f %d/missing gone\nelsewhere() { gone \"$2\"; reject 5.1.2 'no such place'; }\n"})
	for _, mode := range []string{"N", "R"} {
		env := to("joe@example.org", "x@far.example")
		env.DeliverBy.At = time.Unix(time.Now().Unix()+60, 0)
		if err := env.DeliverBy.SetMode(mode); err != nil {
			t.Fatal(err)
		}
		id := st.submit(env, plainMessage)
		if err := st.route(id); !errors.Is(err, errDeferred) {
			t.Fatalf("%v\n%s", err, st.log)
		}
		st.r.now = func() time.Time { return time.Now().Add(time.Minute) }
		err := st.routeFrom(job{id: id, dir: spool.DeferredDir})
		st.r.now = time.Now
		if mode == "N" {
			if !errors.Is(err, errDeferred) {
				t.Errorf("mode N: %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := rcpts(st.read(id)); !strings.Contains(got, "; error 5.4.7 x@far.example ") {
			t.Error(got)
		}
	}
}

// TestNotaryOfNewSender: a sender that is masqueraded keeps what he said about
// reports.
func TestNotaryOfNewSender(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\ncrossbar() { setsender \"new@example.org\"; }\n"})
	env := to("x@far.example")
	env.To[0].Notify, env.To[0].ORcpt = "NEVER", "rfc822;x@old.example"
	env.DeliverBy.At = time.Unix(time.Now().Unix()+60, 0)
	c := st.control(env, "\n")
	if g := c.Groups[0]; g.Sender.User != "new@example.org" || g.Rcpts[0].Notify != "NEVER" || g.Rcpts[0].ORcpt != "rfc822;x@old.example" || g.By != env.DeliverBy {
		t.Errorf("%+v", g)
	}
}
