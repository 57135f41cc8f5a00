// Load sends messages to a mailer while somebody breaks things around it, and
// checks afterwards that nothing it took responsibility for is lost. run.sh, which
// calls it, has the faults.
//
//	load send  -addr HOST:PORT -ledger FILE [-n N] [-sessions N] [-sendmail PATH -submitters N] [-users joe,ann] [-limit 5m]
//	load check -spool DIR -ledger FILE -maildirs joe=DIR,ann=DIR [-wait 60s]
//
// A message that is refused for now is sent again, under another id, until it is
// taken, like any mail server would do. The ledger has a line for each message that
// was taken: its id and its recipients.
//
// The status is 0 if all is well, 1 if mail was lost, damaged, or refused for good,
// 2 if the load itself could not do its work.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"zmailer/testdata/load"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: load send|check OPTION...")
		os.Exit(2)
	}
	var good bool
	var err error
	switch os.Args[1] {
	case "send":
		good, err = send(os.Args[2:])
	case "check":
		good, err = check(os.Args[2:])
	default:
		err = fmt.Errorf("%q: want send or check", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

// A sender is one run of "load send".
type sender struct {
	users  []string
	n      int64
	size   int
	ctx    context.Context
	ledger *ledger

	next      atomic.Int64 // number of the next message
	later     atomic.Int64 // refusals for now
	broken    atomic.Int64 // connections that ended in the middle, or were not made
	permanent atomic.Int64

	mu    sync.Mutex
	texts map[string]int // of refusals
}

func send(args []string) (bool, error) {
	s := &sender{texts: make(map[string]int)}
	f := flag.NewFlagSet("send", flag.ExitOnError)
	addr := f.String("addr", "", "of the SMTP server")
	file := f.String("ledger", "", "file to write what was taken to")
	f.Int64Var(&s.n, "n", 1000, "messages")
	f.IntVar(&s.size, "size", 3000, "bytes in a body")
	sessions := f.Int("sessions", 10, "SMTP connections")
	program := f.String("sendmail", "", "program to submit some of them with")
	submitters := f.Int("submitters", 2, "how many of that at once")
	users := f.String("users", "joe,ann", "recipients")
	limit := f.Duration("limit", 5*time.Minute, "give up then")
	if err := f.Parse(args); err != nil {
		return false, err
	}
	s.users = strings.Split(*users, ",")
	ctx, cancel := context.WithTimeout(context.Background(), *limit)
	defer cancel()
	s.ctx = ctx
	var err error
	if s.ledger, err = newLedger(*file); err != nil {
		return false, err
	}
	start := time.Now()
	var wg sync.WaitGroup
	for range *sessions {
		session := &load.Session{Addr: *addr, Timeout: 30 * time.Second}
		wg.Go(func() {
			defer session.Close()
			s.work(session.Send)
		})
	}
	if *program != "" {
		for range *submitters {
			wg.Go(func() {
				s.work(func(m *load.Message) error { return load.Sendmail(ctx, *program, m) })
			})
		}
	}
	wg.Wait()
	taken, err := s.ledger.close()
	fmt.Printf("sent: %d taken in %.1f s, %d refused for now, %d for good, %d broken connections\n",
		taken, time.Since(start).Seconds(), s.later.Load(), s.permanent.Load(), s.broken.Load())
	for text, n := range s.texts {
		fmt.Printf("sent: %6d x %s\n", n, text)
	}
	if err == nil && int64(taken) < s.n {
		err = fmt.Errorf("%d messages were not taken within %s", s.n-int64(taken), *limit)
	}
	return s.permanent.Load() == 0, err
}

// work sends messages until all are sent.
func (s *sender) work(how func(*load.Message) error) {
	for {
		n := s.next.Add(1)
		if n > s.n {
			return
		}
		m := &load.Message{To: s.users[:1+int(n)%len(s.users)], Size: s.size}
		for try := 1; s.ctx.Err() == nil; try++ {
			m.ID = fmt.Sprintf("m%d.%d", n, try)
			err := how(m)
			if err == nil {
				s.ledger.write(m)
				break
			}
			if s.refused(err) {
				return
			}
			select {
			case <-s.ctx.Done():
			case <-time.After(min(time.Duration(try)*50*time.Millisecond, time.Second)):
			}
		}
	}
}

// refused notes why a message was not taken, and is true if that was for good.
func (s *sender) refused(err error) bool {
	var no *load.Refused
	if !errors.As(err, &no) {
		s.broken.Add(1)
		return false
	}
	text := no.Error()
	s.mu.Lock()
	if s.texts[text] > 0 || len(s.texts) < 20 {
		s.texts[text]++
	}
	s.mu.Unlock()
	if no.Permanent() {
		s.permanent.Add(1)
		return true
	}
	s.later.Add(1)
	return false
}

// A ledger is the file of what was taken.
type ledger struct {
	mu  sync.Mutex
	f   *os.File
	w   *bufio.Writer
	n   int
	err error
}

func newLedger(path string) (*ledger, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &ledger{f: f, w: bufio.NewWriter(f)}, nil
}

func (l *ledger) write(m *load.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	if _, err := fmt.Fprintf(l.w, "%s %s\n", m.ID, strings.Join(m.To, ",")); err != nil {
		l.err = err
	}
}

func (l *ledger) close() (int, error) {
	return l.n, errors.Join(l.err, l.w.Flush(), l.f.Close())
}

func readLedger(path string) (map[string][]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	acked := make(map[string][]string)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%s: bad line %q", path, line)
		}
		acked[f[0]] = strings.Split(f[1], ",")
	}
	return acked, nil
}

