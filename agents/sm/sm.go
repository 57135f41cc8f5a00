// Package sm is the transport agent that hands mail to other programs, as
// Sendmail's mailers do: procmail, maildrop, Cyrus deliver, uux, batched SMTP. The
// programs are listed in sm.conf; one agent serves one of them. How a program ends
// decides the result, see agents/runner.
//
// A word of the command is one argument whatever an address holds: there is no
// shell between. Addresses that would begin an argument with a hyphen are refused.
package sm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
	"zmailer/agents/protocol"
	"zmailer/agents/runner"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/shellcfg/users"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

const (
	capacity  = 10
	maxAtOnce = 100 // recipients in one run
)

// Command is the sm program.
func Command() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "sm [-f sm.conf] MAILER",
		Short: "Deliver by a program of sm.conf",
		Long: `Deliver by a program of sm.conf, as Sendmail's mailers do. In scheduler.conf:

	match 'procmail/*' command='sm procmail'

The comment at the top of sm.conf explains its lines.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return proc.Exit(proc.Usage, "want the name of one mailer of sm.conf")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return serve.Run(cmd, capacity, func(conf *shellcfg.Conf, _ *spool.Spool) (serve.Deliver, error) {
				if file == "" {
					file = conf.Path("sm.conf")
				}
				mailers, err := LoadMailers(cmd.Context(), file, conf.Vars())
				if err != nil {
					return nil, err
				}
				m := mailers[args[0]]
				if m == nil {
					return nil, fmt.Errorf("%s: there is no mailer %s", file, args[0])
				}
				a := &agent{mailer: m, hostname: conf.Hostname, user: m.User, users: users.New(users.System(conf.Path("db/users"))), jobTime: protocol.JobTime}
				if a.user == "" {
					a.user = conf.Get("DEFAULTUSER")
				}
				return a.deliver, nil
			})
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read this file instead of sm.conf beside zmailer.conf")
	return cmd
}

type agent struct {
	mailer   *Mailer
	hostname string
	user     string // who runs the program
	users    *users.Users
	jobTime  time.Duration // after which a job begins nothing new
}

// identity is who runs the program. A mailer that names nobody is run by daemon,
// or, where the agent is not root, by the agent's own user.
func (a *agent) identity() (users.User, identity.Identity, error) {
	name := a.user
	if name == "" && os.Geteuid() != 0 {
		u, found, err := a.users.LookupUID(os.Geteuid())
		if err == nil && !found {
			u = users.User{Name: strconv.Itoa(os.Geteuid()), UID: os.Geteuid(), GID: os.Getegid()}
		}
		return u, identity.Identity{UID: u.UID, GID: u.GID}, err
	}
	if name == "" {
		name = "daemon"
	}
	u, found, err := a.users.Lookup(name)
	if err == nil && !found {
		err = fmt.Errorf("there is no user %s", name)
	}
	if err != nil {
		return u, identity.Identity{}, err
	}
	id, err := identity.Of(a.users, u)
	return u, id, err
}

func (a *agent) deliver(ctx context.Context, d *protocol.Delivery) {
	u, id, err := a.identity()
	if err != nil {
		d.ReportAll(dsn.Temp("4.3.5", "mailer %s: %v", a.mailer.Name, err))
		return
	}
	body := &letter.Body{File: d.File, Offset: d.Control.BodyOffset, Size: d.Control.Size - d.Control.BodyOffset}
	size := 1
	if a.mailer.flags.has('m') {
		size = maxAtOnce
	}
	groups, end := d.Groups(), time.Now().Add(a.jobTime)
	for i := range groups {
		g := &groups[i]
		var rcpts []*spool.Rcpt
		for j := range g.Rcpts {
			rcpts = append(rcpts, &g.Rcpts[j])
		}
		for batch := range slices.Chunk(rcpts, size) {
			if time.Now().After(end) {
				d.ReportAll(dsn.Temp("4.4.7", "no time left in this attempt"))
				return
			}
			r := &run{m: a.mailer, hostname: a.hostname, sender: g.Sender.User, attr: &d.Control.Attr, header: g.Header, rcpts: batch, body: body}
			result := a.run(ctx, d, r, u, id)
			for _, rcpt := range batch {
				d.Report(rcpt.N, result)
			}
		}
	}
}

func (a *agent) run(ctx context.Context, d *protocol.Delivery, r *run, u users.User, id identity.Identity) dsn.Result {
	if to := r.deliveredTo(); to != "" && letter.Looped(r.header, to) {
		return dsn.Perm("5.4.6", "mail loop: the message was delivered to %s before", to)
	}
	argv, err := a.argv(r)
	switch {
	case errors.Is(err, errOption):
		return dsn.Perm("5.1.3", "%v", err)
	case err != nil:
		return dsn.Perm("5.1.3", "mailer %s: %v", a.mailer.Name, err)
	}
	p := runner.Program{Argv: argv, Dir: "/", Env: a.environment(d, r, u), As: id, Limit: a.mailer.Limit, Limits: a.mailer.Limits, Input: r.write}
	return p.Run(ctx).Result(path.Base(argv[0]), a.mailer.Limit)
}

func (a *agent) argv(r *run) ([]string, error) {
	f := facts{sender: r.sender, host: r.rcpts[0].Host, strip: a.mailer.flags.has('s')}
	for _, rcpt := range r.rcpts {
		f.users = append(f.users, rcpt.User)
	}
	argv, err := expand(a.mailer.words, f)
	if err != nil {
		return nil, err
	}
	for _, flag := range "fr" {
		if a.mailer.flags.has(byte(flag)) {
			if strings.HasPrefix(r.sender, "-") {
				return nil, errOption
			}
			argv = slices.Insert(argv, 1, "-"+string(flag), orNull(r.sender))
		}
	}
	return argv, nil
}

func (a *agent) environment(d *protocol.Delivery, r *run, u users.User) []string {
	e := runner.NewEnv()
	e.Set("HOME", u.Home)
	e.Set("USER", u.Name)
	e.Set("LOGNAME", u.Name)
	e.Set("SENDER", orNull(r.sender))
	if len(r.rcpts) == 1 {
		e.Set("RECIPIENT", r.rcpts[0].User)
		e.Set("ORCPT", r.rcpts[0].ORcpt)
		e.Set("NOTIFY", r.rcpts[0].Notify)
	}
	e.Set("ENVID", d.Control.Attr.EnvID)
	e.Set("SPOOLID", string(d.ID))
	e.Set("MESSAGEID", d.Control.MessageID)
	return e
}
