// Package tatest is "zmailer ta-test": it runs a transport agent, in whatever
// language it is written, against a spool of its own and checks that it keeps to
// agents/PROTOCOL.md.
//
// What the agent does with the mail is its own affair: any result is right, if it
// comes once for each recipient and in the right form.
package tatest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

type options struct {
	channel string
	host    string
	users   []string
	sender  string
	jobs    int
	limit   time.Duration
	verbose bool
}

// Command is ta-test as a program.
func Command() *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "ta-test [options] PROGRAM [ARG...]",
		Short: "Check that a program is a right transport agent",
		Long: `ta-test runs PROGRAM as the scheduler would, on a spool that is made for it, and
checks that it follows the protocol of transport agents (agents/PROTOCOL.md).
PROGRAM is a path, or the name of one of the mailer's own agents.

The agent gets jobs with recipients of the given channel, host and users, and
does with them what it does: give it addresses where mail may go. ZCONFIG of the
agent is the present instance's, with another POSTOFFICE.

  zmailer ta-test --channel smtp --host '[127.0.0.1]' --user joe@example.org smtp
  zmailer ta-test ./my-agent.py`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), &o, args, cmd.OutOrStdout())
		},
		Annotations: map[string]string{"exit": "0 if all checks passed, 1 if not"},
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows PROGRAM belongs to it
	f.StringVar(&o.channel, "channel", "test", "channel of the recipients")
	f.StringVar(&o.host, "host", "host.example", "host of the recipients")
	f.StringArrayVar(&o.users, "user", []string{"joe", "ann", "ben"}, "user of a recipient; may be repeated")
	f.StringVar(&o.sender, "sender", "sender@example.org", "sender of the messages")
	f.IntVar(&o.jobs, "jobs", 100, "jobs in the run with many")
	f.DurationVar(&o.limit, "limit", 30*time.Second, "how long the agent may take for a step")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "show the lines of the agent's standard error and #log lines")
	return cmd
}

const maxJobs = 100_000

func run(ctx context.Context, o *options, argv []string, out io.Writer) error {
	if o.jobs < 1 || o.jobs > maxJobs || len(o.users) == 0 || o.limit <= 0 {
		return proc.Exit(proc.Usage, "want --jobs from 1 to %d, a --user, and a --limit", maxJobs)
	}
	dir, err := os.MkdirTemp("", "ta-test")
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer os.RemoveAll(dir)
	s, conf, err := makeInstance(dir)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	b := &bench{options: o, ctx: ctx, argv: argv, spool: s, conf: conf, out: out}
	for _, c := range checks {
		if err := b.check(c); err != nil {
			return err
		}
	}
	if b.failed > 0 {
		fmt.Fprintf(out, "%d of %d checks failed\n", b.failed, len(checks))
		return proc.Silent(1)
	}
	fmt.Fprintf(out, "all %d checks passed\n", len(checks))
	return nil
}

// makeInstance makes a spool and a zmailer.conf for it in dir.
func makeInstance(dir string) (s *spool.Spool, conf string, err error) {
	root := filepath.Join(dir, "postoffice")
	if err := spool.Create(root, false); err != nil {
		return nil, "", err
	}
	if s, err = spool.Open(root); err != nil {
		return nil, "", err
	}
	s.NoSync = true
	var text strings.Builder
	vars := map[string]string{"HOSTNAME": "ta-test.example", "MAILVAR": dir, "LOGDIR": dir}
	if present, err := shellcfg.LoadConf(shellcfg.ConfPath()); err == nil {
		vars = present.Vars()
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, "", err
	}
	vars["POSTOFFICE"] = root
	delete(vars, "ZCONFIG")
	for name, v := range vars {
		fmt.Fprintf(&text, "%s='%s'\n", name, strings.ReplaceAll(v, "'", `'\''`))
	}
	conf = filepath.Join(dir, "zmailer.conf")
	return s, conf, os.WriteFile(conf, []byte(text.String()), 0o600)
}
