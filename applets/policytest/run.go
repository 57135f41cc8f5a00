package policytest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/shell"
)

// A Runner runs test files.
type Runner struct {
	Conf *shellcfg.Conf
	Out  io.Writer // failures are reported here

	Passed, Failed int
	cover          coverage
}

// Run runs one file. Its error says that the file itself is wrong; failed
// expectations are counted.
func (r *Runner) Run(ctx context.Context, name string, src io.Reader) error {
	dir, err := os.MkdirTemp("", "zmailer-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // a temporary directory: what is left of it does no harm
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	w := &world{conf: r.Conf, dir: dir, log: slog.New(slog.DiscardHandler), lines: r.cover.add}
	w.trace = &shell.Trace{Line: r.cover.ran}
	w.reset()
	t := &script{r: r, w: w, ctx: ctx}
	_, err = shell.Load(ctx, shell.Options{Commands: t.commands(), Stdout: r.Out, Vars: map[string]string{"MAILVAR": r.Conf.MailVar}}, name, src)
	if closeErr := w.changed(); err == nil {
		err = closeErr
	}
	return err
}

// script is a running test file.
type script struct {
	r   *Runner
	w   *world
	ctx context.Context

	label string // of the expectations that follow
}

func (t *script) commands() map[string]shell.Command {
	declare := func(args int, do func(a []string) error) shell.Command {
		return func(c *shell.Call) int {
			if len(c.Args) != args {
				return c.Fail(fmt.Errorf("%s: %d arguments, want %d", c.Name, len(c.Args), args))
			}
			if err := do(c.Args); err != nil {
				return c.Fail(err)
			}
			if err := t.w.changed(); err != nil {
				return c.Fail(err)
			}
			return 0
		}
	}
	w := t.w
	return map[string]shell.Command{
		"isolate": declare(0, func([]string) error { w.isolated = true; return nil }),
		"name":    declare(1, func(a []string) error { t.label = a[0] + ": "; return nil }),
		"reset":   declare(0, func([]string) error { w.reset(); return nil }),
		"entry":   declare(3, func(a []string) error { w.entry(a[0], a[1], a[2]); return nil }),
		"failing": declare(1, func(a []string) error { w.fakes[a[0]] = policy.Fake{Fails: true}; return nil }),
		"dns":     declare(1, func(a []string) error { w.dns = append(w.dns, a[0]); return nil }),
		"conf":    declare(2, func(a []string) error { w.vars[a[0]] = a[1]; return nil }),
		"user": func(c *shell.Call) int {
			if len(c.Args) == 1 {
				c.Args = append(c.Args, "")
			}
			return declare(2, func(a []string) error { return w.user(a[0], a[1]) })(c)
		},
		"expect": t.expect,
	}
}

// expect is expect [-f SENDER] [-c CLIENT] ADDRESS DECISION [-- DECISION]...
func (t *script) expect(c *shell.Call) int {
	msg := &policy.Message{}
	args := c.Args
	for len(args) > 2 {
		if args[0] == "-f" {
			msg.Sender = args[1]
		} else if args[0] == "-c" {
			msg.Client, msg.External = args[1], true
		} else {
			break
		}
		args = args[2:]
	}
	if len(args) < 2 {
		return c.Fail(fmt.Errorf("expect: want [-f SENDER] [-c CLIENT] ADDRESS DECISION"))
	}
	want, err := parseExpected(args[1:])
	if err != nil {
		return c.Fail(err)
	}
	if t.w.policy == nil {
		if err := t.w.load(t.ctx); err != nil {
			return c.Fail(err)
		}
	}
	s := t.w.policy.Session(t.ctx, msg)
	defer s.Close()
	s.SetTrace(t.w.trace)
	var got []policy.Decision
	s.Route(policy.Recipient{Addr: args[0]}, func(d *policy.Decision) bool {
		got = append(got, *d)
		return true
	})
	if met(want, got) {
		t.r.Passed++
		return 0
	}
	t.r.Failed++
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s%q\n", c.Pos, t.label, args[0])
	for _, e := range want {
		fmt.Fprintf(&b, "\twant %s\n", strings.Join(e, " "))
	}
	for i := range got {
		fmt.Fprintf(&b, "\tgot  %s\t(%s)\n", got[i].String(), got[i].Why)
	}
	if len(got) == 0 {
		b.WriteString("\tgot  nobody\n")
	}
	if _, err := io.WriteString(t.r.Out, b.String()); err != nil {
		return c.Fail(err)
	}
	return 0
}
