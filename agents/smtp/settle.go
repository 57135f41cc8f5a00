package smtp

import (
	"errors"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// content sends the content by DATA and hears what becomes of it.
func (x *exchange) content() *failure {
	if x.accepted == 0 {
		return nil // every recipient has its result
	}
	if x.data != 354 {
		if x.data/100 < 4 {
			x.broken = true // we no longer know what the peer is waiting for
			x.dataRes.Action, x.dataRes.Status = dsn.Deferred, "4.5.0"
		}
		x.decideTaken(x.taken, x.dataRes)
		return nil
	}
	if err := x.sendData(&x.plan.content); err != nil {
		return x.interrupted(err)
	}
	return x.settle()
}

// interrupted is what to do when the content could not be written to its end.
func (x *exchange) interrupted(err error) *failure {
	x.broken = true
	var re *readError
	if errors.As(err, &re) {
		x.decideTaken(x.taken, dsn.Temp("4.3.0", "%v", err))
		return nil
	}
	last := x.committed // only the last piece can have completed the message
	x.phase(time.Second)
	r, rerr := x.reply()
	switch {
	case rerr == nil && !r.closing() && (r.permanent() || r.temporary()):
		x.decideTaken(x.taken, x.answer(r)) // refused before it was all there
		return nil
	case last:
		return x.doubt(x.taken, err)
	}
	return x.lost("sending the content", err)
}

// settle reads the reply to the content: one for all recipients, by LMTP one for
// each.
func (x *exchange) settle() *failure {
	for i := range x.taken {
		if i > 0 && x.in.br.Buffered() == 0 {
			x.commit(x.c.opt.timeouts.dot)
		}
		r, err := x.reply()
		if err != nil {
			return x.doubt(x.taken[i:], err)
		}
		x.broken = x.broken || r.closing()
		x.data = r.code
		if !x.c.opt.lmtp {
			x.decideTaken(x.taken, x.answer(r))
			break
		}
		x.decideTaken(x.taken[i:i+1], x.answer(r))
	}
	x.dirty = false
	return nil
}

// decideTaken gives recipients the outcome of the content. How it went over the
// wire stays with a success, in the control file.
func (x *exchange) decideTaken(rcpts []*recipient, res dsn.Result) {
	if res.Action == dsn.OK && x.tls != nil {
		res.Text = rfc5322.OneLine(res.Text, protocol.MaxText-100) + " (" + x.tlsFacts() + ")"
	}
	for _, r := range rcpts {
		own := res
		switch {
		case res.Action != dsn.OK:
		case x.lastHeard(r):
			own.Status = "2.1.9" // RFC 3886: relayed to a host that will not report
		case x.c.opt.lmtp && !x.ext.dsn:
			own.Remote = false // delivered, of which the delivery server tells nobody
		}
		x.j.decide(r, own)
	}
	x.dataRes = res
}

// doubt settles recipients of whom nobody knows whether the peer has the message.
func (x *exchange) doubt(rcpts []*recipient, err error) *failure {
	x.broken = true
	res := dsn.Temp("4.4.2", "connection lost after the content was sent, before its reply: %s; the message may have arrived", reason(err))
	res.Relay = x.target.relay
	x.doubtful = true
	x.decideTaken(rcpts, res)
	return nil
}
