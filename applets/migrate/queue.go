package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// A queueKind is a mailer whose queue can be read.
type queueKind struct {
	name, dir, stop, remove string
	files                   func(dir string) ([]queueFile, error)
	open                    func(f queueFile) (*queued, io.Closer, error)
	running                 func(dir string) bool
}

func queueKinds() []queueKind {
	return []queueKind{
		{"postfix", "/var/spool/postfix", "postfix stop", "postsuper -d QUEUE-ID", postfixFiles, openPostfix, postfixRuns},
		{"sendmail", "/var/spool/mqueue", "stop its daemon and queue runners", "rm qfID dfID", sendmailFiles, openSendmail, func(string) bool { return false }},
	}
}

func queueCommand() *cobra.Command {
	var dry bool
	cmd := &cobra.Command{
		Use:   "queue [--dry-run] postfix|sendmail [DIR]",
		Short: "Take over the queue of another mailer",
		Long: `Submit the messages that wait in the queue of Postfix or Sendmail, to the recipients
they have not reached, with sender, time of arrival and what was asked for reports.

The other mailer must be stopped, or mail is delivered twice. Nothing is removed from
its queue; what was taken is remembered in the file "imported" of the spool, so that
it is not taken again. Mail on hold, in quarantine, or that the other mailer has given
up waits here, too, until it is released. Files that cannot be read stay where they are
and are named.

Status 0: all was taken; 1: some was not.`,
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().BoolVar(&dry, "dry-run", false, "say what would be taken")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, k := range queueKinds() {
			if k.name == args[0] {
				dir := k.dir
				if len(args) > 1 {
					dir = args[1]
				}
				return k.take(cmd, dir, dry)
			}
		}
		return proc.Exit(proc.Usage, "queue of %s? postfix or sendmail", args[0])
	}
	return cmd
}

// take takes over a queue.
func (k *queueKind) take(cmd *cobra.Command, dir string, dry bool) error {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if k.running(dir) && !dry {
		return proc.Exit(proc.Unavailable, "the mailer of %s is running and would deliver the same mail: %s", dir, k.stop)
	}
	files, err := k.files(dir)
	if err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	rec, err := openRecord(filepath.Join(s.Root, "imported"))
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer rec.f.Close()
	out := cmd.OutOrStdout()
	taken, held, before, bad := 0, 0, 0, 0
	for _, f := range files {
		id, err := k.one(cmd.Context(), s, rec, f, dry)
		switch {
		case errors.Is(err, errTaken):
			before++
		case errors.Is(err, errNobody), errors.Is(err, fs.ErrNotExist): // delivered
		case err != nil:
			bad++
			fmt.Fprintf(out, "%s: not taken: %s\n", f.path, rfc5322.OneLine(err.Error(), 500))
		default:
			taken++
			if f.hold != "" {
				id += " (on hold: " + f.hold + ")"
				held++
			}
			fmt.Fprintf(out, "%s: %s\n", f.path, id)
		}
		if err := cmd.Context().Err(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "%d messages taken, %d were taken before, %d not taken\n", taken, before, bad)
	if taken+before > 0 && !dry {
		fmt.Fprintf(out, "The queue is as it was. Before the other mailer is started again, remove from it what was taken: %s\n", k.remove)
	}
	if held > 0 && !dry {
		fmt.Fprintf(out, "%d of them wait until you let them go: zmailer release ID, or delete them: zmailer delete ID\n", held)
	}
	if bad > 0 {
		return proc.Silent(1)
	}
	return nil
}

var (
	errTaken  = errors.New("taken before")
	errNobody = errors.New("no recipient is left")
)

// one takes over one message.
func (k *queueKind) one(ctx context.Context, s *spool.Spool, rec *record, f queueFile, dry bool) (string, error) {
	q, c, err := k.open(f)
	if err != nil {
		return "", err
	}
	defer c.Close()
	key := k.name + " " + q.name + " " + fmt.Sprint(q.arrival.UnixMicro())
	if _, done := rec.taken[key]; done {
		return "", errTaken
	}
	if len(q.env.To) == 0 {
		return "", errNobody
	}
	if dry {
		// To its end: a file that is cut off is not taken.
		_, err := io.Copy(io.Discard, q.body)
		return fmt.Sprintf("from <%s> to %d recipients", q.env.From, len(q.env.To)), err
	}
	// It was accepted by the other mailer, for all its recipients.
	q.env.External, q.env.MayRelay, q.env.HasFrom = true, true, true
	q.env.Submission, q.env.Hold = f.fresh, f.hold
	if f.hold != "" && q.reason != "" {
		q.env.Hold += ": " + rfc5322.OneLine(q.reason, 200)
	}
	q.env.Comment = "from the queue of " + k.name + ", " + q.name
	sub, err := s.Submit(&q.env)
	if err != nil {
		return "", err
	}
	sub.Modified = q.arrival
	if _, err = sub.Write(q.header); err == nil {
		_, err = io.Copy(sub, q.body)
	}
	if err != nil {
		sub.Abort()
		return "", err
	}
	id := sub.ID
	if err := sub.Commit(ctx); err != nil {
		return "", err
	}
	// After a crash in between the message is taken twice, and not lost.
	return string(id), rec.add(key, string(id))
}

// A record is the file of what was taken: a line "KIND NAME ARRIVAL ID" for each.
type record struct {
	f     *os.File
	taken map[string]string
}

const maxRecord = 256 << 20

func openRecord(path string) (*record, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	r := &record{f, make(map[string]string)}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: another import is under way: %w", path, err), f.Close())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil && len(b) > maxRecord {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxRecord)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for line := range strings.Lines(string(b)) {
		if i := strings.LastIndexByte(line, ' '); i > 0 && strings.HasSuffix(line, "\n") {
			r.taken[line[:i]] = strings.TrimSpace(line[i:])
		}
	}
	if len(b) > 0 && b[len(b)-1] != '\n' { // torn: what it stood for is taken again
		_, err = f.WriteString("\n")
	}
	return r, err
}

func (r *record) add(key, id string) error {
	r.taken[key] = id
	_, err := r.f.WriteString(key + " " + id + "\n")
	return err
}
