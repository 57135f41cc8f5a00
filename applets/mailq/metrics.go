package mailq

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/counters"
	"zmailer/spool/proc"
)

// MetricsCommand is zmailer metrics.
func MetricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the counters of the mailer for Prometheus",
		Long: `metrics prints the counters of the daemons, which of them run and how much mail is in
each directory, in the text form of Prometheus: for the textfile collector of its node
exporter. Without a scheduler its counters are missing and zmailer_daemon_up says so;
the exit status is 0. Those of the router and the SMTP server are 5 seconds old at most;
one that is stopped leaves its last ones behind.

The scheduler serves the same by HTTP if scheduler.conf has "queue metrics=ADDRESS".`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			s, err := conf.OpenSpool()
			if err != nil {
				return proc.Exit(proc.OSFile, "%w", err)
			}
			return WriteMetrics(cmd.Context(), conf, s, cmd.OutOrStdout())
		},
	}
}

// WriteMetrics writes the counters of the instance: the scheduler's, those that the
// router and the SMTP server keep in files, and what can be seen from outside.
func WriteMetrics(ctx context.Context, conf *shellcfg.Conf, s *spool.Spool, out io.Writer) error {
	v := &viewer{options: new(options), ctx: ctx, conf: conf, spool: s, out: bufio.NewWriter(out), err: io.Discard, now: time.Now()}
	if err := v.printMetrics(); err != nil {
		return err
	}
	if err := v.out.Flush(); err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	return nil
}

func (v *viewer) printMetrics() error {
	err := v.ask(queuesock.OpMetrics, queuesock.Selection{}, func(a *queuesock.Answer) error {
		_, err := v.out.WriteString(a.Metrics)
		return err
	})
	if err != nil && !errors.Is(err, queuesock.ErrDown) {
		return err
	}
	for _, daemon := range []string{"router", "smtpserver"} {
		// One that was never started has none, and not everybody may read them.
		if b, err := counters.Read(counters.Path(v.spool, daemon)); err == nil {
			v.out.Write(b) // an error shows at the flush
		}
	}
	v.examine().writeMetrics(v.out)
	return nil
}

// writeMetrics writes what can be seen without the scheduler.
func (h *Health) writeMetrics(out io.Writer) {
	family := func(name, help string) {
		fmt.Fprintf(out, "# HELP zmailer_%s %s.\n# TYPE zmailer_%s gauge\n", name, help, name)
	}
	family("daemon_up", "Whether the daemon runs")
	for _, d := range h.Daemons {
		up := 0
		if d.Pid != 0 {
			up = 1
		}
		fmt.Fprintf(out, "zmailer_daemon_up{daemon=%q} %d\n", d.Name, up)
	}
	family("directory_messages", "Messages in a directory of the spool")
	for _, d := range h.Dirs {
		if d.Error == "" {
			fmt.Fprintf(out, "zmailer_directory_messages{directory=%q} %d\n", d.Name, d.Count)
		}
	}
	family("directory_oldest_timestamp_seconds", "When the oldest message in a directory came")
	for _, d := range h.Dirs {
		if d.Oldest != 0 {
			fmt.Fprintf(out, "zmailer_directory_oldest_timestamp_seconds{directory=%q} %d\n", d.Name, d.Oldest)
		}
	}
	if h.Disk.Unavailable == "" {
		family("disk_free_bytes", "Free space of the spool's file system")
		fmt.Fprintf(out, "zmailer_disk_free_bytes %d\n", h.Disk.FreeBytes)
		family("disk_free_files", "Files that still fit on the spool's file system")
		fmt.Fprintf(out, "zmailer_disk_free_files %d\n", h.Disk.FreeFiles)
	}
	family("health_level", "0: all is well, 1: something needs attention, 2: mail does not flow")
	fmt.Fprintf(out, "zmailer_health_level %d\n", h.worst)
}
