// Package queue holds the commands that change the queue or show a message of it:
// zmailer hold, release, requeue, flush, delete, bounce, expire, reroute; show,
// trace, forecast. The former act on a selection and are carried out by the
// scheduler, since nobody else may write control files; the latter only look.
package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zmailer/applets/mailq"
	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// verbs are the operations on a selection.
var verbs = []struct {
	op, use, short, done string
}{
	{queuesock.OpHold, "hold", "Keep messages from being delivered until they are released", "held"},
	{queuesock.OpRelease, "release", "Deliver held messages again, also those that the policy froze", "released"},
	{queuesock.OpRequeue, "requeue", "Try recipients now, whatever their next attempt", "to be tried now"},
	{queuesock.OpFlush, "flush", "Try recipients now, also where scheduler.conf says queueonly", "to be tried now"},
	{queuesock.OpDelete, "delete", "Remove recipients from the queue; nobody is told", "deleted"},
	{queuesock.OpBounce, "bounce", "Return messages to their senders", "returned to the sender"},
	{queuesock.OpExpire, "expire", "End recipients as if their time were over; senders are told", "expired"},
}

// Commands returns the commands of this package.
func Commands() []*cobra.Command {
	var cmds []*cobra.Command
	for _, v := range verbs {
		cmds = append(cmds, changeCommand(v.op, v.use, v.short, v.done))
	}
	return append(cmds, rerouteCommand(), showCommand(), traceCommand(), forecastCommand(), mailq.MetricsCommand())
}

type options struct {
	sel              queuesock.Selection
	flags            *queuesock.SelectFlags
	dryRun, yes, out bool // out: JSON
	text             string
}

func changeCommand(op, use, short, done string) *cobra.Command {
	o := new(options)
	cmd := &cobra.Command{
		Use:   use + " [ID...] [selection]",
		Short: short,
		Long: short + `.

Give ids, or criteria, all of which must be met; in texts * and ? match as in file
names. At a terminal the number of recipients is shown first and a yes is wanted.
The exit status is 66 if an id is no message's; criteria may select nothing.

  zmailer ` + use + ` CR8H6M22HBRX5RRA
  zmailer ` + use + ` --host 'mx.example.net' --older 2d --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(op, args); err != nil {
				return err
			}
			return change(cmd, o, op, done)
		},
	}
	addChangeFlags(cmd, o)
	if op == queuesock.OpFlush {
		cmd.Use = use + " [ID... | HOST | @DOMAIN | '#CHANNEL/HOST'] [selection]"
		cmd.Long += `

As with the SMTP command ETRN a host can be named, with @ the domain and all below
it, with # a destination as mailq -Q shows it:

  zmailer flush @example.net`
	}
	if op == queuesock.OpBounce {
		cmd.Flags().StringVar(&o.text, "text", "", "reason given to the senders")
	}
	return cmd
}

func addChangeFlags(cmd *cobra.Command, o *options) {
	f := cmd.Flags()
	o.flags = queuesock.AddSelectFlags(f, &o.sel, false)
	f.BoolVar(&o.sel.All, "all", false, "everything, when no criterion is given")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be done, and do nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.out, "json", false, "print JSON")
}

func change(cmd *cobra.Command, o *options, op, done string) error {
	s, err := openSpool()
	if err != nil {
		return err
	}
	req := &queuesock.Request{Op: op, Select: o.sel, DryRun: o.dryRun, Text: o.text}
	out := cmd.OutOrStdout()
	if !o.dryRun && !o.yes && isTerminal(cmd.InOrStdin()) {
		preview := *req
		preview.DryRun = true
		would, err := send(cmd.Context(), s, &preview, nil)
		if err != nil {
			return err
		}
		if ok, err := confirm(cmd, would, done); !ok {
			return errors.Join(err, unknown(would))
		}
	}
	progress := func(c *queuesock.Changed) {
		if c.Reading > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "the scheduler is reading the queue: %.0f %%\n", 100*c.Reading)
			return
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "%d recipients so far\n", c.Recipients)
	}
	c, err := send(cmd.Context(), s, req, progress)
	if err != nil {
		return err
	}
	busy := "not touched"
	if op == queuesock.OpRequeue || op == queuesock.OpFlush {
		busy = "tried again if that fails"
	}
	if err := o.report(out, c, done, busy); err != nil {
		return err
	}
	return unknown(c)
}

// unknown is the error of ids that were given and that no message has: what the others
// asked for has been done. Differs from Postfix's postsuper, which says nothing; Exim's
// -M options fail as well.
func unknown(c *queuesock.Changed) error {
	if len(c.Unknown) == 0 {
		return nil
	}
	return proc.Exit(proc.NoInput, "no such message in the spool: %s", strings.Join(c.Unknown, ", "))
}

func (o *options) report(out io.Writer, c *queuesock.Changed, done, busy string) error {
	if o.out {
		return json.NewEncoder(out).Encode(c)
	}
	would := ""
	if o.dryRun {
		would = "would be "
	}
	fmt.Fprintf(out, "%s%s: %d recipients of %d messages\n", would, done, c.Recipients, c.Messages)
	if c.Busy > 0 {
		fmt.Fprintf(out, "being delivered just now, and %s: %d recipients\n", busy, c.Busy)
	}
	return nil
}

// complete makes the selection of the options and arguments.
func (o *options) complete(op string, args []string) error {
	if op == queuesock.OpFlush && len(args) == 1 && queuesock.IsEtrn(args[0]) {
		o.sel.Etrn, args = args[0], nil
	}
	if err := o.flags.Finish(args); err != nil {
		return err
	}
	if o.sel.Empty() && !o.sel.All {
		return proc.Exit(proc.Usage, "%w", queuesock.ErrEmpty)
	}
	return nil
}

func openSpool() (*spool.Spool, error) {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return nil, proc.Exit(proc.OSFile, "%w", err)
	}
	return s, nil
}

// send has the scheduler carry out a request.
func send(ctx context.Context, s *spool.Spool, req *queuesock.Request, progress func(*queuesock.Changed)) (c *queuesock.Changed, err error) {
	err = queuesock.Ask(ctx, s, req, func(a *queuesock.Answer) error {
		if a.Changed != nil {
			c = a.Changed
			if !a.Done && progress != nil {
				progress(c)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, queuesock.ErrDown):
		return nil, proc.Exit(proc.Unavailable, "%w: it alone changes the queue (start it with: zmailer scheduler)", err)
	case err != nil:
		return nil, proc.Exit(proc.Unavailable, "%w", err)
	case c == nil:
		return nil, proc.Exit(proc.Protocol, "the scheduler gave no result")
	}
	return c, nil
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// confirm shows what would be done and asks whether it shall be.
func confirm(cmd *cobra.Command, c *queuesock.Changed, done string) (bool, error) {
	out := cmd.OutOrStdout()
	if c.Recipients == 0 {
		fmt.Fprintln(out, "nothing in the queue is selected")
		return false, nil
	}
	fmt.Fprintf(out, "%d recipients of %d messages would be %s. Go on? [y/N] ", c.Recipients, c.Messages, done)
	answer, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 100)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, proc.Exit(proc.IOErr, "%w", err)
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	if answer != "y" && answer != "yes" {
		fmt.Fprintln(out, "nothing was done")
		return false, nil
	}
	return true, nil
}
