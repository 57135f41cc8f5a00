package sendmail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// A follower watches a submitted message until its first delivery attempts are
// over: -odi waits so, and -v shows what happens. Nothing that it sees changes
// the status, for the message is safe.
//
// Root and the owner of the instance may read the logs and see their lines.
// Others see what the scheduler tells them of their own mail.
type follower struct {
	conf  *shellcfg.Conf
	spool *spool.Spool
	out   io.Writer // io.Discard for -odi alone
	logs  []*logTail
	said  map[int]string // what was shown last of each recipient
	gone  bool           // out of the queue: a line will say that it is done
}

const (
	followTick  = 50 * time.Millisecond
	followLimit = 10 * time.Minute
	// A message that the router took is unknown to everybody we can ask for a
	// moment, until the scheduler has found it.
	unknownLimit = 2 * time.Second
	// The line that a message is done is in a log, or not to be had.
	lastLineLimit = 2 * time.Second
)

func (o *options) newFollower(out io.Writer) (*follower, error) {
	conf, err := o.conf()
	if err != nil {
		return nil, err
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return nil, proc.Exit(proc.TempFail, "%w", err)
	}
	f := &follower{conf: conf, spool: s, out: out, said: make(map[int]string)}
	if !o.verbose {
		f.out = io.Discard
	}
	for _, name := range []string{"router", "scheduler"} {
		if t, err := openTail(conf.LogPath(name)); err == nil {
			f.logs = append(f.logs, t)
		}
	}
	return f, nil
}

func (f *follower) say(format string, args ...any) {
	_, _ = fmt.Fprintf(f.out, format+"\n", args...) // a terminal that is gone changes nothing
}

// follow returns when the first attempts are over, when nothing will happen soon,
// or when ctx ends.
func (f *follower) follow(ctx context.Context, id spool.ID) {
	defer func() {
		for _, t := range f.logs {
			t.f.Close()
		}
	}()
	f.say("%s: accepted", id)
	ctx, cancel := context.WithTimeout(ctx, followLimit)
	defer cancel()
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	var routed time.Time // when it was seen first that the router took it
	for {
		done := f.showLogs(id)
		if !done && routed.IsZero() {
			switch waits, why := f.atRouter(id); {
			case why != "":
				f.say("%s: %s", id, why)
				done = true
			case !waits:
				routed = time.Now()
			}
		}
		if !done && !routed.IsZero() {
			done = f.askScheduler(ctx, id, routed)
		}
		if done {
			f.lastLines(ctx, id)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// atRouter says whether the message still waits for the router, and why it will
// go on waiting.
func (f *follower) atRouter(id spool.ID) (waits bool, why string) {
	if _, err := os.Lstat(f.spool.Path(spool.RouterDir, id)); errors.Is(err, fs.ErrNotExist) {
		return false, ""
	}
	pid, err := proc.Running(f.spool.RunPath("router.pid"))
	if err == nil && pid == 0 {
		return true, "the router does not run; the message waits in the spool"
	}
	return true, ""
}

// askScheduler shows what the scheduler says of the message, and reports whether
// its first attempts are over.
func (f *follower) askScheduler(ctx context.Context, id spool.ID, routed time.Time) (done bool) {
	var entry *queuesock.Entry
	req := &queuesock.Request{Op: queuesock.OpList, Select: queuesock.Selection{IDs: []string{string(id)}}}
	err := queuesock.Ask(ctx, f.spool, req, func(a *queuesock.Answer) error {
		if a.Entry != nil {
			entry = a.Entry
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return true
	case errors.Is(err, queuesock.ErrDown):
		f.say("%s: routed; the scheduler does not run, and the message waits in the queue", id)
		return true
	case err != nil:
		f.say("%s: %v", id, err)
		return true
	case entry != nil:
		return f.showEntry(entry)
	case len(f.said) > 0:
		f.say("%s: out of the queue", id)
		f.gone = true
		return true
	}
	if time.Since(routed) < unknownLimit {
		return false
	}
	f.say("%s: routed; it is not in the queue: delivered, returned, or set aside", id)
	return true
}

// showEntry shows what is new of the recipients. It returns true when all of them
// wait for a later time.
func (f *follower) showEntry(e *queuesock.Entry) (waiting bool) {
	waiting = len(e.Recipients) > 0
	for _, r := range e.Recipients {
		text := r.State
		if r.State == "held" || r.State == "waiting" && r.NextTry > time.Now().Unix() {
			if r.DelayReason != "" {
				text += ": " + r.DelayReason
			}
		} else {
			waiting = false
		}
		if f.said[r.N] != text {
			f.said[r.N] = text
			f.say("%s: %s (%s %s) %s", e.QueueID, r.Address, r.Channel, r.Host, text)
		}
	}
	return waiting
}

// showLogs shows the new lines about the message, and reports whether one says
// that it is done.
func (f *follower) showLogs(id spool.ID) (done bool) {
	for _, t := range f.logs {
		for _, line := range t.lines("spoolid=" + string(id)) {
			f.say("%s", line)
			done = done || bytes.Contains(line, []byte("msg=done "))
		}
	}
	return done
}

// lastLines shows what the daemons have said by now. Their lines may be a moment
// behind, and more on a busy host.
func (f *follower) lastLines(ctx context.Context, id spool.ID) {
	if len(f.logs) == 0 || f.out == io.Discard {
		return
	}
	wait := 2 * zlog.Delay
	if f.gone {
		wait = lastLineLimit
	}
	tick := time.NewTicker(followTick)
	defer tick.Stop()
	for end := time.Now().Add(wait); !f.showLogs(id) && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// A logTail reads what is appended to a log.
type logTail struct {
	f    *os.File
	r    *bufio.Reader
	part []byte // of a line whose end is not written yet
}

func openTail(path string) (*logTail, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	return &logTail{f: f, r: bufio.NewReader(f)}, nil
}

// maxLogLine bounds a line that is being put together.
const maxLogLine = 64 << 10

// lines returns the new lines that contain text.
func (t *logTail) lines(text string) (found [][]byte) {
	for {
		piece, err := t.r.ReadSlice('\n')
		if len(t.part)+len(piece) <= maxLogLine {
			t.part = append(t.part, piece...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return found // the end, or a log that cannot be read on: both end the look
		}
		if bytes.Contains(t.part, []byte(text)) {
			found = append(found, bytes.TrimSpace(bytes.Clone(t.part)))
		}
		t.part = t.part[:0]
	}
}
