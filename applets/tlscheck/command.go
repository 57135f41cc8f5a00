// Package tlscheck is zmailer tlscheck: it says what the TLS policy comes to for
// each host that takes mail for a destination (db/tlspolicy, DANE, MTA-STS), and
// what a connection under that policy is like. It uses the code of the smtp agent,
// so that what it says is what would happen. It sends no mail.
package tlscheck

import (
	"github.com/spf13/cobra"

	"zmailer/agents/smtp"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// Command is zmailer tlscheck.
func Command() *cobra.Command {
	var mode, resolv string
	cmd := &cobra.Command{
		Use:   "tlscheck [-S MODE] [-r FILE] DOMAIN...",
		Short: "Say how mail to a domain would be encrypted",
		Long: `tlscheck connects to each host that takes mail for DOMAIN, which is written as
in a routing table: example.org, [mx.example.org]:587, [192.0.2.1]. It prints the
TLS policy of this instance for the host, how it came about, and the result.

Status 0: mail can go to some host of every domain; 75: not now; 68: there is none.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, domains []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			args := []string{"-S", mode, "-T", "conn=15s,cmd=30s"}
			if resolv != "" {
				args = append(args, "-r", resolv)
			}
			var worst error
			for _, d := range domains {
				if err := smtp.CheckTLS(cmd.Context(), conf, args, d, cmd.OutOrStdout()); err != nil {
					cmd.PrintErrf("tlscheck: %s: %v\n", d, err)
					if worst == nil || proc.Code(err) == proc.TempFail {
						worst = err
					}
				}
			}
			if worst != nil {
				return proc.Silent(proc.Code(worst))
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&mode, "mode", "S", "auto", "policy of hosts without a line in db/tlspolicy, as option -S of smtp")
	f.StringVarP(&resolv, "resolv-conf", "r", "", "resolv.conf to use")
	return cmd
}
