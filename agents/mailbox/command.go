package mailbox

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"zmailer/agents/runner"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/shellcfg/users"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// capacity is how many jobs are worked on at once: enough that a sync is shared.
const capacity = 50

// Command is the mailbox program.
func Command() *cobra.Command {
	var o Options
	var overQuota string
	cmd := &cobra.Command{
		Use:   "mailbox",
		Short: "Deliver to local users, files and programs",
		Long: `Deliver to local users, files and programs. The scheduler runs it for the
channel "local" and speaks agents/PROTOCOL.md with it on standard input and output.

A mailbox is MAILBOX of zmailer.conf, or what db/users says: mbox:PATH,
maildir:PATH, or PATH for mbox, with %u the user, %h his home and %d the domain.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.Mailbox, "mailbox", "", "template of mailboxes, instead of MAILBOX")
	f.StringVar(&o.Locks, "locks", "", "locks of an mbox: dotlock, fcntl, flock, or several of them with commas (MBOXLOCKS)")
	f.DurationVar(&o.Limit, "time-limit", runner.DefaultLimit, "how long a program may take")
	f.StringVar(&overQuota, "over-quota", "defer", "what becomes of mail for a user over disk quota: defer or bounce")
	f.StringVar(&o.DefaultUser, "default-user", "", "who runs programs and writes files of aliases that belong to root (DEFAULTUSER)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if overQuota != "defer" && overQuota != "bounce" {
			return proc.Exit(proc.Usage, "--over-quota %s: want defer or bounce", overQuota)
		}
		if o.Limit < time.Second {
			return proc.Exit(proc.Usage, "--time-limit %v: want at least a second", o.Limit)
		}
		o.BounceOverQuota = overQuota == "bounce"
		return run(cmd, o)
	}
	return cmd
}

func run(cmd *cobra.Command, o Options) error {
	return serve.Run(cmd, capacity, func(conf *shellcfg.Conf, s *spool.Spool) (serve.Deliver, error) {
		o.Hostname, o.Domain, o.NoSync = conf.Hostname, conf.MyDomain, s.NoSync
		o.Mailbox = first(o.Mailbox, conf.Mailbox)
		o.Locks = first(o.Locks, conf.Get("MBOXLOCKS"), "dotlock,fcntl,flock")
		o.DefaultUser = first(o.DefaultUser, conf.Get("DEFAULTUSER"), "daemon")
		a, err := newAgent(o, users.New(users.System(conf.Path("db/users"))))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", conf.File, err)
		}
		return a.deliver, nil
	})
}

func first(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
