// Package control is the zmailer command: it starts, stops, freezes and thaws the
// system, says how it is, and supervises the daemons.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/check"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// exitFrozen is the status of a start that the freeze forbids.
const exitFrozen = 2

// Command returns the zmailer command with its verbs. A reload is refused by the check
// of the policy, and by each of the other parts of the configuration.
func Command(parts ...check.Part) *cobra.Command {
	root := &cobra.Command{
		Use:   "zmailer [--zconfig FILE] [VERB | PROGRAM] [ARG...]",
		Short: "Control the mailer; without a verb, start it",
		Long: `zmailer controls the mailer and acts as each of its programs.

Without a verb it starts the router, the scheduler and the SMTP server in the
background and waits until they answer. The name of a daemon alone (zmailer
router) starts that one. ZCONFIG in the environment, or --zconfig FILE, selects
the instance by its zmailer.conf.

  zmailer                          start everything
  mailq -ss                        how it is
  zmailer explain joe@example.org  where mail for an address goes
  zmailer help VERB                more of a verb

Exit status: 0 the daemons answer; 2 the mailer is frozen; others as in sysexits.h.`,
		Args: cobra.NoArgs,
		RunE: verb((*instance).start),
	}
	add := func(use, short string, fn func(*instance, *cobra.Command, []string) error, aliases ...string) *cobra.Command {
		cmd := &cobra.Command{Use: use, Short: short, RunE: verb(fn), Aliases: aliases, ValidArgs: daemons, Args: daemonArgs}
		root.AddCommand(cmd)
		return cmd
	}
	add("start [DAEMON...]", "Start the daemons in the background", (*instance).start)
	add("kill [DAEMON...]", "Stop the daemons and wait until they are gone", (*instance).kill, "stop")
	add("restart [DAEMON...]", "Stop and start the daemons", (*instance).restart)
	add("run [DAEMON...]", "Supervise the daemons in the foreground, for service managers and containers", (*instance).run)
	add("reload", "Check and test the configuration, then have the daemons take it and reopen their logs", func(in *instance, cmd *cobra.Command, args []string) error {
		return in.reload(cmd, args, parts)
	}).Args = cobra.NoArgs
	add("logsync", "Have the daemons reopen their logs", (*instance).logsync).Args = cobra.NoArgs
	add("freeze", "Keep the mailer from being started", (*instance).freeze).Args = cobra.NoArgs
	add("thaw", "Undo freeze", (*instance).thaw, "unfreeze").Args = cobra.NoArgs
	add("resubmit", "Have the router try all deferred messages now", (*instance).resubmit).Args = cobra.NoArgs
	status := add("status", "Say which daemons run; exit status 0 if all do, else 69", (*instance).showStatus)
	status.Args = cobra.NoArgs
	status.Flags().Bool("json", false, "print JSON")
	for _, name := range daemons {
		add(name, "Start the "+name+" in the background; with arguments, act as the program", func(in *instance, cmd *cobra.Command, _ []string) error {
			return in.start(cmd, []string{name})
		}).Args = cobra.NoArgs
	}
	return root
}

func verb(fn func(*instance, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		in, err := open()
		if err != nil {
			return err
		}
		return fn(in, cmd, args)
	}
}

func daemonArgs(_ *cobra.Command, args []string) error {
	for _, a := range args {
		if !isDaemon(a) {
			return proc.Exit(proc.Usage, "%q is no daemon: want %s", a, strings.Join(daemons, ", "))
		}
	}
	return nil
}

func orAll(names []string) []string {
	if len(names) == 0 {
		return daemons
	}
	return names
}

func (in *instance) freezePath() string { return in.spool.Root + "/.freeze" }

