package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool/dsn"
	"zmailer/spool/journal"
	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// Command is the scheduler as a program.
func Command() *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "scheduler [--check]",
		Short: "Deliver queued mail through transport agents",
		Long: `scheduler takes routed messages from the queue and has transport agents deliver
them, as scheduler.conf says. It runs in the foreground.

SIGHUP: read scheduler.conf again and reopen the log. SIGTERM: let the agents
finish what they have, for 10 seconds at most, and end.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			if check {
				if err := CheckConf(cmd.Context(), conf); err != nil {
					return proc.Exit(proc.Config, "%w", err)
				}
				return nil
			}
			return serve(cmd.Context(), conf)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "read scheduler.conf, say what is wrong with it, and end")
	return cmd
}

const confName = "scheduler.conf"

// serve runs the scheduler of an instance until ctx ends.
func serve(ctx context.Context, conf *shellcfg.Conf) error {
	manager := proc.TakeNotifier()
	s, err := conf.EnterSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	clauses, err := LoadConfig(ctx, conf.Path(confName), conf.Vars())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	log, logFile, err := conf.OpenLog("scheduler", nil)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	defer logFile.Close()
	pid, err := proc.LockPidFile(s.RunPath("scheduler.pid"))
	var running *proc.ErrRunning
	if errors.As(err, &running) {
		return proc.Exit(proc.TempFail, "%w", err)
	} else if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer pid.Close()
	self, err := os.Executable()
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	if _, err := journal.Recover(s, log); err != nil {
		return proc.Exit(proc.IOErr, "recover the journal: %w", err)
	}
	if !s.NoSync {
		done, err := journal.OpenDone(s, func(err error) { log.Error("done log", "err", err) })
		if err != nil {
			return proc.Exit(proc.OSErr, "%w", err)
		}
		defer done.Close()
		s.OnFinish = done.Done
	}
	debug.SetGCPercent(collectPercent)
	q := newQueue(s, clauses, &processes{dir: s.Root, self: self}, log)
	forms, err := dsn.LoadFormSet(conf.MailShare + "/forms")
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	q.reporter = reporter{host: conf.Hostname, forms: forms, doubleBounce: clauses.DoubleBounce}
	watcher, err := s.WatchTransport()
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	defer watcher.Close()
	sock, err := q.listen(s.RunPath("scheduler.sock"))
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	x := &exporter{ctx: ctx, log: log, spool: s}
	if err := x.serve(conf, clauses.Metrics); err != nil {
		// Mail is not to wait for it.
		log.Error("metrics are not served", "err", err)
	}
	defer x.close()
	log.Info("started", "pid", os.Getpid(), "conf", clauses.File)

	// What finds work and answers questions ends with ctx; the queue itself when its
	// agents have.
	var wg sync.WaitGroup
	wg.Go(func() { q.watch(ctx, watcher) })
	wg.Go(func() { q.scanner(ctx) })
	wg.Go(func() { q.serveSocket(ctx, sock) })
	wg.Go(func() { q.hangups(ctx, conf, logFile, x) })
	wg.Go(func() { manager.Watch(ctx, q.status) })
	q.run(ctx)
	wg.Wait()
	log.Info("stopped", "pid", os.Getpid())
	return nil
}

// hangups reloads on SIGHUP.
func (q *Queue) hangups(ctx context.Context, conf *shellcfg.Conf, logFile *zlog.Output, x *exporter) {
	hup := proc.Hangups()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if err := logFile.Reopen(); err != nil {
				q.log.Error("log cannot be reopened", "err", err)
			}
			if err := q.reload(ctx, conf, x); err != nil {
				q.log.Error("configuration is not taken over: the old one goes on", "err", err)
			}
		}
	}
}

// reload takes over a changed configuration if all of it is right.
func (q *Queue) reload(ctx context.Context, conf *shellcfg.Conf, x *exporter) error {
	fresh, err := shellcfg.LoadConf(conf.File)
	if err != nil {
		return err
	}
	clauses, err := LoadConfig(ctx, fresh.Path(confName), fresh.Vars())
	if err != nil {
		return err
	}
	forms, err := dsn.LoadFormSet(fresh.MailShare + "/forms")
	if err != nil {
		return err
	}
	if err := x.serve(fresh, clauses.Metrics); err != nil {
		return err
	}
	rep := reporter{host: fresh.Hostname, forms: forms, doubleBounce: clauses.DoubleBounce}
	if !q.ask(ctx, func() { q.reconfigure(clauses, rep) }) {
		return fmt.Errorf("the scheduler is stopping")
	}
	q.log.LogAttrs(ctx, slog.LevelInfo, "reloaded", slog.String("conf", clauses.File))
	return nil
}

// reconfigure puts all threads under a new configuration. Jobs at agents are not
// disturbed: agents that are started differently now end when they have answered.
func (q *Queue) reconfigure(conf *Config, rep reporter) {
	q.conf, q.reporter = conf, rep
	for _, p := range q.pools {
		p.old = true
		p.ring = ring{}
	}
	for _, th := range q.threads {
		th.inRing = false
		q.govern(th)
		q.touch(th)
	}
	q.recalculate(0)
}

// recalculate computes the deadlines of all messages anew, a shard at a time:
// expiry and warning times may have come nearer.
func (q *Queue) recalculate(shard int) {
	for _, m := range q.messages[shard] {
		if !m.is(msgWorking) {
			q.setDue(m)
		}
	}
	if shard+1 < len(q.messages) {
		q.after(0, func() { q.recalculate(shard + 1) })
	}
}
