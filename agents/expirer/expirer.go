// Package expirer is a transport agent that ends every delivery it is given: mail
// that an administrator wants out of the queue. The senders get reports, unless it
// runs silently.
package expirer

import (
	"context"

	"github.com/spf13/cobra"

	"zmailer/agents/protocol"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

const capacity = 20

// Command is the expirer program.
func Command() *cobra.Command {
	var silent bool
	var text string
	cmd := &cobra.Command{
		Use:   "expirer",
		Short: "End deliveries, with a report or silently",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve.Run(cmd, capacity, func(*shellcfg.Conf, *spool.Spool) (serve.Deliver, error) {
				return deliver(silent, text), nil
			})
		},
	}
	cmd.Flags().BoolVarP(&silent, "silent", "s", false, "drop the recipients without a report")
	cmd.Flags().StringVarP(&text, "message", "m", "the message was deleted by the administrator", "reason in the reports")
	return cmd
}

func deliver(silent bool, text string) serve.Deliver {
	r := dsn.Perm("5.7.0", "%s", rfc5322.OneLine(text, protocol.MaxText))
	if silent {
		r.Action, r.Status = dsn.Expanded, "2.0.0"
	}
	return func(_ context.Context, d *protocol.Delivery) { d.ReportAll(r) }
}
