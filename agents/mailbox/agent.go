// Package mailbox is the transport agent of local delivery, channel "local". The
// user part of a recipient decides:
//
//	|program   runs a program with the message on its standard input
//	/file      appends to an mbox file
//	/dir/      delivers to a Maildir, which is made if it is not there
//	user       delivers to the user's mailbox: mbox or Maildir
//
// Aliases and .forward files are the router's work, done before. Which program or
// file, and in whose name, is therefore its decision: the privilege of the
// recipient is the uid that a program runs as or a file is written as. A mailbox is
// always written in the name of the user it belongs to.
//
// # Promises
//
//   - "ok" means that the letter survives a power cut: synced, and so is its name
//     in the directory. With SPOOLSYNC=none nothing is synced.
//   - A letter is in the mailbox as a whole or not at all, also after kill -9 or
//     on a full disk: see journal.go for mbox. In a Maildir a second delivery of
//     the same message is recognised by its name.
//   - Nothing is touched in another's name than the user's: see agents/identity.
//     What is not a plain file or directory of that user in the place of a mailbox
//     is refused and left alone.
//   - Whatever goes wrong on this host defers the mail. Permanent are only: no
//     such user, a message that came back (Delivered-To), a program that says so,
//     an address that may not name programs or files, and, where configured, a
//     user over quota.
package mailbox

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"zmailer/agents/letter"
	"zmailer/agents/protocol"
	"zmailer/agents/runner"
	"zmailer/agents/serve"
	"zmailer/shellcfg/users"
	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/rfc5322"
)

// Options are how the agent delivers.
type Options struct {
	Mailbox         string        // template of a user's mailbox
	Quota           string        // of a mailbox; empty or 0: none
	Hook            string        // command to run after a delivery; empty: none
	Hostname        string        // this host
	Domain          string        // of users in Delivered-To and %d
	Locks           string        // kinds of locks of an mbox: dotlock, fcntl, flock
	Limit           time.Duration // of a program
	Limits          runner.Limits // of a program
	BounceOverQuota bool
	BounceDiskFull  bool
	DefaultUser     string // in whose name root's programs and files are done
	NoSync          bool
}

// parallel is how many recipients are worked on at once, over all jobs. Each may
// hold a thread while it waits for a lock or a disk.
const parallel = 100

// An agent is the state that all deliveries share.
type agent struct {
	Options
	users    *users.Users
	defaults settings     // of users the table does not know
	table    serve.Lookup // db/mailboxes; nil: there is none
	mbox     appender
	maildir  mailDrop
	hooks    hooks
	slots    chan struct{}
	jobTime  time.Duration // after which a job begins nothing new
}

func newAgent(o Options, db *users.Users) (*agent, error) {
	a := &agent{Options: o, users: db, slots: make(chan struct{}, parallel), jobTime: protocol.JobTime, hooks: hooks{places: make(chan struct{}, hooksTotal)}}
	a.defaults = settings{bounce: o.BounceOverQuota, hook: o.Hook}
	var err error
	if a.defaults.mailbox, err = parseTemplate(o.Mailbox); err != nil {
		return nil, err
	}
	if o.Quota != "" {
		if a.defaults.quota, err = parseQuota(o.Quota); err != nil {
			return nil, err
		}
	}
	if a.mbox.locks, err = parseLocks(o.Locks); err != nil {
		return nil, err
	}
	a.mbox.room = make(waitRoom, waitPlaces)
	a.mbox.sync = &syncer{off: o.NoSync}
	a.maildir.sync = a.mbox.sync
	return a, nil
}

// A copyOf is what a delivery knows about one recipient's copy.
type copyOf struct {
	d     *protocol.Delivery
	group *spool.Group
	rcpt  *spool.Rcpt
	body  *letter.Body
}

// deliver works on one job.
func (a *agent) deliver(ctx context.Context, d *protocol.Delivery) {
	body := &letter.Body{File: d.File, Offset: d.Control.BodyOffset, Size: d.Control.Size - d.Control.BodyOffset}
	var wg sync.WaitGroup
	defer wg.Wait()
	groups, end := d.Groups(), time.Now().Add(a.jobTime)
	for i := range groups {
		g := &groups[i]
		for j := range g.Rcpts {
			c := &copyOf{d: d, group: g, rcpt: &g.Rcpts[j], body: body}
			a.slots <- struct{}{}
			if time.Now().After(end) { // while programs that hang had all places
				<-a.slots
				d.Report(c.rcpt.N, dsn.Temp("4.4.7", "no time left in this attempt"))
				continue
			}
			wg.Go(func() {
				defer func() { <-a.slots }()
				defer func() {
					if p := recover(); p != nil {
						d.Log("event=panic user=%q err=%q", c.rcpt.User, fmt.Sprint(p))
						d.Report(c.rcpt.N, dsn.Temp("4.3.0", "mailbox agent: internal error: %v", p))
					}
				}()
				d.Report(c.rcpt.N, a.one(ctx, c))
			})
		}
	}
}

func (a *agent) one(ctx context.Context, c *copyOf) dsn.Result {
	switch c.rcpt.User[:min(1, len(c.rcpt.User))] {
	case "":
		return dsn.Perm("5.1.3", "no user given")
	case "|":
		return a.program(ctx, c)
	case "/":
		return a.file(ctx, c)
	}
	return a.user(ctx, c)
}

// address is where a copy for a user goes, for Delivered-To.
func (a *agent) address(c *copyOf, local string) string {
	return rfc5322.Address{Local: local, Domain: a.domain(c)}.String()
}

// domain is the mail domain of the recipient.
func (a *agent) domain(c *copyOf) string {
	if user := c.rcpt.User; user[0] != '|' && user[0] != '/' {
		if addr, err := rfc5322.ParseAddress(user); err == nil && addr.Domain != "" {
			return addr.Domain
		}
	}
	return a.Domain
}

// original is the address the sender wrote, if it is known.
func original(c *copyOf) string {
	o, err := rfc5322.ParseORCPT(c.rcpt.ORcpt)
	if err != nil || o.Type != "rfc822" && o.Type != "utf-8" {
		return ""
	}
	return o.Addr
}

// letter makes the copy for a recipient who is known as address.
func (a *agent) letter(c *copyOf, address string) *letter.Letter {
	sender := c.group.Sender.User
	t := letter.Trace{ReturnPath: sender, DeliveredTo: address}
	if o := original(c); !strings.EqualFold(o, address) {
		t.OriginalTo = o
	}
	return &letter.Letter{From: letter.FromLine(sender, time.Now()), Head: letter.Head(c.group.Header, t), Body: c.body}
}

// splitUser separates "user+detail".
func splitUser(s string) (name, detail string) {
	if i := strings.IndexByte(s, '+'); i > 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// local takes the local part out of what the router wrote as the user.
func local(s string) string {
	s = strings.TrimPrefix(s, `\`)
	if addr, err := rfc5322.ParseAddress(s); err == nil && addr.Domain != "" {
		return addr.Local
	}
	return s
}

func deliveredTo(what string) dsn.Result { return dsn.Success("2.1.5", "delivered to %s", what) }
