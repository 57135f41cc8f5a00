package mailbox

import (
	"cmp"
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
const capacity = 100

// Command is the mailbox program.
func Command() *cobra.Command {
	var o Options
	var overQuota, diskFull, limits string
	cmd := &cobra.Command{
		Use:   "mailbox",
		Short: "Deliver to local users, files and programs",
		Long: `Deliver to local users, files and programs. The scheduler runs it for the
channel "local" and speaks agents/PROTOCOL.md with it on standard input and output.

A mailbox is MAILBOX of zmailer.conf, or what db/users says: mbox:PATH,
maildir:PATH, or PATH for mbox, with %u the user, %h his home, %d the domain, %1
and %2 his first letters, %x and %y two bytes of a hash. db/mailboxes, or the table
MAILBOXTABLE, has other mailboxes, quotas and hooks user by user.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&o.Mailbox, "mailbox", "", "template of mailboxes, instead of MAILBOX")
	f.StringVar(&o.Locks, "locks", "", "locks of an mbox: dotlock, fcntl, flock, or several of them with commas (MBOXLOCKS)")
	f.DurationVar(&o.Limit, "time-limit", runner.DefaultLimit, "how long a program may take")
	f.StringVar(&o.Quota, "quota", "", "what a mailbox may hold, such as 1G or 500M,20000C (MAILQUOTA)")
	f.StringVar(&overQuota, "over-quota", "defer", "what becomes of mail for a user over quota: defer or bounce")
	f.StringVar(&diskFull, "disk-full", "defer", "what becomes of mail when the disk of the mailbox is full: defer or bounce")
	f.StringVar(&o.Hook, "hook", "", "command to run as the user after a delivery to his mailbox (MAILHOOK)")
	f.StringVar(&limits, "limits", "", "of programs, such as cpu=60s,memory=1G,file=1G,processes=100")
	f.StringVar(&o.DefaultUser, "default-user", "", "who runs programs and writes files of aliases that belong to root (DEFAULTUSER)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if o.BounceOverQuota, err = parseBounce("over-quota", overQuota); err != nil {
			return proc.Exit(proc.Usage, "%w", err)
		}
		if o.BounceDiskFull, err = parseBounce("disk-full", diskFull); err != nil {
			return proc.Exit(proc.Usage, "%w", err)
		}
		if o.Limit < time.Second {
			return proc.Exit(proc.Usage, "--time-limit %v: want at least a second", o.Limit)
		}
		if o.Limits, err = runner.ParseLimits(limits); err != nil {
			return proc.Exit(proc.Usage, "--limits: %w", err)
		}
		return run(cmd, o)
	}
	return cmd
}

func run(cmd *cobra.Command, o Options) error {
	var a *agent
	err := serve.Run(cmd, capacity, func(conf *shellcfg.Conf, s *spool.Spool) (serve.Deliver, error) {
		o.Hostname, o.Domain, o.NoSync = conf.Hostname, conf.MyDomain, s.NoSync
		o.Mailbox = cmp.Or(o.Mailbox, conf.Mailbox)
		o.Locks = cmp.Or(o.Locks, conf.Get("MBOXLOCKS"), "dotlock,fcntl,flock")
		o.DefaultUser = cmp.Or(o.DefaultUser, conf.Get("DEFAULTUSER"), "daemon")
		o.Quota, o.Hook = cmp.Or(o.Quota, conf.Get("MAILQUOTA")), cmp.Or(o.Hook, conf.Get("MAILHOOK"))
		var err error
		if a, err = newAgent(o, users.New(users.System(conf.Path("db/users")))); err != nil {
			return nil, fmt.Errorf("%s: %w", conf.File, err)
		}
		if a.table, err = serve.Table(conf, "MAILBOXTABLE", "mailboxes"); err != nil {
			return nil, err
		}
		return a.deliver, nil
	})
	if a != nil {
		a.hooks.wait()
	}
	return err
}
