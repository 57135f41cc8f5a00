package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool/dsn"
)

// A client delivers jobs. It is safe for concurrent use.
type client struct {
	opt       options
	pool      *pool
	dead      *memory // addresses that could not be connected to: tried last
	classic   *memory // addresses that fail at our first handshake
	plainOnly *memory // addresses whose TLS does not work, where we may do without

	tickets, verifiedTickets tls.ClientSessionCache
	roots                    *x509.CertPool // nil: those of the system
	sts                      *stsCache
	dial                     dial
	tokens                   tokens
}

func newClient(o options) *client {
	return &client{
		opt: o, dial: dialTarget, sts: &stsCache{dir: o.stsDir, port: "443"}, pool: newPool(o.capacity), dead: newMemory(time.Minute), classic: newMemory(time.Hour), plainOnly: newMemory(10 * time.Minute),
		// Tickets of sessions whose certificate nobody looked at must not resume
		// as verified ones.
		tickets: tls.NewLRUClientSessionCache(1000), verifiedTickets: tls.NewLRUClientSessionCache(1000),
	}
}

// close ends the idle sessions.
func (c *client) close() {
	c.pool.close()
	c.opt.record.Close()
}

// A job is a delivery under way.
type job struct {
	c       *client
	d       *protocol.Delivery
	message *message
	work    []batch // what is left; batches without recipients are done
	end     time.Time
	begun   bool // there was a transaction
	wish    tlsWish

	signed signedGroup // the last one

	fail dsn.Result // for the recipients that no host took; Text is empty before the first
}

// Deliver works on one job; it is the agent's function for protocol.Serve.
func (c *client) Deliver(ctx context.Context, d *protocol.Delivery) {
	j := &job{c: c, d: d, end: time.Now().Add(c.opt.timeouts.job)}
	spec := d.Host
	if c.opt.forced != "" {
		spec = c.opt.forced
	}
	if spec == "" {
		d.ReportAll(dsn.Temp("4.3.5", "the recipient has no host to go to: mistake in router.cf"))
		return
	}
	dests, err := parseDests(spec)
	if err != nil {
		d.ReportAll(dsn.Perm("5.1.2", "%v", err))
		return
	}
	j.message, err = loadMessage(d)
	defer j.message.release()
	if err != nil {
		d.ReportAll(dsn.Temp("4.3.0", "%v", err))
		return
	}
	groups := d.Groups()
	work := make([]batch, len(groups))
	for i := range groups {
		work[i] = newBatch(&groups[i])
	}
	for _, same := range c.opt.bySender(work) {
		j.work, j.fail = same, dsn.Result{}
		j.deliver(ctx, dests)
	}
}

// bySender divides the work where the sender decides who we are: credentials and
// addresses of our own are those of the sender of each message.
func (o *options) bySender(work []batch) [][]batch {
	if len(work) < 2 || o.credFile == "" && !o.sources.needSender() {
		return [][]batch{work}
	}
	var parts [][]batch
	index := make(map[string]int)
	for _, b := range work {
		sender := b.group.Sender.User
		i, ok := index[sender]
		if !ok {
			i = len(parts)
			index[sender] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], b)
	}
	return parts
}

// deliver tries the places of the job until its work is done.
func (j *job) deliver(ctx context.Context, dests []dest) {
	j.wish = j.tlsWish()
	for i := range dests {
		targets, fail := j.c.opt.route(ctx, &dests[i])
		if fail != nil {
			j.note(*fail)
			continue
		}
		if j.try(ctx, targets) {
			return
		}
	}
	for i := range j.work {
		j.decideAll(&j.work[i], j.fail)
	}
}

// note remembers why a host did not take the mail. A temporary reason wins over
// a permanent one: then there is a host that may take it later.
func (j *job) note(res dsn.Result) {
	if j.fail.Text == "" || res.Action != dsn.Failed || j.fail.Action == dsn.Failed {
		j.fail = res
	}
}

// decide gives a recipient its result.
func (j *job) decide(r *recipient, res dsn.Result) {
	if !r.done {
		r.done = true
		j.d.Report(r.N, res)
	}
}

// decideAll gives it to all recipients of a batch that have none.
func (j *job) decideAll(b *batch, res dsn.Result) {
	for _, r := range b.rcpts {
		j.decide(r, res)
	}
}
