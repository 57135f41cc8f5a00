package sendmail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// runQueue asks the scheduler to try now what waits for a later time: all of it,
// or what -qI, -qR, -qS and -qG choose.
func (o *options) runQueue(ctx context.Context, out io.Writer) error {
	s, err := o.openSpool()
	if err != nil {
		return err
	}
	req := &queuesock.Request{Op: queuesock.OpFlush, Select: queuesock.Selection{All: true}}
	if len(o.queueRuns) > 0 {
		ids, err := o.choose(ctx, s)
		if err != nil {
			return askError(err)
		}
		if len(ids) == 0 {
			return nil
		}
		req.Select = queuesock.Selection{IDs: ids}
	}
	n := 0
	err = queuesock.Ask(ctx, s, req, func(a *queuesock.Answer) error {
		if a.Changed != nil {
			n = a.Changed.Recipients
		}
		return nil
	})
	if err != nil {
		return askError(err)
	}
	if o.verbose {
		_, err = fmt.Fprintf(out, "%d recipients are tried now\n", n)
	}
	return err
}

func askError(err error) error {
	if errors.Is(err, queuesock.ErrDown) {
		return proc.Exit(proc.Unavailable, "%w: the queue is run when it is started", err)
	}
	return proc.Exit(proc.TempFail, "%w", err)
}

// maxChosen is how many messages one call names. The rest are tried in their time,
// or by the next call: those that were tried are not waiting any more.
const maxChosen = 20_000

var errEnough = errors.New("enough messages")

// choose lists the ids of the messages that the conditions of -q choose. Texts are
// parts of an id or address, as in Sendmail. Conditions of one kind are
// alternatives, those of different kinds must all hold.
func (o *options) choose(ctx context.Context, s *spool.Spool) ([]string, error) {
	var ids []string
	req := &queuesock.Request{Op: queuesock.OpList, Select: queuesock.Selection{All: true}}
	err := queuesock.Ask(ctx, s, req, func(a *queuesock.Answer) error {
		if a.Entry == nil || !o.chosen(a.Entry) {
			return nil
		}
		if len(ids) == maxChosen {
			return errEnough
		}
		ids = append(ids, a.Entry.QueueID)
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return ids, err
}

func (o *options) chosen(e *queuesock.Entry) bool {
	for _, kind := range []byte("IRSG") {
		asked, ok := false, false
		for _, sel := range o.queueRuns {
			if sel.What == kind {
				asked = true
				ok = ok || sel.matches(e)
			}
		}
		if asked && !ok {
			return false
		}
	}
	return true
}

func (sel *selection) matches(e *queuesock.Entry) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), strings.ToLower(sel.Text)) }
	found := false
	switch sel.What {
	case 'I':
		found = has(e.QueueID)
	case 'S':
		found = has(e.Sender) || sel.Text == "<>" && e.Sender == ""
	case 'R', 'G':
		for _, r := range e.Recipients {
			found = found || sel.What == 'R' && has(r.Address) || sel.What == 'G' && (has(r.Host) || has(r.Channel+"/"+r.Host))
		}
	}
	return found != sel.Not
}