func (in *instance) frozen() error {
	st, err := os.Stat(in.freezePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return proc.Exit(exitFrozen, "the mailer was frozen on %s and will not start.\nMake sure that no maintenance is in progress, then run: zmailer thaw",
		st.ModTime().Format(time.DateTime))
}

func (in *instance) start(cmd *cobra.Command, names []string) error {
	if err := in.frozen(); err != nil {
		return err
	}
	if m := in.serviceManager(); m != nil && in.pid("zmailer") == 0 {
		if err := m.do("start", names); err != nil {
			return err
		}
		return in.awaitUnits(cmd, orAll(names))
	}
	names = orAll(names)
	if in.pid("zmailer") == 0 {
		if err := in.detach(names); err != nil {
			return err
		}
	} else {
		for _, name := range names {
			if _, err := in.ask("start " + name); err != nil {
				return proc.Exit(proc.Unavailable, "%w", err)
			}
		}
	}
	return in.awaitStart(cmd, names)
}

// awaitUnits waits until daemons that the service manager has started answer.
func (in *instance) awaitUnits(cmd *cobra.Command, names []string) error {
	waiting := slices.Clone(names)
	poll(cmd.Context(), startWindow, func() bool {
		waiting = slices.DeleteFunc(waiting, in.answers)
		return len(waiting) == 0
	})
	if len(waiting) > 0 {
		return proc.Exit(proc.Unavailable, "%s: no answer within %s; see: systemctl status zmailer-%s", strings.Join(waiting, ", "), startWindow, waiting[0])
	}
	in.printRunning(cmd, names)
	return nil
}

func (in *instance) printRunning(cmd *cobra.Command, names []string) {
	for _, name := range names {
		fmt.Fprintf(cmd.OutOrStdout(), "%-11s running  pid %d\n", name, in.pid(name))
	}
}

// detach starts the supervisor as a process of its own session.
func (in *instance) detach(names []string) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd := exec.Command(exe)
	cmd.Args = append([]string{"zmailer", "run"}, names...)
	cmd.Dir = in.spool.Root
	cmd.Env = append(os.Environ(), "ZCONFIG="+in.conf.File)
	var stderr tail
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, null, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	up := poll(context.Background(), startWindow, func() bool {
		if len(ended) > 0 {
			return true
		}
		_, err := in.ask("status")
		return err == nil
	})
	if len(ended) > 0 || !up {
		r.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		b := make([]byte, tailSize)
		n, _ := r.Read(b) // whatever it said is part of the error
		stderr.Write(b[:n])
		return proc.Exit(proc.Unavailable, "the supervisor did not start: %s", stderr.String())
	}
	return nil
}

// awaitStart waits until the daemons answer, or says why they do not.
func (in *instance) awaitStart(cmd *cobra.Command, names []string) error {
	var trouble []string
	waiting := slices.Clone(names)
	poll(cmd.Context(), startWindow, func() bool {
		a, err := in.ask("status")
		if err != nil {
			trouble = []string{err.Error()}
			return true
		}
		trouble = nil
		waiting = slices.DeleteFunc(waiting, in.answers)
		for _, d := range a.Daemons {
			if slices.Contains(waiting, d.Name) && d.State == failing {
				trouble = append(trouble, d.Name+": "+strings.TrimPrefix(d.Error, d.Name+": "))
			}
		}
		return len(waiting) == 0 || len(trouble) > 0
	})
	switch {
	case len(trouble) > 0:
		return proc.Exit(proc.Unavailable, "%s\nThe supervisor goes on trying; see %s, and stop it with: zmailer kill", strings.Join(trouble, "\n"), in.conf.LogPath("zmailer"))
	case len(waiting) > 0:
		return proc.Exit(proc.Unavailable, "%s: no answer within %s; see the logs in %s", strings.Join(waiting, ", "), startWindow, in.conf.LogDir)
	}
	in.printRunning(cmd, names)
	return nil
}

