package users

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg/internal/lru"
	"zmailer/shellcfg/internal/watch"
)

const (
	nssTimeout  = 10 * time.Second
	nssKeep     = time.Minute // answers of getent
	nssCache    = 10_000
	nssParallel = 4

	// homed serves users that only the C library's "systemd" source knows.
	homed = "/run/systemd/userdb/io.systemd.Home"
)

// nss asks the C library by way of getent(1).
type nss struct {
	getent   string
	nsswitch *watch.File[bool] // whether there are sources besides files
	answers  *lru.Cache[string, string]
	slots    chan struct{}
}

func newNSS(s Sources) *nss {
	return &nss{
		getent:   s.Getent,
		nsswitch: &watch.File[bool]{Path: s.Nsswitch, Load: loadNsswitch, Interval: s.Interval, Log: s.Log},
		answers:  lru.New[string, string](nssCache),
		slots:    make(chan struct{}, nssParallel),
	}
}

// needed says whether nsswitch.conf names a source that the files do not hold.
// Without a readable nsswitch.conf the C library has no other sources either.
func (n *nss) needed() bool {
	other, err := n.nsswitch.Get()
	return err == nil && *other
}

func loadNsswitch(f *os.File, _ watch.State) (*bool, error) {
	other := false
	err := eachLine(f, func(_ int, line string) {
		db, sources, _ := strings.Cut(line, ":")
		if strings.TrimSpace(db) != "passwd" {
			return
		}
		sources, _, _ = strings.Cut(sources, "#")
		for _, src := range strings.Fields(sources) {
			switch {
			case src == "files", src == "compat", src[0] == '[':
			case src == "systemd":
				_, err := os.Stat(homed)
				other = other || err == nil
			default:
				other = true
			}
		}
	})
	return &other, err
}

func (n *nss) lookup(ctx context.Context, name string) (User, bool, error) {
	u, found, err := n.user(ctx, name)
	// A name of digits is taken for a number by getent.
	if found && u.Name != name {
		return User{}, false, nil
	}
	return u, found, err
}

func (n *nss) lookupUID(ctx context.Context, uid int) (User, bool, error) {
	u, found, err := n.user(ctx, strconv.Itoa(uid))
	if found && u.UID != uid {
		return User{}, false, nil
	}
	return u, found, err
}

func (n *nss) user(ctx context.Context, key string) (User, bool, error) {
	line, err := n.ask(ctx, "passwd", key)
	if err != nil || line == "" {
		return User{}, false, err
	}
	u, ok := parsePasswd(line)
	if !ok {
		return User{}, false, fmt.Errorf("getent passwd %.60q: answer %.100q", key, line)
	}
	return *u, true, nil
}

// groups returns the gids in an answer such as "joe 100 104".
func (n *nss) groups(ctx context.Context, name string) ([]int, error) {
	line, err := n.ask(ctx, "initgroups", name)
	if err != nil || line == "" {
		return nil, err
	}
	var gids []int
	for _, word := range strings.Fields(line)[1:] {
		gid, ok := parseID(word)
		if !ok {
			return nil, fmt.Errorf("getent initgroups %.60q: answer %.100q", name, line)
		}
		gids = append(gids, gid)
	}
	return gids, nil
}

// ask returns the first line of getent's answer; "" is not found.
func (n *nss) ask(ctx context.Context, database, key string) (string, error) {
	if line, ok := n.answers.Get(database+" "+key, time.Now()); ok {
		return line, nil
	}
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
		return "", fmt.Errorf("getent: %w", ctx.Err())
	}
	cmd := exec.CommandContext(ctx, n.getent, database, "--", key)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == 2: // not found
		out = nil
	case err != nil: // that getent is missing too: nobody can say what the other sources know
		return "", fmt.Errorf("getent %s: %w", database, err)
	}
	first, _, _ := bytes.Cut(out, []byte("\n"))
	line := strings.TrimSpace(string(first))
	n.answers.Put(database+" "+key, line, time.Now().Add(nssKeep))
	return line, nil
}
