package queuesock

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"zmailer/spool"
)

// Offline lists what is in transport/, as the scheduler would, when none runs.
// Control files that cannot be read are passed to bad.
func Offline(ctx context.Context, s *spool.Spool, sel *Selection, each func(*Entry) error, bad func(spool.ID, error)) error {
	now := time.Now()
	for _, h := range spool.HashDirs() {
		err := spool.EachID(filepath.Join(s.Root, spool.TransportDir, h), func(id spool.ID) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(sel.IDs) > 0 && !sel.hasID(string(id)) {
				return nil
			}
			c, err := spool.ReadControl(s.ControlPath(id))
			switch {
			case errors.Is(err, fs.ErrNotExist), errors.Is(err, spool.ErrIncomplete):
				return nil
			case err != nil:
				bad(id, err)
				return nil
			}
			if e := FromControl(c, sel, now); e != nil {
				return each(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// FromControl makes the entry of a message from its control file; nil if nothing
// of it is selected.
func FromControl(c *spool.Control, sel *Selection, now time.Time) *Entry {
	e := &Entry{
		QueueName: "incoming", QueueID: string(c.ID), ArrivalTime: c.Arrival.Unix(), MessageSize: c.Size,
		MessageID: c.MessageID, Priority: c.Attr.Priority, Owner: c.Attr.Owner,
	}
	if len(c.Groups) > 0 {
		e.Sender = c.Groups[0].Sender.User
	}
	if !sel.Message(e.QueueID, e.Sender, c.Arrival, c.Size, now) {
		return nil
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		for j := range g.Rcpts {
			r := &g.Rcpts[j]
			if r.State != spool.Pending {
				continue
			}
			rc := FromRcpt(g.By, r)
			if r.Attempts > 0 {
				e.QueueName = "deferred"
				if r.Next.After(now) {
					rc.State, rc.NextTry = "waiting", r.Next.Unix()
				}
			}
			if r.NotBefore.After(now) {
				rc.State, rc.NextTry = "waiting", max(rc.NextTry, r.NotBefore.Unix())
			}
			if c.Held || r.Kept {
				rc.State = "held"
			}
			if sel.Recip(&rc) {
				e.Recipients = append(e.Recipients, rc)
			}
		}
	}
	if c.Held {
		e.QueueName = "hold"
	}
	if len(e.Recipients) == 0 {
		return nil
	}
	return e
}

// FromRcpt is what the control file says of a recipient, whose sender asks for by.
func FromRcpt(by spool.DeliverBy, r *spool.Rcpt) Recipient {
	rc := Recipient{
		N: r.N, Address: Address(r.Channel, r.User), DelayReason: r.Last.Text, Channel: r.Channel, Host: r.Host,
		Attempts: r.Attempts, State: "ready",
	}
	if r.Attempts > 0 {
		rc.Status = r.Last.FullStatus()
	}
	rc.SetBy(by)
	return rc
}

// SetBy sets the time for delivery.
func (r *Recipient) SetBy(by spool.DeliverBy) {
	if !by.IsZero() {
		r.DeliverBy, r.ByMode = by.At.Unix(), by.Mode()
	}
}

// ByText says what the time for delivery means; the time follows.
func ByText(mode string) string {
	if strings.HasPrefix(mode, "R") {
		return "goes back if not delivered"
	}
	return "sender is told if not delivered"
}

// ErrorChannel carries recipients that the policy rejects: their user is the
// address, a blank, and the reason.
const ErrorChannel = "error"

// Address is the user of a recipient as people know it.
func Address(channel, user string) string {
	if channel == ErrorChannel {
		user, _, _ = strings.Cut(user, " ")
	}
	return user
}
