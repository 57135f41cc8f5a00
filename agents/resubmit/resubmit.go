// Package resubmit gives a message back to the router for some of its
// recipients: what hold does when the waiting is over and reroute at once.
//
// The new message has the envelope and the header of the message as it was
// submitted, so that the router decides afresh, with the sender and the DSN
// parameters of the recipients as they are now; a hold that the administrator ended
// does not begin again. It carries the uid of its first submitter, and no more rights
// than he had. A Received field is added, so that a policy that sends a message back
// for ever meets the hop limit.
package resubmit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// A Resubmitter submits messages anew.
type Resubmitter struct {
	Spool    *spool.Spool
	Hostname string
	Via      string // name of the agent: envelope keyword "via"
}

// Group submits the message of d for the recipients of g.
func (r *Resubmitter) Group(ctx context.Context, d *protocol.Delivery, g *spool.Group) (spool.ID, error) {
	env, _, err := spool.ReadEnvelope(bufio.NewReader(io.NewSectionReader(d.File, 0, d.Control.HeaderOffset)))
	if err != nil {
		return "", fmt.Errorf("envelope of %s: %w", d.ID, err)
	}
	env.HasFrom, env.From = true, g.Sender.User
	env.Via, env.DeliverBy = r.Via, g.By
	env.To, env.For = nil, ""
	kept := false
	for i := range g.Rcpts {
		rcpt := &g.Rcpts[i]
		kept = kept || rcpt.Kept
		env.To = append(env.To, spool.Recipient{Addr: Address(rcpt), Notify: rcpt.Notify, ORcpt: rcpt.ORcpt})
	}
	if !kept {
		env.Hold = ""
	}
	if env.Owner == "" {
		env.Owner = d.Control.Attr.Owner
	}
	return r.submit(ctx, d, env)
}

func (r *Resubmitter) submit(ctx context.Context, d *protocol.Delivery, env *spool.Envelope) (spool.ID, error) {
	sub, err := r.Spool.Submit(env)
	if err != nil {
		return "", err
	}
	trace := fmt.Sprintf("Received: by %s (%s)\n\tid %s; %s\n", r.Hostname, r.Via, d.ID, rfc5322.FormatDate(time.Now()))
	if _, err = io.WriteString(sub, trace); err == nil {
		_, err = io.Copy(sub, io.NewSectionReader(d.File, d.Control.HeaderOffset, d.Control.Size-d.Control.HeaderOffset))
	}
	if err != nil {
		sub.Abort()
		return "", err
	}
	return sub.ID, sub.Commit(ctx)
}

// All submits the message for all recipients of the job and reports them.
func (r *Resubmitter) All(ctx context.Context, d *protocol.Delivery) {
	groups := d.Groups()
	for i := range groups {
		g := &groups[i]
		id, err := r.Group(ctx, d, g)
		result := dsn.Temp("4.3.0", "%s: %v", r.Via, err)
		if err == nil {
			result = dsn.Result{Action: dsn.Expanded, Status: "2.1.5", Text: r.Via + ": submitted again as " + string(id)}
		}
		for j := range g.Rcpts {
			d.Report(g.Rcpts[j].N, result)
		}
	}
}

// Address is the recipient for the router. The user part alone is not enough
// where the channel keeps the domain in the host.
func Address(r *spool.Rcpt) string {
	if o, err := rfc5322.ParseORCPT(r.ORcpt); err == nil && (o.Type == "rfc822" || o.Type == "utf-8") {
		if a, err := rfc5322.ParseAddress(r.User); err != nil || a.Domain == "" {
			return o.Addr
		}
	}
	return r.User
}
