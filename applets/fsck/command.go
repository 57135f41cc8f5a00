package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/journal"
	"zmailer/spool/proc"
)

// daemons are those whose files are repaired only while they do not run.
var daemons = []string{"router", "scheduler", "smtpserver"}

// exitFound is the status when something was found and not repaired.
const exitFound = 1

// Command returns "zmailer fsck".
func Command() *cobra.Command {
	var repair, asJSON bool
	cmd := &cobra.Command{
		Use:   "fsck [--repair] [--json]",
		Short: "Check every file of the spool, and repair what is wrong",
		Long: `fsck looks at every file of the spool and prints what is wrong with it, with the
shell commands that would put it right; the whole output is a shell script.

With --repair it does that itself, as far as the daemon that owns the files does
not run: stop it first with "zmailer kill". Unreadable and unknown files are moved
to postman/ with the reason beside them. Only control files of finished messages
and old files in public/ are removed.

The status is 0 if all is well or was repaired, 1 if something remains.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openSpool()
			if err != nil {
				return err
			}
			r := newRun(s, cmd.OutOrStdout(), cmd.ErrOrStderr(), "fsck")
			r.repair, r.json = repair, asJSON
			if err := r.lock(); err != nil {
				return err
			}
			defer r.unlock()
			if err := r.check(cmd.Context(), (*checker).all); err != nil {
				return err
			}
			return r.summary()
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "do what is printed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a line of JSON for each finding, and one for the summary")
	return cmd
}

// CleanupCommand returns "zmailer cleanup".
func CleanupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what dead submitters left in public/ more than a day ago, and control files of finished messages",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openSpool()
			if err != nil {
				return err
			}
			r := newRun(s, io.Discard, cmd.ErrOrStderr(), "cleanup")
			r.repair, r.only = true, removesOnly
			if err := r.check(cmd.Context(), (*checker).rubbish); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d files removed from %s/%s, %d finished control files\n",
				r.repaired-r.orphans, s.Root, spool.PublicDir, r.orphans)
			if r.found > r.repaired {
				return proc.Exit(proc.IOErr, "%d files could not be removed: %w", r.found-r.repaired, r.failure)
			}
			return nil
		},
	}
}

// removesOnly is true for a finding whose repair is to remove rubbish.
func removesOnly(f *finding) bool { return len(f.Steps) == 1 && f.Steps[0].op == remove }

func openSpool() (*spool.Spool, error) {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	s, err := spool.Open(conf.Postoffice)
	if errors.Is(err, spool.ErrNoSpool) {
		// The directories may be what is missing; but not all of them.
		s, err = partial(conf.Postoffice, err)
	}
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	return s, nil
}

// partial takes a directory for a spool if at least one of its directories is there.
func partial(root string, err error) (*spool.Spool, error) {
	for _, d := range spool.Dirs {
		if there(root + "/" + d.Name) {
			return &spool.Spool{Root: root}, nil
		}
	}
	return nil, err
}

// A run is one call of a command.
type run struct {
	s        *spool.Spool
	out      io.Writer
	progress *progress
	repair   bool
	json     bool
	only     func(*finding) bool // findings that matter; nil: all

	running map[string]int
	locks   []*proc.PidFile
	states  map[string]int

	found, repaired, notes, orphans int

	failure error // of the last repair that failed
	wrote   error // of the output
}

func newRun(s *spool.Spool, out, stderr io.Writer, what string) *run {
	return &run{s: s, out: out, progress: newProgress(stderr, what), running: make(map[string]int), states: make(map[string]int)}
}

// lock finds out which daemons run. For a repair it keeps the others from starting.
func (r *run) lock() error {
	for _, name := range daemons {
		path := r.s.RunPath(name + ".pid")
		if !there(r.s.RunPath("")) {
			continue // run/ itself is missing: nothing can hold a file in it
		}
		if !r.repair {
			pid, err := proc.Running(path)
			if err != nil {
				return proc.Exit(proc.NoPerm, "%s: %w", name, err)
			}
			r.running[name] = pid
			continue
		}
		lock, err := proc.LockPidFile(path)
		var running *proc.ErrRunning
		switch {
		case errors.As(err, &running):
			r.running[name] = running.Pid
		case err != nil:
			r.unlock()
			return proc.Exit(proc.NoPerm, "%s: %w", name, err)
		default:
			r.locks = append(r.locks, lock)
		}
	}
	return nil
}

func (r *run) unlock() {
	for _, l := range r.locks {
		l.Close() // gives the lock up, whatever it returns
	}
	r.locks = nil
}

func (r *run) check(ctx context.Context, what func(*checker)) error {
	what(&checker{ctx: ctx, s: r.s, now: time.Now(), running: r.running, report: r.report, seen: r.progress.seen,
		finished: journal.Finished(r.s), states: r.states})
	r.progress.clear()
	switch {
	case r.wrote != nil:
		return proc.Exit(proc.IOErr, "%w", r.wrote)
	case ctx.Err() != nil:
		return proc.Exit(proc.TempFail, "interrupted; what was printed is done")
	}
	return nil
}
