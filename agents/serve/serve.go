// Package serve makes a program of a transport agent: it reads zmailer.conf, opens
// the spool and speaks with the scheduler on standard input and output.
package serve

import (
	"context"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/agents/protocol"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// A Deliver works on one delivery, as protocol.Agent wants it.
type Deliver = func(ctx context.Context, d *protocol.Delivery)

// Run serves the scheduler until it closes the input. setup makes what delivers;
// its error is one of configuration unless it says otherwise (proc.Exit).
func Run(cmd *cobra.Command, capacity int, setup func(conf *shellcfg.Conf, s *spool.Spool) (Deliver, error)) error {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.EnterSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	// What an agent creates for a user is nobody else's business.
	syscall.Umask(0o077)
	deliver, err := setup(conf, s)
	if err != nil {
		if proc.Code(err) == proc.Software {
			err = proc.Exit(proc.Config, "%w", err)
		}
		return err
	}
	a := &protocol.Agent{Spool: s, Capacity: capacity, Deliver: deliver}
	return protocol.Serve(cmd.Context(), a, cmd.InOrStdin(), cmd.OutOrStdout())
}
