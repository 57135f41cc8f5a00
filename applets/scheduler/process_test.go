package scheduler

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/applets/mailq"
	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

// The test binary is also the agent that the scheduler starts.
func TestMain(m *testing.M) {
	if kind := os.Getenv("SCHEDULER_TEST_AGENT"); kind != "" {
		if err := actAs(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// actAs is the agent: what its recipients' users ask for happens.
func actAs(kind string) error {
	if kind == "scheduler" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		cmd := Command()
		cmd.SetArgs(nil)
		return cmd.ExecuteContext(ctx)
	}
	if kind == "mailq" {
		cmd := mailq.Command()
		cmd.SetArgs(os.Args[1:])
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		if err := cmd.Execute(); proc.Code(err) > 2 { // 1 and 2 are what it has found out
			return err
		}
		return nil
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	s, err := spool.Open(root)
	if err != nil {
		return err
	}
	if kind == "dies" {
		return errors.New("cannot start")
	}
	a := &protocol.Agent{Spool: s, Capacity: 20, Deliver: func(ctx context.Context, d *protocol.Delivery) {
		for _, g := range d.Groups() {
			for _, r := range g.Rcpts {
				d.Report(r.N, misbehave(ctx, d, r.User))
			}
		}
	}}
	return protocol.Serve(context.Background(), a, os.Stdin, os.Stdout)
}

func misbehave(ctx context.Context, d *protocol.Delivery, user string) dsn.Result {
	switch user {
	case "crash":
		os.Exit(3)
	case "hang":
		select {}
	case "garbage":
		fmt.Print("hello\n\x00\tworld\nresult\t1\nresult\t999999\t0\tok\t2.0.0\t\tl\tnever given\n#hungry 99999999\n")
	case "megabyte":
		fmt.Print(strings.Repeat("x", 1<<20) + "\n")
	case "half":
		fmt.Print("result\t7")
		os.Exit(0)
	case "stderr":
		fmt.Fprintln(os.Stderr, "something is odd")
	case "full":
		return dsn.Temp("4.2.2", "mailbox full")
	case "unknown":
		return dsn.Perm("5.1.1", "no such user")
	}
	f, err := os.OpenFile("delivered", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return dsn.Temp("4.3.0", "%v", err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %s\n", d.ID, user); err != nil {
		return dsn.Temp("4.3.0", "%v", err)
	}
	return dsn.Success("2.0.0", "delivered")
}

// An instance is a scheduler as a program, with real agents.
type instance struct {
	*world
	conf *shellcfg.Conf
	end  func() error
}

const processConf = `
match '*/*' interval=1m retries=1 skew=0 command="SCHEDULER_TEST_AGENT=yes $SELF" deadline=2s
match 'dies/*' command="SCHEDULER_TEST_AGENT=dies $SELF"
match 'none/*' command=/nonexistent/agent
`

func newInstance(t *testing.T) *instance {
	t.Helper()
	w := newWorld(t, testConf)
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("zmailer.conf", fmt.Sprintf("POSTOFFICE=%s\nLOGDIR=%s\nMAILSHARE=%s\nHOSTNAME=mx.test\nSPOOLSYNC=none\nSELF=%s\n", w.spool.Root, dir, dir, self))
	write("scheduler.conf", processConf)
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return &instance{world: w, conf: conf}
}

func (in *instance) start() {
	in.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, in.conf) }()
	in.end = func() error {
		cancel()
		return <-done
	}
	in.until("the scheduler to answer", func() bool {
		select {
		case err := <-done:
			in.t.Fatalf("scheduler: %v", err)
		default:
		}
		return in.status() != nil
	})
}

// until waits for a condition that other processes bring about.
func (in *instance) until(what string, cond func() bool) {
	in.t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			log, _ := os.ReadFile(in.conf.LogPath("scheduler"))
			in.t.Fatalf("waited in vain for %s; log:\n%s", what, log)
		}
	}
}

func (in *instance) status() (st *queuesock.Status) {
	err := queuesock.Ask(context.Background(), in.spool, &queuesock.Request{Op: queuesock.OpStatus}, func(a *queuesock.Answer) error {
		st = a.Status
		return nil
	})
	if err != nil && !errors.Is(err, queuesock.ErrDown) {
		in.t.Error(err)
	}
	return st
}

func (in *instance) delivered() map[string]int {
	b, err := os.ReadFile(filepath.Join(in.spool.Root, "delivered"))
	if err != nil && !os.IsNotExist(err) {
		in.t.Fatal(err)
	}
	n := make(map[string]int)
	for line := range strings.Lines(string(b)) {
		n[strings.TrimSpace(line)]++
	}
	return n
}

