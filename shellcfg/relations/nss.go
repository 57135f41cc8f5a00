package relations

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"zmailer/shellcfg/internal/lru"
	"zmailer/shellcfg/internal/watch"
)

const (
	getentTimeout = 10 * time.Second
	maxGetent     = 4 << 20 // a line of group may be long
	getentCache   = 4096
	getentFresh   = 30 * time.Second // how long an answer is good
	getentMissed  = 10 * time.Second // and one that there is no such account
	maxGetents    = 8                // processes at a time
)

// nss asks the name service switch of the host through getent.
type nss struct {
	getent string // "-": never
	conf   *watch.File[switches]
	cache  *lru.Cache[string, string] // "database key" to the line, "" if there is none
	slots  chan struct{}
}

// switches are the databases for which nsswitch.conf names a source besides
// the files.
type switches map[string]bool

func newNSS(e Env) *nss {
	conf := e.NSSwitch
	if conf == "" {
		conf = "/etc/nsswitch.conf"
	}
	return &nss{
		getent: e.Getent,
		conf:   &watch.File[switches]{Path: conf, Load: loadSwitches, Interval: e.Watch, Log: e.Log},
		cache:  lru.New[string, string](getentCache),
		slots:  make(chan struct{}, maxGetents),
	}
}

func loadSwitches(f *os.File, st watch.State) (*switches, error) {
	data, err := slurp(f, st, 1<<20)
	if err != nil {
		return nil, err
	}
	s := switches{}
	eachLine(data, func(_ int, line string) {
		line, _, _ = strings.Cut(line, "#")
		db, sources, ok := strings.Cut(line, ":")
		if !ok {
			return
		}
		for _, src := range strings.Fields(sources) {
			if src != "files" && src[0] != '[' && src[len(src)-1] != ']' {
				s[strings.TrimSpace(db)] = true
			}
		}
	})
	return &s, nil
}

// path returns the getent to ask about a database, "" if the files say all.
// A host whose switch names another source but which has no getent is an
// error: nobody can say that the account does not exist.
func (n *nss) path(database string) (string, error) {
	if n.getent == "-" {
		return "", nil
	}
	s, err := n.conf.Get()
	if errors.Is(err, fs.ErrNotExist) || err == nil && !(*s)[database] {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if n.getent != "" {
		return n.getent, nil
	}
	return exec.LookPath("getent")
}

// askNSS finds key in a database.
func askNSS[T any](ctx context.Context, n *nss, database, key string, parse func(string) (T, error)) (v T, found bool, err error) {
	path, err := n.path(database)
	if path == "" {
		return v, false, err
	}
	id := database + " " + key
	line, ok := n.cache.Get(id, time.Now())
	if !ok {
		if line, err = n.ask(ctx, path, database, key); err != nil {
			return v, false, err
		}
		fresh := getentFresh
		if line == "" {
			fresh = getentMissed
		}
		n.cache.Put(id, line, time.Now().Add(fresh))
	}
	if line == "" {
		return v, false, nil
	}
	v, err = parse(line)
	return v, err == nil, err
}

// ask runs getent and returns the first line of its answer, "" if it says
// that there is none.
func (n *nss) ask(ctx context.Context, path, database, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, getentTimeout)
	defer cancel()
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("getent %s: %w", database, ctx.Err())
	}
	cmd := exec.CommandContext(ctx, path, database, key)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	out := &capped{left: maxGetent}
	cmd.Stdout = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("getent %s: %w", database, ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == 2: // getent(1): key not found
		return "", nil
	case err != nil:
		return "", fmt.Errorf("getent %s: %w", database, err)
	case out.left < 0:
		return "", fmt.Errorf("getent %s: answer of more than %d bytes", database, maxGetent)
	}
	line, _, _ := strings.Cut(out.buf.String(), "\n")
	if line == "" {
		return "", fmt.Errorf("getent %s: empty answer", database)
	}
	return line, nil
}

// capped keeps the first bytes of what it is given and counts the rest.
type capped struct {
	buf  bytes.Buffer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	if keep := min(len(p), max(c.left, 0)); keep > 0 {
		c.buf.Write(p[:keep])
	}
	c.left -= len(p)
	return len(p), nil
}
