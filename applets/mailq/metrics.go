package mailq

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// MetricsCommand is zmailer metrics.
func MetricsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the counters of the mailer for Prometheus",
		Long: `metrics prints the counters of the scheduler, which daemons run and how much mail is
in each directory, in the text form of Prometheus: for the textfile collector of its
node exporter, or for a web server's CGI. Without a scheduler its counters are missing
and zmailer_daemon_up says so; the exit status is 0.`,
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
			v := &viewer{options: new(options), ctx: cmd.Context(), conf: conf, spool: s,
				out: bufio.NewWriter(cmd.OutOrStdout()), err: cmd.ErrOrStderr(), now: time.Now()}
			if err := v.printMetrics(); err != nil {
				return err
			}
			if err := v.out.Flush(); err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			return nil
		},
	}
}

func (v *viewer) printMetrics() error {
	err := v.ask(queuesock.OpMetrics, queuesock.Selection{}, func(a *queuesock.Answer) error {
		_, err := v.out.WriteString(a.Metrics)
		return err
	})
	if err != nil && !errors.Is(err, queuesock.ErrDown) {
		return err
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
