// Package reroute is a transport agent that gives messages back to the router:
// mail queued under an old policy is put through the present one.
package reroute

import (
	"github.com/spf13/cobra"

	"zmailer/agents/resubmit"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool"
)

const capacity = 20

// Command is the reroute program.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "reroute",
		Short: "Put queued messages through the present policy",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve.Run(cmd, capacity, func(conf *shellcfg.Conf, s *spool.Spool) (serve.Deliver, error) {
				r := &resubmit.Resubmitter{Spool: s, Hostname: conf.Hostname, Via: "reroute"}
				return r.All, nil
			})
		},
	}
}
