package smtp

import (
	"context"
	"strconv"
	"time"

	"zmailer/spool/dsn"
)

// A failure ends the work of a session on a batch; the recipients without a
// result may go to another host.
type failure struct {
	dsn.Result
	silent bool // the peer said nothing at all since the batch began
}

// An exchange is one transaction under way.
type exchange struct {
	*session
	j    *job
	b    *batch
	plan *plan

	heard    int // replies so far
	accepted int
	doubtful bool         // nobody knows whether the peer has the message
	taken    []*recipient // that the peer accepted
	mail     *dsn.Result  // not nil: MAIL was refused
	data     int          // code of the reply to DATA or BDAT; 0: not sent
	dataRes  dsn.Result   // what it means
}

// The steps of an envelope; recipient i is step stepRcpt+i, and after the last
// one comes DATA or BDAT.
const (
	stepReset = iota
	stepMail
	stepRcpt
)

// transact sends the message to the recipients of b that have no result.
func (s *session) transact(ctx context.Context, j *job, b *batch) *failure {
	p, host := s.plan(ctx, j, b)
	if host != nil {
		return &failure{Result: *host}
	}
	if b.drop(); len(b.rcpts) == 0 {
		return nil
	}
	if j.begun {
		j.d.Flush() // what is decided must not wait for the rest of the job
	}
	j.begun = true
	began := time.Now()
	x := &exchange{session: s, j: j, b: b, plan: p}
	s.sent++
	fail := x.run()
	x.log(began, fail)
	b.drop()
	return fail
}

// drop forgets the recipients that have their results.
func (b *batch) drop() {
	kept := b.rcpts[:0]
	for _, r := range b.rcpts {
		if !r.done {
			kept = append(kept, r)
		}
	}
	b.rcpts = kept
}

func (x *exchange) run() *failure {
	if fail := x.envelope(); fail != nil {
		return fail
	}
	switch {
	case x.mail != nil && x.mail.Action == dsn.Failed:
		x.j.decideAll(x.b, *x.mail)
		return nil
	case x.mail != nil:
		return &failure{Result: *x.mail}
	case x.plan.chunk && x.data != 0:
		x.dirty = x.dataRes.Action != dsn.OK // RFC 3030 §2: after a refused chunk, RSET
		x.decideTaken(x.taken, x.dataRes)
		return nil
	case x.plan.chunk:
		return nil // nobody was accepted
	}
	return x.content()
}

// envelope sends MAIL, RCPTs and DATA (or the content by BDAT), in one flight if
// the peer takes that, and hears the replies.
func (x *exchange) envelope() *failure {
	first, last := stepMail, stepRcpt+len(x.b.rcpts)
	if x.dirty {
		first = stepReset
	}
	x.dirty = true
	x.phase(x.c.opt.timeouts.mail)
	if x.ext.pipelining && x.c.opt.pipelining {
		for step := first; step <= last; step++ {
			x.say(step, last)
		}
		if err := x.flush(); err != nil {
			return x.lost("sending the envelope", err)
		}
		for step := first; step <= last; step++ {
			if fail := x.hear(step, last); fail != nil {
				return fail
			}
			if x.mail != nil && x.broken {
				return nil // there are no more replies to wait for
			}
		}
		return nil
	}
	for step := first; step <= last; step++ {
		if x.mail != nil || step == last && x.accepted == 0 {
			return nil
		}
		x.say(step, last)
		if err := x.flush(); err != nil {
			return x.lost("sending "+x.stepName(step, last), err)
		}
		if fail := x.hear(step, last); fail != nil {
			return fail
		}
	}
	return nil
}

// say adds the command of a step to the flight.
func (x *exchange) say(step, last int) {
	switch {
	case step == stepReset:
		x.command("RSET")
	case step == stepMail:
		x.mailCommand(x.plan, &x.j.d.Control.Attr)
	case step < last:
		x.rcptCommand(x.b.rcpts[step-stepRcpt])
	case x.plan.chunk:
		buf := getBuffer(int(x.plan.content.wireSize()) + 16)
		*buf = x.plan.content.encode(*buf, false)
		x.command("BDAT ", strconv.Itoa(len(*buf)), " LAST")
		x.out = append(x.out, *buf...)
		putBuffer(buf)
	default:
		x.command("DATA")
	}
}

func (x *exchange) stepName(step, last int) string {
	switch {
	case step == stepReset:
		return "RSET"
	case step == stepMail:
		return "MAIL"
	case step < last:
		return "RCPT"
	case x.plan.chunk:
		return "BDAT"
	}
	return "DATA"
}

