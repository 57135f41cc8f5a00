// Package queue holds the commands that change the queue or show a message of it:
// zmailer hold, release, requeue, flush, delete, bounce, expire, show. The first
// seven act on a selection and are carried out by the scheduler, since nobody else
// may write control files.
package queue

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

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
	{queuesock.OpRelease, "release", "Deliver held messages again", "released"},
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
	return append(cmds, showCommand())
}

type options struct {
	sel              queuesock.Selection
	older, younger   string
	larger, smaller  string
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

  zmailer ` + use + ` CR8H6M22HBRX5RRA
  zmailer ` + use + ` --host 'mx.example.net' --older 2d --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.sel.IDs = args
			return change(cmd, o, op, done)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.sel.Sender, "sender", "", "sender; <> is the null sender")
	f.StringVar(&o.sel.Recipient, "recipient", "", "address of the recipient")
	f.StringVar(&o.sel.Domain, "domain", "", "domain of the recipient's address")
	f.StringVar(&o.sel.Channel, "channel", "", "channel")
	f.StringVar(&o.sel.Host, "host", "", "host")
	f.StringVar(&o.sel.Reason, "reason", "", "part of the last reply")
	f.StringVar(&o.sel.Status, "status", "", "status of the last reply, such as 4.4.*")
	f.StringVar(&o.sel.State, "state", "", "ready, waiting, running or held")
	f.StringVar(&o.older, "older", "", "age at least, such as 90m or 2d")
	f.StringVar(&o.younger, "younger", "", "age at most")
	f.StringVar(&o.larger, "larger", "", "size at least, such as 500k or 10M")
	f.StringVar(&o.smaller, "smaller", "", "size at most")
	f.BoolVar(&o.sel.All, "all", false, "everything, when no criterion is given")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be done, and do nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.out, "json", false, "print JSON")
	if op == queuesock.OpBounce {
		f.StringVar(&o.text, "text", "", "reason given to the senders")
	}
	return cmd
}

func change(cmd *cobra.Command, o *options, op, done string) error {
	if err := o.complete(); err != nil {
		return err
	}
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
			return err
		}
	}
	progress := func(c *queuesock.Changed) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d recipients so far\n", c.Recipients)
	}
	c, err := send(cmd.Context(), s, req, progress)
	if err != nil {
		return err
	}
	return o.report(out, c, done)
}

func (o *options) report(out io.Writer, c *queuesock.Changed, done string) error {
	if o.out {
		return json.NewEncoder(out).Encode(c)
	}
	would := ""
	if o.dryRun {
		would = "would be "
	}
	fmt.Fprintf(out, "%s%s: %d recipients of %d messages\n", would, done, c.Recipients, c.Messages)
	if c.Busy > 0 {
		fmt.Fprintf(out, "being delivered just now, and not touched: %d recipients\n", c.Busy)
	}
	return nil
}

// complete checks the options and makes the selection of them.
func (o *options) complete() (err error) {
	for i, id := range o.sel.IDs {
		if o.sel.IDs[i], err = parseID(id); err != nil {
			return err
		}
	}
	for _, f := range []struct {
		name, v string
		dst     *int64
		parse   func(string) (int64, error)
	}{
		{"older", o.older, &o.sel.MinAge, parseAge}, {"younger", o.younger, &o.sel.MaxAge, parseAge},
		{"larger", o.larger, &o.sel.MinSize, parseSize}, {"smaller", o.smaller, &o.sel.MaxSize, parseSize},
	} {
		if f.v == "" {
			continue
		}
		if *f.dst, err = f.parse(f.v); err != nil {
			return proc.Exit(proc.Usage, "--%s %s: %w", f.name, f.v, err)
		}
	}
	if o.sel.Empty() && !o.sel.All {
		return proc.Exit(proc.Usage, "%w", queuesock.ErrEmpty)
	}
	return nil
}

func parseID(s string) (string, error) {
	id, err := spool.ParseID(strings.ToUpper(s))
	if err != nil {
		return "", proc.Exit(proc.Usage, "%w", err)
	}
	return string(id), nil
}

// parseAge reads a time such as 90m, 36h or 2d, in seconds.
func parseAge(s string) (int64, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errors.New("want a time such as 90m, 36h or 2d")
		}
		return int64(n) * 24 * 60 * 60, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, errors.New("want a time such as 90m, 36h or 2d")
	}
	return int64(d / time.Second), nil
}

// parseSize reads a number of bytes, with k, M or G.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKMG")
	n, err := strconv.ParseUint(digits, 10, 32)
	shift := map[string]uint{"": 0, "k": 10, "K": 10, "M": 20, "G": 30}
	by, ok := shift[s[len(digits):]]
	if err != nil || !ok || n == 0 {
		return 0, errors.New("want a size such as 4000, 500k or 10M")
	}
	return int64(n) << by, nil
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