func TestProcesses(t *testing.T) {
	in := newInstance(t)
	before := in.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/early"}})
	in.start()
	defer func() {
		if err := in.end(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := proc.LockPidFile(in.spool.RunPath("scheduler.pid")); err == nil {
		t.Error("a second scheduler could start")
	}
	ids := []spool.ID{before}
	for i := range 200 {
		ids = append(ids, in.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/joe", "local//u" + strconv.Itoa(i%3)}}))
	}
	in.until("an empty queue", func() bool { return in.status().Rates["total"].Out == len(ids) })
	got := in.delivered()
	for _, id := range ids {
		if !in.gone(id) {
			t.Errorf("%s is still there", id)
		}
	}
	if len(got) != 401 {
		t.Errorf("%d deliveries, want 401", len(got))
	}
	for what, n := range got {
		if n != 1 {
			t.Errorf("%s: delivered %d times", what, n)
		}
	}
}

func TestBadAgents(t *testing.T) {
	in := newInstance(t)
	in.start()
	good := in.queue(letter{from: "ann@a.test", to: []string{"good/b.test/joe"}})
	bad := make(map[string]spool.ID)
	for _, user := range []string{"crash", "hang", "half"} {
		bad[user] = in.queue(letter{from: "ann@a.test", to: []string{user + "/b.test/" + user}})
	}
	bad["dies"] = in.queue(letter{from: "ann@a.test", to: []string{"dies/b.test/x"}})
	bad["none"] = in.queue(letter{from: "ann@a.test", to: []string{"none/b.test/x"}})
	var odd []spool.ID
	for _, user := range []string{"garbage", "megabyte", "stderr"} {
		odd = append(odd, in.queue(letter{from: "ann@a.test", to: []string{user + "/b.test/" + user}}))
	}
	in.until("good deliveries", func() bool {
		for _, id := range append(odd, good) {
			if !in.gone(id) {
				return false
			}
		}
		return true
	})
	for _, user := range []string{"crash", "hang", "half"} {
		in.until(user+" to be deferred", func() bool { return in.control(bad[user]).Rcpt(0).Attempts == 1 })
		r := in.control(bad[user]).Rcpt(0)
		if r.State != spool.Pending || r.Next.Before(time.Now().Add(30*time.Second)) || !strings.HasPrefix(r.Last.Text, "transport agent") {
			t.Errorf("%s: %+v", user, r)
		}
	}
	for _, user := range []string{"dies", "none"} {
		if r := in.control(bad[user]).Rcpt(0); r.Attempts != 0 {
			t.Errorf("%s: an attempt was counted: %+v", user, r)
		}
	}
	st := in.status()
	if st.Problems.Garbage < 5 {
		t.Errorf("%d lines of garbage counted", st.Problems.Garbage)
	}
	if err := in.end(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(in.conf.LogPath("scheduler"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"something is odd", "cannot start", "/nonexistent/agent", "it holds a job for too long", "line longer than"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("log lacks %q", want)
		}
	}
	if n := strings.Count(string(log), "cannot start"); n > 6 {
		t.Errorf("agent that dies at once was started %d times", n)
	}
}

func TestReload(t *testing.T) {
	in := newInstance(t)
	in.start()
	id := in.queue(letter{from: "ann@a.test", to: []string{"none/b.test/joe"}})
	in.until("the message to be seen", func() bool { return in.status().Messages == 1 })
	text := strings.Replace(processConf, "match 'none/*' command=/nonexistent/agent\n", "", 1)
	path := in.conf.Path("scheduler.conf")
	if err := os.WriteFile(path, []byte(text+"match 'bad/*' nonsense=1"), 0o600); err != nil {
		t.Fatal(err)
	}
	hup := func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	hup()
	in.until("the bad configuration to be refused", func() bool {
		log, err := os.ReadFile(in.conf.LogPath("scheduler"))
		return err == nil && strings.Contains(string(log), "scheduler.conf:4")
	})
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	hup()
	in.until("delivery with the new configuration", func() bool { return in.gone(id) })
	if err := in.end(); err != nil {
		t.Error(err)
	}
}

// TestHostileClients: garbage, half frames and many connections at once do not
// disturb the others.
func TestHostileClients(t *testing.T) {
	in := newInstance(t)
	in.start()
	dial := func() net.Conn {
		c, err := net.Dial("unix", in.spool.RunPath(queuesock.Socket))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, text := range []string{"\n", "{}\n", "nonsense\n", `{"op":"delete"}` + "\n", `{"op":"sing"}` + "\n", strings.Repeat("x", 2*queuesock.MaxLine)} {
		c := dial()
		_, _ = io.WriteString(c, text) // refused while being written: as good
		line, err := bufio.NewReader(c).ReadString('\n')
		var a queuesock.Answer
		if bad := json.Unmarshal([]byte(line), &a); err == nil && (bad != nil || a.Error == "") {
			t.Errorf("%.20q: answer %q", text, line)
		}
		c.Close()
	}
	var conns []net.Conn
	for range 1000 {
		c := dial()
		conns = append(conns, c)
		if _, err := io.WriteString(c, `{"op":`); err != nil && !errors.Is(err, syscall.EPIPE) {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
	in.until("an answer", func() bool {
		var st *queuesock.Status
		err := queuesock.Ask(context.Background(), in.spool, &queuesock.Request{Op: queuesock.OpStatus}, func(a *queuesock.Answer) error {
			st = a.Status
			return nil
		})
		return err == nil && st != nil
	})
	if err := in.end(); err != nil {
		t.Error(err)
	}
}

// TestConcurrentIntake has the watcher and scans find the same files while they
// are delivered: each message is delivered once.
func TestConcurrentIntake(t *testing.T) {
	w := newWorld(t, testConf)
	var ids []spool.ID
	for range 300 {
		ids = append(ids, w.queue(letter{from: "ann@a.test", to: []string{"local//joe"}}))
	}
	w.run()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for _, i := range rand.Perm(len(ids)) {
				var done sync.WaitGroup
				done.Add(1)
				w.q.post(func() { w.q.consider(ids[i], i%2 == 0, done.Done) })
				done.Wait()
			}
		})
	}
	wg.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := 0
		for _, id := range ids {
			if !w.gone(id) {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d messages are left", left)
		}
	}
	w.stop()
	if n := len(w.tried()); n != len(ids) {
		t.Errorf("%d attempts for %d messages", n, len(ids))
	}
}
