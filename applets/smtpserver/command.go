package smtpserver

import (
	"io"
	"os"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// Command is the smtpserver program.
func Command() *cobra.Command {
	var interactive, check, relays, keep bool
	cmd := &cobra.Command{
		Use:   "smtpserver",
		Short: "Receive mail by SMTP",
		Long: `Receive mail by SMTP, as etc/zmailer/smtpserver.conf says.

Without an option it serves in the foreground until SIGTERM; SIGHUP reopens the
log and loads the configuration anew.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep {
				return keepKeys(cmd.InOrStdin(), cmd.OutOrStdout())
			}
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			switch {
			case relays:
				return relayCommand(cmd.Context(), conf, cmd.OutOrStdout())
			case check:
				return Check(cmd.Context(), conf, cmd.ErrOrStderr())
			case interactive:
				err := Session(cmd.Context(), conf, cmd.InOrStdin(), cmd.OutOrStdout(), CurrentUser())
				if err != nil {
					return proc.Exit(proc.IOErr, "%w", err)
				}
				return nil
			}
			if err := conf.Confine(shellcfg.Private()...); err != nil {
				return proc.Exit(proc.OSErr, "%w", err)
			}
			return Run(cmd.Context(), conf, terminal())
		},
	}
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "one session on standard input and output, as the calling user")
	cmd.Flags().BoolVar(&check, "check", false, "only load the configuration and say what is wrong with it")
	cmd.Flags().BoolVar(&relays, "check-relay", false, "prove that strangers cannot relay, with sessions of every form")
	cmd.Flags().BoolVar(&keep, "keep-keys", false, "read files of certificates for a server that has given up the rights of root")
	if err := cmd.Flags().MarkHidden("keep-keys"); err != nil {
		panic(err) // it has just been defined
	}
	return cmd
}

// terminal is standard error if a person sees it: a supervisor that keeps it in a
// file of its own does not need a second copy of the log.
func terminal() io.Writer {
	if st, err := os.Stderr.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		return os.Stderr
	}
	return nil
}