// hear reads the reply of a step. A failure means that the session is at its end.
func (x *exchange) hear(step, last int) *failure {
	if x.in.br.Buffered() == 0 {
		switch {
		case step == last && x.plan.chunk:
			x.commit(x.c.opt.timeouts.dot)
		case x.plan.chunk && x.flown(step, last):
			x.commit(x.timeout(step, last))
		default:
			x.phase(x.timeout(step, last))
		}
	}
	r, err := x.reply()
	switch {
	case err != nil && x.mail != nil:
		x.broken = true // MAIL has decided; what came after does not matter
		return nil
	case err != nil && x.plan.chunk && x.flown(step, last) && (x.heard > 0 || !x.reused):
		return x.doubt(x.b.open(), err)
	case err != nil:
		return x.lost("reply to "+x.stepName(step, last), err)
	}
	x.heard++
	if r.closing() {
		x.broken = true
	}
	switch {
	case step == stepReset && !r.ok():
		x.broken = true // the session is confused, the mail is not to blame
		return &failure{Result: x.refused(r).soften().Result, silent: true}
	case r.closing() && (step < last || !x.plan.chunk):
		x.broken = true
		// 421 to the first command may have been said before we said anything.
		return &failure{Result: x.refused(r).Result, silent: x.heard == 1}
	case step == stepReset:
	case step == stepMail:
		if !r.ok() {
			res := x.answer(r)
			x.mail = &res
		}
	case step < last && x.mail == nil:
		x.hearRcpt(x.b.rcpts[step-stepRcpt], r)
	case step == last && r.code == 354 && x.accepted == 0 && !x.plan.chunk:
		return x.endNothing()
	case step == last:
		x.data, x.dataRes = r.code, x.answer(r)
	}
	return nil
}

// timeout is how long the reply of a step may take.
func (x *exchange) timeout(step, last int) time.Duration {
	t := &x.c.opt.timeouts
	switch {
	case step == stepReset:
		return t.command
	case step == stepMail:
		return t.mail
	case step < last:
		return t.rcpt
	}
	return t.init
}

// flown says that the content was in the flight whose replies are being read.
func (x *exchange) flown(step, last int) bool {
	return step == last || x.ext.pipelining && x.c.opt.pipelining
}

// answer is what a reply means when it decides over recipients.
func (x *exchange) answer(r reply) dsn.Result {
	return r.result(x.target.relay)
}

// hearRcpt takes the reply to one RCPT.
func (x *exchange) hearRcpt(r *recipient, rep reply) {
	switch {
	case rep.ok():
		x.accepted++
		x.taken = append(x.taken, r)
	case x.accepted > 0 && tooMany(rep):
		// Without a result it goes with the next transaction. There is progress:
		// those accepted get their results in this one.
	default:
		x.j.decide(r, x.answer(rep))
	}
}

// tooMany tells the reply to a recipient too many for one transaction. 552 is
// what RFC 821 had for it: RFC 5321 §4.5.3.1.10.
func tooMany(r reply) bool {
	n := lenStatus(r.text)
	return (r.code == 452 || r.code == 552) && (n == 0 || string(r.text[1:n]) == ".5.3")
}

// endNothing ends the content of a message for nobody: the peer said 354 though
// it had accepted no recipient, and waits for a dot. RFC 2920 §3.1.
func (x *exchange) endNothing() *failure {
	x.command(".")
	err := x.flush()
	if err == nil {
		_, err = x.reply()
	}
	if err != nil {
		x.broken = true // the recipients have their results, or x.mail has
	}
	return nil
}

// lost is the failure of a connection before the content can have been accepted.
func (x *exchange) lost(during string, err error) *failure {
	return &failure{Result: x.session.lost(during, err).Result, silent: x.heard == 0}
}

// open is the recipients that have no result yet.
func (b *batch) open() []*recipient {
	var open []*recipient
	for _, r := range b.rcpts {
		if !r.done {
			open = append(open, r)
		}
	}
	return open
}

// log writes the line of the transaction.
func (x *exchange) log(began time.Time, fail *failure) {
	outcome, text := x.dataRes, ""
	switch {
	case fail != nil:
		outcome = fail.Result
	case x.mail != nil:
		outcome = *x.mail
	case x.data == 0 && !x.doubtful:
		outcome = dsn.Result{Action: dsn.Failed, Text: "no recipient was accepted"}
	}
	if outcome.Action != dsn.OK {
		text = outcome.Text
	}
	d := x.j.d
	d.Log("msg=transaction channel=%s host=%q relay=%q tls=%s size=%d nrcpt=%d accepted=%d delay=%.3f action=%s dsn=%s err=%q",
		d.Channel, d.Host, x.target.relay, x.tlsFacts(), x.plan.content.wireSize(), len(x.b.rcpts), x.accepted,
		time.Since(began).Seconds(), outcome.Action, outcome.FullStatus(), text)
}
