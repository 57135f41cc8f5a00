package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol/protocoltest"
	"zmailer/applets/mailq"
	"zmailer/applets/scheduler"
	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

// An instance has a scheduler whose mail waits for flush, so that nothing moves by
// itself.
type instance struct {
	t     *testing.T
	spool *spool.Spool
	stop  func()
}

func newInstance(t *testing.T) *instance {
	t.Helper()
	s := protocoltest.NewSpool(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"zmailer.conf":   fmt.Sprintf("POSTOFFICE=%s\nLOGDIR=%s\nMAILSHARE=%s\nHOSTNAME=mx.test\nSPOOLSYNC=none\n", s.Root, dir, dir),
		"scheduler.conf": "match '*/*' queueonly command=/nonexistent\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("ZCONFIG", filepath.Join(dir, "zmailer.conf"))
	return &instance{t: t, spool: s}
}

func (in *instance) start() {
	in.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cmd := scheduler.Command()
	cmd.SetArgs(nil)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	in.stop = func() {
		cancel()
		if err := <-done; err != nil {
			in.t.Error(err)
		}
		in.stop = func() {}
	}
	in.t.Cleanup(func() { in.stop() })
	in.until("a scan", func() bool {
		var st *queuesock.Status
		err := queuesock.Ask(ctx, in.spool, &queuesock.Request{Op: queuesock.OpStatus}, func(a *queuesock.Answer) error {
			st = a.Status
			return nil
		})
		return err == nil && st.Scan.Scans > 0
	})
}

func (in *instance) until(what string, cond func() bool) {
	in.t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			in.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (in *instance) queue(from string, rcpts ...spool.Rcpt) string {
	in.t.Helper()
	return string(protocoltest.Route(in.t, in.spool, protocoltest.To(from, rcpts...)))
}

// run runs a command and returns what it prints.
func (in *instance) run(args ...string) (string, error) {
	in.t.Helper()
	var out bytes.Buffer
	cmds := append(Commands(), mailq.Command())
	for _, cmd := range cmds {
		if cmd.Name() != args[0] {
			continue
		}
		cmd.SetArgs(args[1:])
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetIn(strings.NewReader(""))
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		err := cmd.ExecuteContext(context.Background())
		return out.String(), err
	}
	in.t.Fatalf("no command %s", args[0])
	return "", nil
}

func (in *instance) want(text string, args ...string) {
	in.t.Helper()
	out, err := in.run(args...)
	if err != nil {
		in.t.Errorf("%v: %v", args, err)
	}
	if !strings.Contains(out, text) {
		in.t.Errorf("%v: want %q in\n%s", args, text, out)
	}
}

var rcpt = protocoltest.Rcpt

func TestEmpty(t *testing.T) {
	in := newInstance(t)
	in.want("Mail queue is empty", "mailq") // the scheduler is down
	in.start()
	if out, err := in.run("mailq"); err != nil || out != "Mail queue is empty\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// TestUnknownID: an id that no message has is told, in the status too, and does not keep
// the others from what is asked for.
func TestUnknownID(t *testing.T) {
	in := newInstance(t)
	const gone = "CR8H6M22HBRX5RRA"
	joe := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	routed := in.submit(spool.RouterDir, "ann@a.test", "")
	in.start()
	fails := func(want string, args ...string) {
		t.Helper()
		out, err := in.run(args...)
		if proc.Code(err) != proc.NoInput || !strings.Contains(err.Error(), "no such message in the spool: "+gone) || !strings.Contains(out, want) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	for _, verb := range verbs {
		fails(verb.done+": 0 recipients", verb.use, gone)
		fails("would be "+verb.done+": 0 recipients", verb.use, "--dry-run", gone)
	}
	fails("rerouted: 0 recipients", "reroute", "--quiet", gone)
	fails(`"unknown":["`+gone+`"]`, "hold", "--json", gone)
	in.want("held: 0 recipients", "hold", routed) // it is there, and not to be held
	in.want("released: 0 recipients", "release", joe)
	fails("deleted: 1 recipients of 1 messages", "delete", gone, strings.ToLower(joe))
	in.until("the message to go", func() bool {
		_, err := os.Stat(in.spool.ControlPath(spool.ID(joe)))
		return os.IsNotExist(err)
	})
	if _, err := in.run("delete", joe); proc.Code(err) != proc.NoInput {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestChanges(t *testing.T) {
	in := newInstance(t)
	joe := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt("smtp", "c.test", "ben@c.test"))
	eve := in.queue("bob@a.test", rcpt("smtp", "b.test", "eve@b.test"))
	null := in.queue("", rcpt("smtp", "d.test", "x@d.test"))
	in.start()
	in.want("Total requests: 3", "mailq")
	in.want("(3 requests)", "mailq")
	in.want("N=2", "mailq", "-Q", "-h", "b.test")
	in.want("3 threads", "mailq", "-Q", "-c", "smt?", "-h", "?.test")
	in.want("would be held: 2 recipients of 1 messages", "hold", "--sender", "ann@*", "--dry-run")
	in.want("held: 1 recipients of 1 messages", "hold", eve)
	in.want("held", "mailq", eve)
	in.want(eve+"!", "mailq")
	in.want("held: 0 recipients", "hold", eve)
	in.want("held: 0 recipients", "hold", "--sender", "nobody@*")
	in.want("released: 1 recipients", "release", "--state", "held")
	in.want("deleted: 1 recipients of 1 messages", "delete", "--domain", "c.test")
	in.want("expired: 1 recipients of 1 messages", "expire", "--sender", "<>")
	in.until("the null sender's message to go", func() bool {
		_, err := os.Stat(in.spool.ControlPath(spool.ID(null)))
		return os.IsNotExist(err)
	})
	in.want("returned to the sender: 1 recipients", "bounce", joe, "--text", "wrong way")
	var report string
	in.until("a report", func() bool {
		entries, err := os.ReadDir(in.spool.Root + "/router")
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != 1 {
			return false
		}
		b, err := os.ReadFile(in.spool.Root + "/router/" + entries[0].Name())
		if err != nil {
			t.Fatal(err)
		}
		report = string(b)
		return true
	})
	for _, want := range []string{"to <ann@a.test>", "wrong way", "5.7.0", "joe@b.test"} {
		if !strings.Contains(report, want) {
			t.Errorf("report lacks %q:\n%s", want, report)
		}
	}
	if strings.Contains(report, "ben@c.test") {
		t.Error("report names a deleted recipient")
	}
	in.want("to be tried now: 1 recipients", "requeue", "--all")
	in.want("Total requests: 2", "mailq") // eve's, and the report that no router takes
	in.want("deleted: 1 recipients", "delete", "--older", "0d", "--larger", "1", "--all")
}

func TestOffline(t *testing.T) {
	in := newInstance(t)
	id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	in.want("the scheduler does not run", "mailq")
	in.want(id, "mailq")
	out, err := in.run("mailq", "-ss")
	if proc.Code(err) != 2 || !strings.Contains(out, "CRITICAL") || !strings.Contains(out, "1 message") {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := in.run("delete", id); proc.Code(err) != proc.Unavailable {
		t.Errorf("delete without a scheduler: %v", err)
	}
	if err := os.WriteFile(in.spool.Root+"/.freeze", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := in.run("mailq", "-ss"); proc.Code(err) != 1 || !strings.Contains(out, "zmailer thaw") {
		t.Errorf("frozen: %v\n%s", err, out)
	}
}

func TestUsage(t *testing.T) {
	in := newInstance(t)
	in.start()
	for _, args := range [][]string{
		{"delete"}, {"delete", "nonsense"}, {"delete", "--older", "soon"}, {"delete", "--larger", "x"}, {"mailq", "nonsense"},
	} {
		if _, err := in.run(args...); proc.Code(err) != proc.Usage {
			t.Errorf("%v: %v, want a usage error", args, err)
		}
	}
}

func TestShow(t *testing.T) {
	in := newInstance(t)
	id := in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"), rcpt("smtp", "c.test", "ben@c.test"))
	at := time.Now().Add(-time.Hour)
	lines := (&spool.Event{Rcpts: []int{0}, At: at, Next: at.Add(3 * time.Hour), Result: dsn.Temp("4.2.2", "mailbox full")}).Append(nil)
	lines = (&spool.Event{Rcpts: []int{1}, At: at, Result: dsn.Perm("5.1.1", "no such user")}).Append(lines)
	lines = spool.AppendReport(lines, []int{1}, at, spool.ReportFailure, spool.NewID())
	lines = spool.AppendHold(lines, true, at)
	if err := in.spool.AppendEvents(spool.ID(id), lines); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"<joe@b.test> held, tried 1 times", "deferred 0 4.2.2 mailbox full", "failed 1 5.1.1 no such user", "report 1 failure", "held", "1    smtp/c.test ben@c.test: failed"} {
		in.want(want, "show", strings.ToLower(id))
	}
	out, err := in.run("show", "--json", id)
	var m Shown
	if err != nil || json.Unmarshal([]byte(out), &m) != nil || len(m.History) != 4 || m.Entry == nil {
		t.Errorf("%v: %s", err, out)
	}
	sub, err := in.spool.SubmitMessage(t.Context(), &spool.Envelope{HasFrom: true, From: "eve@a.test", To: []spool.Recipient{{Addr: "joe@b.test"}}}, strings.NewReader("Subject: x\n\nthe body\n"))
	if err != nil {
		t.Fatal(err)
	}
	in.want("the body", "show", "--body", string(sub))
	in.want("not routed", "show", string(sub))
	if _, err := in.run("show", string(spool.NewID())); proc.Code(err) != proc.NoInput {
		t.Errorf("unknown id: %v", err)
	}
}

func TestHealthJSON(t *testing.T) {
	in := newInstance(t)
	in.queue("ann@a.test", rcpt("smtp", "b.test", "joe@b.test"))
	in.start()
	out, err := in.run("mailq", "-ss", "--json")
	var h mailq.Health
	if proc.Code(err) != 2 || json.Unmarshal([]byte(out), &h) != nil { // the router does not run
		t.Fatalf("%v\n%s", err, out)
	}
	if h.Level != "critical" || h.Scheduler == nil || h.Scheduler.Messages != 1 || h.Scheduler.Threads["queueonly"] != 1 {
		t.Errorf("%+v", h)
	}
}