func check(args []string) (bool, error) {
	f := flag.NewFlagSet("check", flag.ExitOnError)
	spool := f.String("spool", "", "POSTOFFICE")
	file := f.String("ledger", "", "file of load send")
	dirs := f.String("maildirs", "", "USER=DIR,...")
	wait := f.Duration("wait", time.Minute, "how long the spool may take to become empty")
	if err := f.Parse(args); err != nil {
		return false, err
	}
	acked, err := readLedger(*file)
	if err != nil {
		return false, err
	}
	maildirs := make(map[string]string)
	for word := range strings.SplitSeq(*dirs, ",") {
		user, dir, ok := strings.Cut(word, "=")
		if !ok {
			return false, fmt.Errorf("-maildirs %s: want USER=DIR", word)
		}
		maildirs[user] = dir
	}
	start := time.Now()
	waiting, err := drain(*spool, *wait)
	if err != nil {
		return false, err
	}
	took := time.Since(start)
	// What is in neither place may be on its way: the spool is looked at first.
	held, err := load.Spool(*spool)
	if err != nil {
		return false, err
	}
	got, err := load.Maildirs(maildirs)
	if err != nil {
		return false, err
	}
	t, lost := load.NewTally(acked, got.Places, func(id string) bool { return held.Places[id] != nil })
	damaged := append(got.Damaged, held.Damaged...)
	fmt.Printf("check: %d taken for %d: %d delivered, %d queued, %d lost, %d duplicates, %d damaged, %d other messages; drained in %.1f s, %d files left\n",
		t.Acked, t.Recipients, t.Delivered, t.Held, t.Lost, t.Duplicates, len(damaged), got.Foreign, took.Seconds(), waiting)
	for _, s := range append(lost[:min(len(lost), 10)], damaged[:min(len(damaged), 10)]...) {
		fmt.Println("check:", s)
	}
	// What waits for an administrator has not recovered by itself.
	return t.Lost == 0 && t.Held == 0 && len(damaged) == 0 && waiting == 0 && t.Acked > 0, nil
}

// drain waits until the spool is empty, and returns how many files are left.
func drain(spool string, wait time.Duration) (n int, err error) {
	deadline := time.Now().Add(wait)
	for {
		n, err = load.Waiting(spool)
		if err != nil || n == 0 || time.Now().After(deadline) {
			return n, err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
