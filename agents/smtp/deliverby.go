package smtp

import (
	"strconv"
	"strings"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// mayGo tells whether the peer can have a message that is to be delivered by a time:
// RFC 2852 §4.1.4. With mode R it may not go to a host that would go on trying when
// the time is over; there may be another host that knows of it. A delivery server is
// the end of the way, and in time now or never.
func (s *session) mayGo(by spool.DeliverBy, left int64) *dsn.Result {
	switch {
	case !by.Return || left > 0 && s.c.opt.lmtp:
		return nil
	case left <= 0:
		res := dsn.Perm("5.4.7", "the time for delivery, that the sender has set, is over")
		return &res
	case !s.ext.deliverBy:
		res := dsn.Perm("5.4.7", "%s does not promise delivery within a time (DELIVERBY)", s.target.relay)
		return &res
	case left < s.ext.byMin:
		res := dsn.Perm("5.4.7", "%s needs %d seconds for delivery, and only %d are left (DELIVERBY)", s.target.relay, s.ext.byMin, left)
		return &res
	}
	return nil
}

// appendBy appends what is left of the time. It may be over, with mode N.
func (s *session) appendBy(b []byte, by spool.DeliverBy, left int64) []byte {
	if by.IsZero() || !s.ext.deliverBy {
		return b
	}
	b = append(b, " BY="...)
	b = strconv.AppendInt(b, left, 10)
	return append(append(b, ';'), by.Mode()...)
}

// notifyFor is the NOTIFY of a recipient for this peer. From a host that does not know
// of the time the sender with mode N wants to hear at least of a delay: RFC 2852
// §4.1.4.2.
func (s *session) notifyFor(r *recipient) string {
	switch {
	case r.by.IsZero() || r.by.Return || s.ext.deliverBy || s.c.opt.lmtp:
	case r.Notify == "":
		return "FAILURE,DELAY"
	case r.Notify != "NEVER" && !strings.Contains(r.Notify, "DELAY"):
		return r.Notify + ",DELAY"
	}
	return r.Notify
}

// lastHeard says that this is the last that the sender hears of a recipient who was
// given to the peer, although he wants to hear more.
func (s *session) lastHeard(r *recipient) bool {
	if s.c.opt.lmtp {
		return false
	}
	late := !r.by.IsZero() && !r.by.Return && !s.ext.deliverBy && r.Notify != "NEVER"
	return late || r.wantsSuccess() && !s.ext.dsn
}
