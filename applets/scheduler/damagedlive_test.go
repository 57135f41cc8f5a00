package scheduler

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A casualty is a message whose control file is damaged, or a neighbour of one.
type casualty struct {
	id      spool.ID
	damaged string          // how; empty: a neighbour
	users   map[string]bool // of its recipients: still to be delivered to
}

// TestDamagedLive: thousands of messages in one queue, of which most control files
// are damaged, before they are found or while the scheduler knows of them and their
// destinations are down. Each is delivered to those that it was for, and nobody else, or
// set aside with an alert; the others get through, once.
func TestDamagedLive(t *testing.T) {
	n := 2000
	if testing.Short() {
		n = 400
	}
	inBubble(t, testConf, func(t *testing.T, w *world) {
		rnd := rand.New(rand.NewPCG(3, 4))
		all := make([]*casualty, n)
		for i := range all {
			all[i] = w.casualty(rnd, i)
			if i%4 == 0 {
				w.damage(rnd, all[i])
			}
		}
		var down atomic.Bool
		down.Store(true)
		w.setAnswer(func(try) dsn.Result {
			if down.Load() {
				return dsn.Temp("4.2.2", "mailbox full")
			}
			return dsn.Success("2.1.5", "ok")
		})
		w.q.scanAll(t.Context())
		time.Sleep(30 * time.Second)
		synctest.Wait() // all have been tried and wait for their second attempt
		for i, c := range all {
			if i%4 == 1 || i%4 == 2 {
				w.damage(rnd, c)
			}
		}
		first := len(w.tried())
		down.Store(false)
		time.Sleep(2 * time.Hour)
		synctest.Wait()

		delivered := make(map[spool.ID]map[string]int)
		for _, tr := range w.tried()[first:] {
			if delivered[tr.id] == nil {
				delivered[tr.id] = make(map[string]int)
			}
			delivered[tr.id][tr.user]++
		}
		alerts := asides(w.log.String())
		right, aside := 0, 0
		for _, c := range all {
			why, err := os.ReadFile(w.spool.Path(spool.PostmanDir, c.id) + ".why")
			switch {
			case err == nil:
				aside++
				if c.damaged == "" || len(why) < 2 || !alerts[c.id] || !w.gone(c.id) {
					t.Errorf("%s, %q: set aside, alert %v: %s", c.id, c.damaged, alerts[c.id], why)
				}
			case !w.gone(c.id):
				t.Errorf("%s, %q: neither delivered nor set aside", c.id, c.damaged)
			default:
				if err := c.check(delivered[c.id]); err != nil {
					t.Errorf("%s, %q: %v", c.id, c.damaged, err)
				}
				if c.damaged != "" {
					right++
				}
			}
		}
		t.Logf("of %d messages %d were damaged and read right, %d set aside", n, right, aside)
		if right == 0 || aside == 0 {
			t.Error("one of the outcomes was not met with")
		}
		w.q.ask(t.Context(), func() {
			if w.q.stats.messages != 0 || w.q.stats.rcpts != 0 || len(w.q.deadline) != 0 || w.q.tasks != 0 || len(w.q.loading) != 0 {
				t.Errorf("left in the index: %+v, %d deadlines, %d tasks, %d being read", w.q.stats.messages, len(w.q.deadline), w.q.tasks, len(w.q.loading))
			}
		})
	})
}

// casualty queues a message to three recipients, some of whom have a history.
func (w *world) casualty(rnd *rand.Rand, i int) *casualty {
	w.t.Helper()
	var to []string
	users := make(map[string]bool)
	for k := range 3 {
		user := fmt.Sprintf("u%d.%d@h%d.test", i, k, rnd.IntN(40))
		to = append(to, "smtp/"+user[strings.Index(user, "@")+1:]+"/"+user)
		users[user] = true
	}
	c := &casualty{id: w.queue(letter{from: "ann@a.test", to: to}), users: users}
	if rnd.IntN(2) == 0 {
		return c
	}
	at := time.Now()
	events := (&spool.Event{Rcpts: []int{0}, At: at, Result: dsn.Success("2.0.0", "ok")}).Append(nil)
	events = (&spool.Event{Rcpts: []int{1}, At: at, Next: at.Add(time.Second), Result: dsn.Temp("4.2.2", "mailbox full")}).Append(events)
	if err := w.spool.AppendEvents(c.id, events); err != nil {
		w.t.Fatal(err)
	}
	c.users[strings.SplitN(to[0], "/", 3)[2]] = false
	return c
}

// damage changes a byte of the control file, or cuts it short.
func (w *world) damage(rnd *rand.Rand, c *casualty) {
	w.t.Helper()
	path := w.spool.ControlPath(c.id)
	whole, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	var b []byte
	b, c.damaged = damage(rnd, whole)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Now(), time.Now()); err != nil { // in virtual time
		w.t.Fatal(err)
	}
}

// check compares who was delivered to with who was to be. An event that is lost means
// a second attempt.
func (c *casualty) check(delivered map[string]int) error {
	for user, open := range c.users {
		switch n := delivered[user]; {
		case open && n == 0:
			return fmt.Errorf("%s did not get it", user)
		case n > 1 || !open && n > 0 && c.damaged == "":
			return fmt.Errorf("%s got it %d times", user, n)
		}
	}
	for user := range delivered {
		if _, known := c.users[user]; !known {
			return fmt.Errorf("%s got it, who is none of its recipients", user)
		}
	}
	return nil
}

// asides are the messages of which the log says that they were set aside.
func asides(log string) map[spool.ID]bool {
	ids := make(map[spool.ID]bool)
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "control file is set aside") || !strings.Contains(line, "level=ERROR") {
			continue
		}
		words := strings.Fields(line)
		if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "spoolid=") }); i >= 0 {
			ids[spool.ID(strings.TrimPrefix(words[i], "spoolid="))] = true
		}
	}
	return ids
}