func (in *instance) kill(cmd *cobra.Command, names []string) error {
	all := len(names) == 0
	supervisor := in.pid("zmailer")
	if m := in.serviceManager(); m != nil && supervisor == 0 {
		if err := m.do("stop", names); err != nil {
			return err
		}
	}
	if all && supervisor > 0 {
		terminate(supervisor, func() bool { return in.pid("zmailer") != supervisor })
	}
	names = slices.Clone(orAll(names))
	slices.Reverse(names)
	for _, name := range names {
		if !all && supervisor > 0 {
			if _, err := in.ask("stop " + name); err != nil {
				return proc.Exit(proc.Unavailable, "%w", err)
			}
		}
		if pid := in.pid(name); pid > 0 {
			terminate(pid, func() bool { return in.pid(name) != pid })
		}
		if pid := in.pid(name); pid > 0 {
			return proc.Exit(proc.Unavailable, "%s: process %d does not end", name, pid)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%-11s stopped\n", name)
	}
	return nil
}

func (in *instance) restart(cmd *cobra.Command, names []string) error {
	if err := in.frozen(); err != nil {
		return err
	}
	if err := in.kill(cmd, names); err != nil {
		return err
	}
	return in.start(cmd, names)
}

func (in *instance) run(cmd *cobra.Command, names []string) error {
	if err := in.frozen(); err != nil {
		return err
	}
	return supervise(cmd.Context(), in, orAll(names))
}

// reload has the daemons take a configuration that passes its check and its
// tests. The router and its helpers do not take any other by themselves either.
func (in *instance) reload(cmd *cobra.Command, args []string, parts []check.Part) error {
	for _, part := range append([]check.Part{check.Verify}, parts...) {
		if err := part(cmd.Context(), in.conf); err != nil {
			return proc.Exit(proc.Config, "not reloaded, the old configuration goes on: %w", err)
		}
	}
	return in.hangup(cmd, args)
}

// hangup signals all daemons: they reopen their logs and read their configuration,
// each keeping the old one if the new one is wrong.
func (in *instance) hangup(*cobra.Command, []string) error { return in.signal(syscall.SIGHUP) }

// logsync is for after a rotation.
func (in *instance) logsync(*cobra.Command, []string) error { return in.signal(syscall.SIGUSR1) }

func (in *instance) signal(sig syscall.Signal) error {
	n := 0
	for _, name := range append([]string{"zmailer"}, daemons...) {
		pid := in.pid(name)
		if pid <= 0 {
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			return proc.Exit(proc.NoPerm, "%s: signal process %d: %w", name, pid, err)
		}
		n++
	}
	if n == 0 {
		return proc.Exit(proc.Unavailable, "nothing runs; start it with: zmailer")
	}
	return nil
}

func (in *instance) freeze(cmd *cobra.Command, _ []string) error {
	f, err := os.OpenFile(in.freezePath(), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	fmt.Fprintln(cmd.OutOrStdout(), "Frozen: the mailer will not start until: zmailer thaw")
	if in.pid("zmailer") > 0 {
		fmt.Fprintln(cmd.OutOrStdout(), "It is running; stop it with: zmailer kill")
	}
	return nil
}

func (in *instance) thaw(cmd *cobra.Command, _ []string) error {
	err := os.Remove(in.freezePath())
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(cmd.OutOrStdout(), "It was not frozen.")
		return nil
	}
	if err != nil {
		return proc.Exit(proc.NoPerm, "%w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), "Thawed: start the mailer with: zmailer")
	return nil
}

func (in *instance) resubmit(cmd *cobra.Command, _ []string) error {
	n := 0
	err := spool.EachID(in.spool.Root+"/"+spool.DeferredDir, func(id spool.ID) error {
		err := in.spool.SetAside(spool.DeferredDir, spool.RouterDir, id, "")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the router was faster
		}
		n++
		return err
	})
	if err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%d messages given back to the router\n", n)
	return nil
}

func (in *instance) showStatus(cmd *cobra.Command, _ []string) error {
	statuses := make([]daemonStatus, 0, len(daemons))
	down := 0
	known := make(map[string]daemonStatus)
	if a, err := in.ask("status"); err == nil {
		for _, d := range a.Daemons {
			known[d.Name] = d
		}
	}
	for _, name := range daemons {
		d := known[name]
		d.Name, d.Pid = name, in.pid(name)
		switch {
		case d.Pid == 0:
			down++
			if d.State != failing {
				d.State = stopped
			}
		case !in.answers(name):
			down++
			d.State, d.Error = failing, "does not answer"
		default:
			d.State = running
		}
		statuses = append(statuses, d)
	}
	if err := in.printStatus(cmd, statuses); err != nil {
		return err
	}
	if down > 0 {
		return proc.Silent(proc.Unavailable)
	}
	return nil
}

func (in *instance) printStatus(cmd *cobra.Command, statuses []daemonStatus) error {
	out := cmd.OutOrStdout()
	asJSON, err := cmd.Flags().GetBool("json")
	if err != nil {
		return err
	}
	supervisor, frozen := in.pid("zmailer"), in.frozen() != nil
	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"daemons": statuses, "supervisor": supervisor, "frozen": frozen, "zconfig": in.conf.File})
	}
	for _, d := range statuses {
		fmt.Fprintf(out, "%-11s %-8s", d.Name, d.State)
		if d.Pid > 0 {
			fmt.Fprintf(out, " pid %-7d", d.Pid)
		}
		if d.Restarts > 0 {
			fmt.Fprintf(out, " restarted %d times", d.Restarts)
		}
		if d.Error != "" {
			fmt.Fprintf(out, " %s", strings.ReplaceAll(d.Error, "\n", " "))
		}
		fmt.Fprintln(out)
	}
	if supervisor == 0 && in.serviceManager() == nil {
		fmt.Fprintln(out, "supervisor  stopped  (nothing restarts a daemon that dies; start it with: zmailer)")
	}
	if frozen {
		fmt.Fprintln(out, "The mailer is frozen; undo with: zmailer thaw")
	}
	return nil
}
