package queue

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

func TestForecast(t *testing.T) {
	in := newInstance(t)
	id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt("smtp", "c.test", "ben@c.test"))
	held := in.queue("ann@a.test", rcpt("smtp", "d.test", "eve@d.test"))
	now := time.Now()
	ev := (&spool.Event{Rcpts: []int{0}, At: now, Next: now.Add(50 * time.Minute), Result: dsn.Temp("4.2.2", "mailbox full")}).Append(nil)
	if err := in.spool.AppendEvents(spool.ID(id), ev); err != nil {
		t.Fatal(err)
	}
	in.start()
	in.want("held: 1", "hold", held)
	out, err := in.run("forecast", "--json", "-n", "3")
	var f Forecast
	if err != nil || json.Unmarshal([]byte(out), &f) != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := make(map[string]Step)
	for _, s := range f.Steps {
		got[s.Within] = s
	}
	if f.Held != 1 || got["now"].Attempts != 1 || got["1h"].Attempts != 1 || got["4h"].Warnings != 2 || got["later"].Expiries != 2 {
		t.Errorf("%+v", f)
	}
	if len(f.Events) != 3 || f.Events[0].Address != "ben@c.test" || f.Events[1].Time != now.Add(50*time.Minute).Unix() || f.Events[2].What != "warning" {
		t.Errorf("events %+v", f.Events)
	}
	in.want("expiry   "+id+" <joe@b.test> smtp/b.test", "forecast", id)
	in.want("held             1", "forecast")
}

// TestForecastTrim keeps the first events of many.
func TestForecastTrim(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	f := newForecast(now, 10)
	for i := range 20_000 {
		f.event(&queuesock.Entry{}, &queuesock.Recipient{}, "attempt", now.Unix()+int64((i*7919)%20_000))
	}
	f.trim(0)
	if len(f.Events) != 10 || f.Events[0].Time != now.Unix() || f.Events[9].Time != now.Unix()+9 {
		t.Errorf("%+v", f.Events)
	}
}

func TestMetrics(t *testing.T) {
	in := newInstance(t)
	in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt(`we"ird`, "b.test", "joe@b.test"))
	in.want(`zmailer_daemon_up{daemon="scheduler"} 0`, "metrics")
	in.start()
	for _, want := range []string{
		"zmailer_queue_messages 1\n", `zmailer_queue_recipients{channel="smtp"} 1`, `channel="we\"ird",state="queueonly"} 1`,
		`zmailer_daemon_up{daemon="scheduler"} 1`, `zmailer_delivery_seconds_bucket{le="+Inf"} 0`, `zmailer_directory_messages{directory="transport"} 1`,
		"# TYPE zmailer_attempts_total counter",
	} {
		in.want(want, "metrics")
	}
	out, err := in.run("metrics")
	if err != nil {
		t.Fatal(err)
	}
	types := make(map[string]bool)
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			if types[name] {
				t.Errorf("%s is declared twice", name)
			}
			types[name] = true
			continue
		}
		name, _, _ = strings.Cut(name, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		if !strings.HasPrefix(line, "#") && !types[name] {
			t.Errorf("no type is declared for %q", line)
		}
	}
}

func TestEtrn(t *testing.T) {
	in := newInstance(t)
	in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt("smtp", "x.b.test", "ben@x.b.test"), rcpt("local", "", "eve"))
	in.start()
	for name, n := range map[string]string{"b.test": "1", "B.TEST": "1", "@b.test": "2", "#smtp/*": "2", "#local/": "1", "c.test": "0"} {
		in.want("to be tried now: "+n+" recipients", "flush", "--dry-run", name)
	}
}

// TestReroute: the recipients selected go back to the router in a message of their
// own, the others stay.
func TestReroute(t *testing.T) {
	in := newInstance(t)
	id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt("smtp", "c.test", "ben@c.test"))
	in.start()
	in.want("would be rerouted: 1 recipients of 1 messages", "reroute", "-q", "--host", "b.test", "--dry-run")
	in.want("rerouted: 1 recipients of 1 messages", "reroute", "-q", "--host", "b.test")
	var text string
	in.until("the message to be submitted again", func() bool {
		entries, err := os.ReadDir(in.spool.Root + "/router")
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 {
			return false
		}
		b, err := os.ReadFile(in.spool.Root + "/router/" + entries[0].Name())
		text = string(b)
		return err == nil
	})
	if !strings.Contains(text, "via reroute\n") || !strings.Contains(text, "to <joe@b.test>\n") || strings.Contains(text, "ben@c.test>\nenv-end") || !strings.Contains(text, "from <ann@a.test>\n") {
		t.Errorf("submitted again:\n%s", text)
	}
	in.until("the event", func() bool {
		c, err := spool.ReadControl(in.spool.ControlPath(spool.ID(id)))
		return err == nil && c.Rcpt(0).State == spool.Dropped && c.Rcpt(1).State == spool.Pending
	})
	in.want("rerouted: 1 recipients of 1 messages", "reroute", "-q", id)
	in.until("the message to go", func() bool {
		_, err := os.Stat(in.spool.ControlPath(spool.ID(id)))
		return os.IsNotExist(err)
	})
}

// TestRerouteFails: what cannot be submitted again stays in the queue.
func TestRerouteFails(t *testing.T) {
	in := newInstance(t)
	id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	in.start()
	public := in.spool.Root + "/" + spool.PublicDir
	if err := os.Rename(public, public+".away"); err != nil {
		t.Fatal(err)
	}
	req := &queuesock.Request{Op: queuesock.OpReroute, Select: queuesock.Selection{IDs: []string{id}}}
	if c, err := send(t.Context(), in.spool, req, nil); err != nil || c.Recipients != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	in.until("the error to be logged", func() bool {
		b, err := os.ReadFile(filepath.Join(logDir(in), "scheduler"))
		return err == nil && strings.Contains(string(b), "recipients stay in the queue")
	})
	if err := os.Rename(public+".away", public); err != nil {
		t.Fatal(err)
	}
	in.until("the recipient to be there again", func() bool {
		out, err := in.run("mailq", "-v", id)
		return err == nil && strings.Contains(out, "joe@b.test")
	})
	in.until("rerouting to work", func() bool {
		_, err := in.run("reroute", "-q", id)
		if err != nil && proc.Code(err) != proc.NoInput { // it went after the last look
			t.Fatal(err)
		}
		_, err = os.Stat(in.spool.ControlPath(spool.ID(id)))
		return os.IsNotExist(err)
	})
}
