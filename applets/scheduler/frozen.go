package scheduler

import (
	"errors"
	"io/fs"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
)

// Messages that the policy froze are none of the scheduler's; it has the rights to
// give them back to the router, or to remove them, for who may change the queue. They
// are whole messages: a selection that is met by one recipient is met by the message.

// frozenChanges are the operations that make sense for them.
var frozenChanges = map[string]func(*spool.Spool, spool.ID) error{
	queuesock.OpRelease: (*spool.Spool).Release,
	queuesock.OpDelete:  (*spool.Spool).DeleteFrozen,
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
			if err := fn(ch.q.spool, id); errors.Is(err, fs.ErrNotExist) {
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
