package scheduler

import (
	"cmp"
	"errors"
	"io/fs"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
)

// Messages that the policy froze are none of the scheduler's; it has the rights to
// give them back to the router, or to remove them, for who may change the queue. The
// router makes the control file of those that go back to their senders, too: it knows
// who the sender is and what recipients stand in the header. They are whole messages: a
// selection that is met by one recipient is met by the message.

// frozenChanges are the operations that make sense for them.
var frozenChanges = map[string]func(s *spool.Spool, e *queuesock.Entry, text string) error{
	queuesock.OpRelease: func(s *spool.Spool, e *queuesock.Entry, _ string) error { return s.Release(spool.ID(e.QueueID)) },
	queuesock.OpDelete:  func(s *spool.Spool, e *queuesock.Entry, _ string) error { return s.DeleteFrozen(spool.ID(e.QueueID)) },
	queuesock.OpBounce: func(s *spool.Spool, e *queuesock.Entry, text string) error {
		return s.Return(spool.ID(e.QueueID), "5.7.0", cmp.Or(text, byAdministrator))
	},
	queuesock.OpExpire: func(s *spool.Spool, e *queuesock.Entry, _ string) error {
		// Why it was frozen is not for the sender to know.
		res := expired(time.Since(queuesock.Time(e.ArrivalTime)), "it was held")
		return s.Return(spool.ID(e.QueueID), res.Status, res.Text)
	},
}

// changeFrozen applies a change to what is selected of the freezer.
func (ch *changer) changeFrozen() error {
	fn := frozenChanges[ch.req.Op]
	if fn == nil {
		return nil
	}
	return queuesock.EachFrozen(ch.q.spool, &ch.req.Select, time.Now(), func(id spool.ID, e *queuesock.Entry) error {
		if err := ch.ctx.Err(); err != nil {
			return err
		}
		n := max(1, len(e.Recipients)) // they may stand in the header alone
		if !ch.req.DryRun {
			if err := fn(ch.q.spool, e, ch.req.Text); errors.Is(err, fs.ErrNotExist) {
				return nil // by somebody else
			} else if err != nil {
				return err
			}
			ch.q.log.Info("changed by administrator", "spoolid", id, "action", ch.req.Op, "user", ch.uid, "nrcpt", n)
		}
		ch.total.Messages++
		ch.total.Recipients += n
		return nil
	})
}
