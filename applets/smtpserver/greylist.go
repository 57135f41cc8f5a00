package smtpserver

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// A greylist remembers who has tried to send, in a file that is appended to and
// from time to time written anew. A line is "FIRST GOOD KEY" with times in
// seconds; the last one of a key counts, and a torn one is skipped. It holds
// nothing that would be mail, so nothing is synced: after a power cut some
// clients wait once more.
type greylist struct {
	path string

	mu    sync.Mutex
	open  bool
	file  *os.File
	m     map[string]greyEntry
	lines int // in the file
}

type greyEntry struct {
	first int64 // of the first attempt
	good  int64 // of the last one that was let through; 0: none yet
}

const (
	maxGrey     = 500_000
	maxGreyKey  = 400
	greyDelay   = 5 * time.Minute
	greyRetry   = 2 * 24 * time.Hour  // in which a client must come again
	greyKeep    = 35 * 24 * time.Hour // since it was last let through
	compactFrom = 10_000              // lines
)

func newGreylist(sp *spool.Spool) *greylist {
	return &greylist{path: filepath.Join(sp.Root, spool.ServerDir, "greylist")}
}

// load reads the file, once.
func (g *greylist) load(now int64) error {
	if g.open {
		return nil
	}
	if err := os.Mkdir(filepath.Dir(g.path), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(g.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	g.m = make(map[string]greyEntry)
	g.lines = 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		g.lines++
		if key, e, ok := parseGrey(lines.Text()); ok && !e.over(now) && len(g.m) < maxGrey {
			g.m[key] = e
		}
	}
	if err := lines.Err(); err != nil {
		f.Close()
		return err
	}
	// What a crash has torn must not swallow the next line.
	if _, err := f.WriteString("\n"); err != nil {
		f.Close()
		return err
	}
	g.file, g.open = f, true
	return nil
}

func parseGrey(line string) (key string, e greyEntry, ok bool) {
	f := strings.SplitN(line, " ", 3)
	if len(f) != 3 || f[2] == "" {
		return "", e, false
	}
	var err1, err2 error
	e.first, err1 = strconv.ParseInt(f[0], 10, 64)
	e.good, err2 = strconv.ParseInt(f[1], 10, 64)
	return f[2], e, err1 == nil && err2 == nil
}

// over tells that an entry means nothing any more.
func (e greyEntry) over(now int64) bool {
	if e.good == 0 {
		return now-e.first > int64(greyRetry/time.Second)
	}
	return now-e.good > int64(greyKeep/time.Second)
}

// allow tells whether one who is known by key may send: he has come before, and
// not just now. A network that has been let through once stays so.
func (g *greylist) allow(network, key string, delay time.Duration, at time.Time) (bool, error) {
	now := at.Unix()
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.load(now); err != nil {
		return false, err
	}
	if e, known := g.m[network]; known && !e.over(now) {
		// Once a day is enough to stay known.
		if now-e.good < int64(24*time.Hour/time.Second) {
			return true, nil
		}
		return true, g.put(network, greyEntry{e.first, now}, now)
	}
	e, known := g.m[key]
	switch {
	case !known || e.over(now) || e.first > now:
		return false, g.put(key, greyEntry{first: now}, now)
	case now-e.first < int64(delay/time.Second):
		return false, nil
	}
	delete(g.m, key) // the network stands for it from now on
	return true, g.put(network, greyEntry{e.first, now}, now)
}

// put remembers an entry.
func (g *greylist) put(key string, e greyEntry, now int64) error {
	if _, known := g.m[key]; !known && len(g.m) >= maxGrey {
		g.forget(now)
	}
	g.m[key] = e
	if _, err := fmt.Fprintf(g.file, "%d %d %s\n", e.first, e.good, key); err != nil {
		return err
	}
	if g.lines++; g.lines > compactFrom && g.lines > 2*len(g.m) {
		return g.compact(now)
	}
	return nil
}

// forget makes room: what is over goes, then those who have not come again.
func (g *greylist) forget(now int64) {
	for key, e := range g.m {
		if e.over(now) {
			delete(g.m, key)
		}
	}
	for key, e := range g.m {
		if len(g.m) < maxGrey/4*3 {
			return
		}
		if e.good == 0 {
			delete(g.m, key)
		}
	}
	for key := range g.m {
		if len(g.m) < maxGrey/4*3 {
			return
		}
		delete(g.m, key)
	}
}

// compact writes the file anew.
func (g *greylist) compact(now int64) error {
	tmp := g.path + ".new"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	w, n := bufio.NewWriter(f), 0
	for key, e := range g.m {
		if e.over(now) {
			delete(g.m, key)
			continue
		}
		n++
		fmt.Fprintf(w, "%d %d %s\n", e.first, e.good, key) // Flush has the error
	}
	if err := errors.Join(w.Flush(), os.Rename(tmp, g.path)); err != nil {
		return errors.Join(err, f.Close())
	}
	old := g.file
	g.file, g.lines = f, n
	return old.Close()
}

func (g *greylist) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.open {
		return nil
	}
	g.open = false
	return g.file.Close()
}

// handOver gives the store to the user that the server becomes.
func (g *greylist) handOver(uid, gid int) error {
	dir := filepath.Dir(g.path)
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Lchown(dir, uid, gid); err != nil {
		return err
	}
	err := os.Lchown(g.path, uid, gid)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return err
}

// greyNetwork is the unit in which clients are greylisted: large senders try
// again from another address nearby.
func greyNetwork(ip netip.Addr) string {
	bits := 64
	if ip.Is4() {
		bits = 24
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return "local"
	}
	return p.String()
}

// greylisted [DELAY] [KEY...]: status 0 if the client may send, 1 if it is to try again
// later; it is known by its network and the KEYs, by default sender and
// recipient. 75: the store cannot be used.
func greyCommand(s *session, call *shell.Call) (bool, error) {
	if s.probe {
		return true, nil
	}
	args, delay := call.Args, greyDelay
	if len(args) > 0 {
		d, err := time.ParseDuration(args[0])
		if err != nil || d < 0 || d > greyRetry/2 {
			return false, usageError(args[0] + ": want a delay, such as 5m, of at most a day")
		}
		delay, args = d, args[1:]
	}
	network := greyNetwork(s.client)
	if len(args) == 0 {
		args = []string{s.mail.from.String(), call.Getenv("recipient")}
	}
	key := network + "\t" + strings.Join(args, "\t")
	if len(key) > maxGreyKey {
		key = key[:maxGreyKey]
	}
	key = string(spool.AppendLine(nil, key))
	if s.cfg.shared != nil {
		return s.cfg.sharedGrey(call.Ctx, network, strings.TrimSuffix(key, "\n"), delay, time.Now())
	}
	return s.srv.grey.allow(network, strings.TrimSuffix(key, "\n"), delay, time.Now())
}

// handOverStore gives what the server keeps to the user that it becomes, if it will.
func (d *daemon) handOverStore() error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := d.conf.TrustedUser()
	if err != nil || uid == 0 {
		return err
	}
	if err := d.srv.grey.handOver(uid, gid); err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	return nil
}
