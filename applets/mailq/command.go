// Package mailq shows the queue: what is in it, how the mailer is, which
// destinations have trouble. It asks the scheduler, and reads the spool itself
// what the scheduler does not know, or all of it while no scheduler runs.
//
// The exit status of a status report (-s, -ss) is for monitoring: 0 all is well,
// 1 something needs attention, 2 mail does not flow. A listing ends with 0, also
// when the queue is empty.
package mailq

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

type options struct {
	status  int // -s given how often
	threads bool
	verbose bool
	json    bool
	watch   bool
	sel     queuesock.Selection
}

// Command is mailq as a program.
func Command() *cobra.Command {
	var o options
	var sel *queuesock.SelectFlags
	cmd := &cobra.Command{
		Use:   "mailq [-s | -ss | -Q] [-v] [-w] [--json] [-c channel] [-h host] [id...]",
		Short: "Show the mail queue",
		Long: `mailq lists the mail that is waiting to be delivered.

  mailq        messages with sender, recipients, last problem and next attempt
  mailq -ss    how the mailer is, on one screen: daemons, directories, threads,
               agents, throughput, disk, and what to do about problems
  mailq -s     the same, then the list
  mailq -Q     destinations (threads) and how they are doing

Ordinary users see totals and their own mail; root, the scheduler's user and
members of the group zmailer see all.

Exit status of -s and -ss: 0 all is well, 1 something needs attention, 2 mail
does not flow. Others: 0, also when the queue is empty.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := sel.Finish(args); err != nil {
				return err
			}
			return run(cmd.Context(), &o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.Bool("help", false, "help for mailq") // without the letter h, which means host here
	f.CountVarP(&o.status, "status", "s", "status report; -ss: without the list")
	f.BoolVarP(&o.threads, "threads", "Q", false, "list destinations")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say more of each message")
	f.BoolVarP(&o.watch, "watch", "w", false, "show the status again every two seconds, with rates")
	f.BoolVar(&o.json, "json", false, "print JSON, an object a line")
	sel = queuesock.AddSelectFlags(f, &o.sel, true)
	return cmd
}

// A viewer shows the queue of an instance.
type viewer struct {
	*options
	ctx   context.Context
	conf  *shellcfg.Conf
	spool *spool.Spool
	out   *bufio.Writer
	err   io.Writer
	now   time.Time
}

func run(ctx context.Context, o *options, out, errOut io.Writer) error {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return proc.Exit(proc.OSFile, "%w", err)
	}
	v := &viewer{options: o, ctx: ctx, conf: conf, spool: s, out: bufio.NewWriterSize(out, 64<<10), err: errOut, now: time.Now()}
	err = v.show()
	if e := v.out.Flush(); err == nil && e != nil {
		err = proc.Exit(proc.IOErr, "%w", e)
	}
	return err
}

func (v *viewer) show() error {
	switch {
	case v.watch:
		return v.watchStatus()
	case v.threads:
		return v.listThreads()
	case v.status == 0:
		return v.list()
	}
	level, err := v.showHealth()
	if err == nil && v.status == 1 {
		v.out.WriteByte('\n')
		err = v.list()
	}
	if err == nil && level > 0 {
		err = proc.Silent(int(level))
	}
	return err
}

// ask asks the scheduler.
func (v *viewer) ask(op string, sel queuesock.Selection, each func(*queuesock.Answer) error) error {
	err := queuesock.Ask(v.ctx, v.spool, &queuesock.Request{Op: op, Select: sel}, each)
	if err != nil {
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	return nil
}

// schedulerStatus returns the scheduler's totals, nil if it does not run.
func (v *viewer) schedulerStatus() (st *queuesock.Status, err error) {
	err = v.ask(queuesock.OpStatus, queuesock.Selection{}, func(a *queuesock.Answer) error {
		if a.Status != nil {
			st = a.Status
		}
		return nil
	})
	if errors.Is(err, queuesock.ErrDown) {
		err = nil
	}
	return st, err
}

// entries calls each with the messages in transport/, told by the scheduler or,
// while none runs, read from the spool.
func (v *viewer) entries(each func(*queuesock.Entry) error) error {
	err := v.ask(queuesock.OpList, v.sel, func(a *queuesock.Answer) error {
		if a.Entry == nil {
			return nil
		}
		return each(a.Entry)
	})
	if !errors.Is(err, queuesock.ErrDown) {
		return err
	}
	v.complain("the scheduler does not run: this is what stands in the spool")
	err = queuesock.Offline(v.ctx, v.spool, &v.sel, each, func(id spool.ID, err error) {
		v.complain(string(id) + ": " + err.Error())
	})
	if errors.Is(err, os.ErrPermission) {
		return proc.Exit(proc.NoPerm, "the scheduler does not run, and the spool cannot be read: %w", err)
	}
	return err
}

func (v *viewer) complain(text string) {
	// Where standard error is closed there is nobody to tell.
	_, _ = io.WriteString(v.err, "mailq: "+text+"\n")
}

// printJSON prints x on a line.
func (v *viewer) printJSON(x any) error {
	enc := json.NewEncoder(v.out)
	enc.SetEscapeHTML(false) // addresses are full of < and >
	return enc.Encode(x)
}
