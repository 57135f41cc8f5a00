package router

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/applets/check"
	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/counters"
	"zmailer/spool/journal"
	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// Command is the router as a program.
func Command() *cobra.Command {
	var helper, interactive bool
	var workers int
	cmd := &cobra.Command{
		Use:   "router [-i | -I] [-n WORKERS]",
		Short: "Decide where submitted mail goes",
		Long: `router takes submitted messages, asks the policy of router.cf where each
recipient goes, and puts them into the queue. It runs in the foreground.

With -i it reads addresses from standard input and prints where they would go.
With -I it answers the SMTP server's questions about addresses.

SIGHUP: read the configuration again, reopen the log, try deferred mail now.
SIGTERM: finish the messages in work and end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			switch {
			case helper && interactive:
				return proc.Exit(proc.Usage, "-i and -I exclude each other")
			case helper:
				return serveHelper(cmd.Context(), conf, cmd.InOrStdin(), cmd.OutOrStdout())
			case interactive:
				return converse(cmd.Context(), conf, cmd.InOrStdin(), cmd.OutOrStdout())
			}
			if err := conf.Confine(); err != nil {
				return proc.Exit(proc.OSErr, "%w", err)
			}
			return serve(cmd.Context(), conf, workers)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&interactive, "interactive", "i", false, "print where addresses would go")
	f.BoolVarP(&helper, "helper", "I", false, "answer the SMTP server")
	f.IntVarP(&workers, "workers", "n", 0, "messages routed at once; 0 is four for each core")
	return cmd
}

// perCore is how many workers a core has: one works while others wait for a disk, a
// name server or a table, and a table that hangs must not stop all mail.
const perCore = 4

// serve runs the router of an instance until ctx ends.
func serve(ctx context.Context, conf *shellcfg.Conf, workers int) error {
	if workers < 0 || workers > 1000 {
		return proc.Exit(proc.Usage, "-n %d: not a number of workers", workers)
	}
	if workers == 0 {
		workers = perCore * runtime.GOMAXPROCS(0)
	}
	manager := proc.TakeNotifier()
	s, err := conf.EnterSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if err := dropGroups(); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	log, logFile, err := conf.OpenLog("router", nil)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer logFile.Close()
	h, err := policy.NewHolder(ctx, policy.Config{Conf: conf, Log: log, Accept: check.Verify})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer h.Close()
	r, err := New(s, h, log)
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	watcher, err := s.WatchRouter()
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer watcher.Close()
	pid, err := proc.LockPidFile(s.RunPath("router.pid"))
	var running *proc.ErrRunning
	switch {
	case errors.As(err, &running):
		return proc.Exit(proc.TempFail, "%w", err)
	case err != nil:
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer pid.Close()
	if err := recoverSpool(s, log); err != nil {
		return proc.Exit(proc.IOErr, "recover the spool: %w", err)
	}
	tables, err := listenTables(s.RunPath(tablesSocket), h, log)
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer tables.Close()
	questions, err := listenQuestions(ctx, s.RunPath(spool.RouterSocket), h, log)
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer questions.Close()
	log.Info("started", "pid", os.Getpid(), "config", h.Conf().File)
	go h.Watch(ctx)
	go r.hangups(ctx, logFile)
	go manager.Watch(ctx, r.queue.status)
	counting, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.counts.set.Keep(counting, counters.Path(s, "router"), log)
	}()
	err = r.Run(ctx, workers, watcher)
	stop()
	<-kept
	log.Info("stopped", "pid", os.Getpid())
	return err
}

// dropGroups gives up the groups of root, with which a user's list that is read
// with his uid could be a file of theirs.
func dropGroups() error {
	if os.Geteuid() != 0 {
		return nil
	}
	return syscall.Setgroups(nil)
}

// recoverSpool brings messages back to states that somebody moves on: first those
// that a power cut took from the file system and the journal still has.
func recoverSpool(s *spool.Spool, log *slog.Logger) error {
	if st, err := journal.Recover(s, log); err != nil {
		return err
	} else if st.Restored+st.Removed > 0 {
		log.Warn("journal replayed", "restored", st.Restored, "removed", st.Removed)
	}
	s.WasFinished = journal.Finished(s)
	rec, err := s.Recover(func(id spool.ID, what string) {
		log.Warn("recovered", "spoolid", string(id), "action", what)
	})
	if err == nil && rec != (spool.Recovered{}) {
		log.Info("spool recovered", "requeued", rec.Requeued, "orphans", rec.Orphans, "quarantined", rec.Quarantined, "failed", rec.Failed)
	}
	return err
}

// hangups reloads on SIGHUP.
func (r *Router) hangups(ctx context.Context, logFile *zlog.Output) {
	hup := proc.Hangups()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
		}
		if err := logFile.Reopen(); err != nil {
			r.log.Error("log cannot be reopened", "err", err)
		}
		r.policy.ReloadLogged(ctx)
		r.queue.hurry()
	}
}
