// Package tlsrpt counts how outgoing mail was encrypted, and makes the reports of
// RFC 8460 of that.
//
// # On disk
//
// A day has a directory DIR/YYYY-MM-DD (UTC). Every agent process has a file of its
// own there, which it replaces as a whole from time to time: a line of JSON for
// each Fact, with its count. A crash loses the last half minute of counts. Reader
// and writers share nothing else, and a day is removed when it has been reported.
//
// # Bounds
//
// A process counts maxFacts different facts a day; what more there are is counted
// as lost. Texts in a fact have at most maxText octets.
package tlsrpt

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The kinds of policies, RFC 8460 §4.4.
const (
	TLSA     = "tlsa"
	STS      = "sts"
	NoPolicy = "no-policy-found"
)

// A Fact is a connection, or an attempt at a policy, as far as a report is
// interested. It is comparable: equal ones are counted.
type Fact struct {
	Domain string `json:"d"`           // whose policy it was
	Policy string `json:"p"`           // TLSA, STS or NoPolicy
	Text   string `json:"t,omitempty"` // of the policy, a line each
	MX     string `json:"m,omitempty"` // patterns of the policy, a line each
	Host   string `json:"h,omitempty"` // that was connected to
	IP     string `json:"i,omitempty"` // its address
	Result string `json:"r,omitempty"` // of RFC 8460 §4.3; "" is success
	Reason string `json:"c,omitempty"` // in words
}

type counted struct {
	Fact
	N int64 `json:"n"`
}

// RunDir is the directory in the run directory of a spool.
const RunDir = "tlsrpt"

// Bounds of what is kept.
const (
	maxFacts   = 20000
	maxText    = 2000
	flushAfter = 30 * time.Second
	dayForm    = "2006-01-02"
)

// A Recorder counts for one process. It is safe for concurrent use; nil counts
// nothing.
type Recorder struct {
	dir  string
	name string // of this process's files
	now  func() time.Time
	log  func(error)

	mu    sync.Mutex
	day   string
	facts map[Fact]int64
	lost  int64
	timer *time.Timer // nil: nothing to be written
}

// NewRecorder counts into a directory. log is told what keeps the counts from
// being written.
func NewRecorder(dir string, log func(error)) *Recorder {
	return &Recorder{dir: dir, name: fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano()), now: time.Now, log: log}
}

// Add counts a fact.
func (r *Recorder) Add(f Fact) {
	if r == nil {
		return
	}
	for _, s := range []*string{&f.Text, &f.MX, &f.Reason} {
		*s = (*s)[:min(len(*s), maxText)]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if day := r.now().UTC().Format(dayForm); day != r.day {
		r.flush()
		r.day, r.facts, r.lost = day, make(map[Fact]int64), 0
	}
	if _, ok := r.facts[f]; !ok && len(r.facts) >= maxFacts {
		r.lost++
		return
	}
	r.facts[f]++
	if r.timer == nil {
		r.timer = time.AfterFunc(flushAfter, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.flush()
		})
	}
}

// Close writes what has not been written.
func (r *Recorder) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flush()
}

func (r *Recorder) flush() {
	if r.timer == nil {
		return
	}
	r.timer.Stop()
	r.timer = nil
	if err := r.write(); err != nil {
		r.log(fmt.Errorf("counts of TLS: %w", err))
	}
	if r.lost > 0 {
		r.log(fmt.Errorf("counts of TLS: %d are lost, there are too many different ones", r.lost))
		r.lost = 0
	}
}

func (r *Recorder) write() (err error) {
	dir := filepath.Join(r.dir, r.day)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for fact, n := range r.facts {
		if err == nil {
			err = enc.Encode(counted{fact, n})
		}
	}
	if err = errors.Join(err, w.Flush(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, r.name))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}

// Days lists the days of which there are counts, the oldest first.
func Days(dir string) ([]time.Time, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var days []time.Time
	for _, e := range entries {
		if day, err := time.Parse(dayForm, e.Name()); err == nil && e.IsDir() {
			days = append(days, day)
		}
	}
	return days, err
}

// Remove forgets a day.
func Remove(dir string, day time.Time) error {
	return os.RemoveAll(filepath.Join(dir, day.Format(dayForm)))
}
