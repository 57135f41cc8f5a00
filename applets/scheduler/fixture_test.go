package scheduler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A world is a spool with a queue in it, whose agents are goroutines.
type world struct {
	t     testing.TB
	spool *spool.Spool
	q     *Queue
	log   *logBuffer
	stop  func()

	mu    sync.Mutex
	tries []try
	// answer says what becomes of a recipient.
	answer func(try) dsn.Result
	// agent, if set, is the agent in place of the one that asks answer.
	agent    func(in io.Reader, out io.Writer) error
	launched int
}

type try struct {
	at      time.Time
	id      spool.ID
	channel string
	host    string
	user    string
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

const testConf = `
match '*/*' interval=1m retries='1 2 3 5' skew=0 expiry=1d delay-warning=4h initial=2 maxthr=4 command=fake
match 'error/*' delay-warning=0
match 'local/*' maxthr=50 initial=50
match 'parked/*' queueonly
match 'never/*' delay-warning=0
`

// newWorld makes a world without starting the queue.
func newWorld(t testing.TB, conf string) *world {
	t.Helper()
	root := t.TempDir()
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	s.NoSync = true
	w := &world{t: t, spool: s, log: new(logBuffer)}
	w.answer = func(try) dsn.Result { return dsn.Success("2.0.0", "ok") }
	w.reopen(conf)
	return w
}

// reopen makes a new queue on the same spool, as after a restart.
func (w *world) reopen(conf string) {
	c, err := parseConfig(context.Background(), "test.conf", []byte(conf), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.q = newQueue(w.spool, c, w, slog.New(slog.NewTextHandler(w.log, nil)))
	w.q.reporter = reporter{host: "mx.test", forms: new(dsn.FormSet), doubleBounce: c.DoubleBounce}
}

// run starts the queue; the world ends with the test or with stop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	q := w.q
	go func() {
		defer close(done)
		q.run(ctx)
	}()
	w.stop = func() {
		cancel()
		<-done
	}
}

// launch implements launcher.
func (w *world) launch(s *agentSpec) (*child, error) {
	w.mu.Lock()
	w.launched++
	n := w.launched
	agent := w.agent
	w.mu.Unlock()
	if s.argv[0] == "/scarce" && n <= 20 {
		return nil, &os.PathError{Op: "fork/exec", Path: s.argv[0], Err: syscall.EMFILE}
	}
	if s.argv[0] == "/nonexistent" {
		return nil, fmt.Errorf("no such file")
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		var err error
		if agent != nil {
			err = agent(inR, outW)
		} else {
			err = w.serve(inR, outW)
		}
		inR.Close()
		outW.Close()
		select {
		case ended <- err:
		default:
		}
	}()
	kill := func() {
		inR.CloseWithError(io.EOF)
		outW.Close()
		select {
		case ended <- errors.New("killed"): // its goroutine may work on, as no process could
		default:
		}
	}
	return &child{pid: n, in: inW, out: outR, kill: kill, wait: func() error { return <-ended }}, nil
}

func (w *world) serve(in io.Reader, out io.Writer) error {
	a := &protocol.Agent{Spool: w.spool, Capacity: 10, Deliver: func(_ context.Context, d *protocol.Delivery) {
		for _, g := range d.Groups() {
			for _, r := range g.Rcpts {
				tr := try{time.Now(), d.ID, r.Channel, r.Host, r.User}
				w.mu.Lock()
				w.tries = append(w.tries, tr)
				answer := w.answer
				w.mu.Unlock()
				d.Report(r.N, answer(tr))
			}
		}
	}}
	return protocol.Serve(context.Background(), a, in, out)
}

func (w *world) tried() []try {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]try(nil), w.tries...)
}

func (w *world) setAnswer(fn func(try) dsn.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = fn
}

// A letter is a message to be queued.
type letter struct {
	from    string
	to      []string // "channel/host/user" with perhaps "?NOTIFY" and "?ORCPT" behind it
	arrival time.Time
	errmsg  bool
	ret     string

	priority string
	comment  string
	attr     spool.Attributes // with the others

	before map[int]time.Time // recipients that are not tried before
	kept   map[int]bool
	by     spool.DeliverBy
}

// queue puts a message into the spool, as the router does.
func (w *world) queue(l letter) spool.ID {
	w.t.Helper()
	msg := "Subject: test\n\nhello\n"
	id, err := w.spool.SubmitMessage(context.Background(), &spool.Envelope{HasFrom: true, From: l.from, Comment: l.comment}, strings.NewReader(msg))
	if err != nil {
		w.t.Fatal(err)
	}
	st, err := os.Stat(w.spool.Path(spool.RouterDir, id))
	if err != nil {
		w.t.Fatal(err)
	}
	if l.arrival.IsZero() {
		l.arrival = time.Now()
	}
	g := spool.Group{Sender: spool.Hop{Channel: "smtp", User: l.from}, By: l.by, Header: []byte("Subject: test\n\n")}
	for i, to := range l.to {
		to, notify, _ := strings.Cut(to, "?")
		notify, orcpt, _ := strings.Cut(notify, "?")
		f := strings.SplitN(to, "/", 3)
		g.Rcpts = append(g.Rcpts, spool.Rcpt{N: i, Hop: spool.Hop{Channel: f[0], Host: f[1], User: f[2]}, Notify: notify, ORcpt: orcpt, NotBefore: l.before[i], Kept: l.kept[i]})
	}
	attr := l.attr
	attr.ErrorMsg, attr.Ret, attr.Priority = l.errmsg, l.ret, l.priority
	c := &spool.Control{
		ID: id, Size: st.Size(), HeaderOffset: st.Size() - int64(len(msg)), BodyOffset: st.Size() - int64(len("hello\n")),
		Arrival: l.arrival, Groups: []spool.Group{g}, Attr: attr,
	}
	if err := w.spool.Route(spool.RouterDir, c, nil); err != nil {
		w.t.Fatal(err)
	}
	return id
}

// send queues a message and tells the queue of it, as the watcher does.
func (w *world) send(l letter) spool.ID {
	w.t.Helper()
	id := w.queue(l)
	w.q.post(func() { w.q.consider(id, false, func() {}) })
	return id
}

// gone says whether nothing of a message is left.
func (w *world) gone(id spool.ID) bool {
	_, err1 := os.Lstat(w.spool.QueuePath(id))
	_, err2 := os.Lstat(w.spool.ControlPath(id))
	return os.IsNotExist(err1) && os.IsNotExist(err2)
}

// reports returns the reports submitted so far.
func (w *world) reports() []string {
	w.t.Helper()
	var out []string
	entries, err := os.ReadDir(w.spool.Root + "/" + spool.RouterDir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(w.spool.Root + "/" + spool.RouterDir + "/" + e.Name())
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}

func containsLine(text, line string) bool {
	for l := range strings.Lines(text) {
		if strings.TrimSpace(l) == line {
			return true
		}
	}
	return false
}

func (w *world) control(id spool.ID) *spool.Control {
	w.t.Helper()
	c, err := spool.ReadControl(w.spool.ControlPath(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// inBubble runs a test in virtual time with a running queue.
func inBubble(t *testing.T, conf string, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf)
		w.run()
		defer func() {
			w.stop()
			if t.Failed() {
				t.Logf("log:\n%s", w.log)
			}
		}()
		fn(t, w)
	})
}
