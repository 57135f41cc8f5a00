// Package errormail is the transport agent of the channel "error": addresses that
// the policy refused while a message was routed. The host is the enhanced status
// code, the user is the address, a blank, and the text of the refusal. Each such
// recipient fails with that status and text; the scheduler then makes one report
// about all failed recipients of the message.
//
// Differs from ZMailer: there errormail made the report itself.
package errormail

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"zmailer/agents/protocol"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

const capacity = 20

// Command is the errormail program.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "errormail",
		Short: "Fail addresses that the policy refused",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve.Run(cmd, capacity, func(*shellcfg.Conf, *spool.Spool) (serve.Deliver, error) { return deliver, nil })
		},
	}
}

func deliver(_ context.Context, d *protocol.Delivery) {
	for _, g := range d.Groups() {
		for i := range g.Rcpts {
			d.Report(g.Rcpts[i].N, refusal(g.Rcpts[i].Host, g.Rcpts[i].User))
		}
	}
}

func refusal(host, user string) dsn.Result {
	_, text := Split(user)
	if text == "" {
		text = "the address was refused"
	}
	status := "5.0.0"
	if dsn.ValidStatus(host) && host[0] == '5' {
		status = host
	}
	return dsn.Perm(status, "%s", text)
}

// Split separates the user of an error recipient into the address and the text. A
// blank within a quoted local part belongs to the address.
func Split(user string) (address, text string) {
	quoted := false
	for i := 0; i < len(user); i++ {
		switch {
		case user[i] == '\\' && quoted:
			i++
		case user[i] == '"':
			quoted = !quoted
		case user[i] == ' ' && !quoted:
			return user[:i], strings.TrimSpace(user[i:])
		}
	}
	return user, ""
}
