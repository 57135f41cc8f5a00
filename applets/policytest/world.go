package policytest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/shell"
	"zmailer/shellcfg/users"
)

// world is what a test file has declared so far.
type world struct {
	conf     *shellcfg.Conf
	log      *slog.Logger
	dir      string // homes of users
	trace    *shell.Trace
	isolated bool
	fakes    map[string]policy.Fake
	users    []string // lines of a table of users
	dns      []string
	vars     map[string]string

	policy *policy.Policy // nil: to be loaded
	lines  func(*shell.Program)
}

func (w *world) reset() {
	w.isolated, w.users, w.dns = false, nil, nil
	w.fakes, w.vars = map[string]policy.Fake{}, map[string]string{}
}

// changed makes the next expectation load the policy anew.
func (w *world) changed() error {
	if w.policy == nil {
		return nil
	}
	err := w.policy.Close()
	w.policy = nil
	return err
}

func (w *world) entry(table, key, value string) {
	f := w.fakes[table]
	f.Entries = append(f.Entries, [2]string{key, value})
	w.fakes[table] = f
}

// user adds a user with the uid of the test, so that his files can be made.
func (w *world) user(name, forward string) error {
	if !filepath.IsLocal(name) || strings.ContainsAny(name, "/ \t\n:") {
		return fmt.Errorf("%q is not the name of a user", name)
	}
	home := filepath.Join(w.dir, name)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	path := filepath.Join(home, ".forward")
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	if forward != "" {
		if err := os.WriteFile(path, []byte(forward+"\n"), 0o644); err != nil {
			return err
		}
	}
	w.users = append(w.users, fmt.Sprintf("%s %d %d %s", name, os.Getuid(), os.Getgid(), home))
	return nil
}

// load loads the policy for what is declared.
func (w *world) load(ctx context.Context) error {
	c := policy.Config{Conf: w.conf, Log: w.log, Fakes: w.fakes, Isolated: w.isolated, Vars: w.vars, Trace: w.trace}
	if w.isolated || len(w.users) > 0 {
		file := filepath.Join(w.dir, "users")
		if err := os.WriteFile(file, []byte(strings.Join(w.users, "\n")+"\n"), 0o644); err != nil {
			return err
		}
		c.Users = users.New(users.Sources{Virtual: file})
	}
	if w.isolated || len(w.dns) > 0 {
		fake, err := resolver.NewFake(w.dns...)
		if err != nil {
			return err
		}
		c.DNS = fake
	}
	p, err := policy.Load(ctx, c)
	if err != nil {
		return err
	}
	w.policy = p
	w.lines(p.Program())
	return nil
}
