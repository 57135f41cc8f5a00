package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"zmailer/spool/dsn"
)

// A Control is a control file: what the router decided about a message, and by
// the events appended since, what became of each recipient.
//
// The router writes it once (Append), the scheduler alone appends events, and
// agents only read it. One writer needs no locks, and an agent needs no rights
// in the spool beyond reading. The record letters:
//
//	v  format version                                       router
//	i  id, size of message file, offset of header, offset of body
//	t  arrival: microseconds since 1970
//	l  Message-ID for logs
//	c  hash of the configuration that routed the message
//	f  flags and message attributes as key=value
//	s  channel, host, user, privilege: sender of the recipients that follow
//	y  time and mode of RFC 2852 that this sender asks for
//	r  number, channel, host, user, privilege: one recipient
//	N  NOTIFY, ORCPT of the recipient before
//	w  why: file:line of the decision for the recipient before
//	b  the recipient before is not tried before this time, in seconds since 1970
//	k  the recipient before is kept until an administrator releases the message
//	m  length, then that many bytes: the header for all recipients since the last m
//	z  CRC-32C of all that is before it, in hex: the router was here to the end
//
//	+  event: recipients done                               scheduler
//	-  event: recipients failed
//	=  event: recipients deferred, with time of the next attempt
//	x  event: recipients expanded, rerouted or deleted: nothing to report
//	d  event: a report about recipients was submitted
//	h  event: message held        u  event: message released
//
// The fields of every line are those of SplitLine. An event ends in two more fields,
// a CRC-32C of the line and the id, and the id of the message: the file may have been
// another message's control file before (see pool.go), and after a power cut what is
// left of that one may follow. The CRC of the closing line tells the same of the
// records.
type Control struct {
	ID           ID
	Size         int64 // of the message file
	HeaderOffset int64 // in the message file: where the original header begins
	BodyOffset   int64 // where the body begins
	Arrival      time.Time
	MessageID    string
	Config       string // hash of the configuration
	Attr         Attributes
	Groups       []Group

	Complete bool      // the closing line is there
	Held     bool      // an administrator holds the message
	Released time.Time // when he last released it: expiry counts from then
	Torn     bool      // the last line was cut short and is ignored
}

// Attributes are the properties of the message that agents and reports need.
type Attributes struct {
	EnvID      string
	Ret        string
	BodyType   string
	SMTPUTF8   bool
	RequireTLS bool
	ErrorMsg   bool
	Ours       bool // submitted on this host, or by a client that may send to everybody
	AuthUser   string
	Owner      string // uid of the submitter, for mailq's view of one's own mail
	Priority   string
}

// A Group is a set of recipients that share a sender and a header.
type Group struct {
	Sender Hop
	By     DeliverBy
	Header []byte // complete, with the empty line that ends it
	Rcpts  []Rcpt
}

// A Hop is an address as the policy sees it: over which channel, to which host,
// to which user, in whose name.
type Hop struct {
	Channel, Host, User string
	Privilege           int // uid in whose name files are written and programs run
}

// NullSender says that no report goes to the sender of the group.
func (g *Group) NullSender() bool { return g.Sender.User == "" }

// A Rcpt is one recipient with its state, the fold of all events.
type Rcpt struct {
	N int // number in the control file, from 0
	Hop
	Notify string // NOTIFY of RFC 3461, or empty
	ORcpt  string
	Why    string // file:line of the decision

	NotBefore time.Time // zero, or when the policy lets it be tried first; in whole seconds
	Kept      bool      // the policy has it wait until the message is released, and it has not been yet

	State    RcptState
	Attempts int
	Next     time.Time  // not before this time (Deferred)
	Last     dsn.Result // of the last attempt
	LastTime time.Time
	Reported string // kinds of reports submitted so far: letters of ReportKind
}

// RcptState is where a recipient stands.
type RcptState uint8

const (
	Pending RcptState = iota // still to be delivered
	Done                     // delivered
	Bounced                  // failed for good
	Dropped                  // expanded, rerouted or deleted
)

// ReportKind is what a report tells: the letters of the d record.
type ReportKind byte

const (
	ReportFailure ReportKind = 'f'
	ReportDelay   ReportKind = 'd'
	ReportSuccess ReportKind = 's'
	ReportLate    ReportKind = 'l' // the time of RFC 2852 has passed
)

// Bounds of a control file. The header of a message is bounded where it enters.
const (
	controlVersion   = "1"
	MaxControlSize   = 512 << 20
	maxControlFields = 4096
	maxGroupHeader   = 8 << 20
)

// Rcpt returns recipient n, or nil.
func (c *Control) Rcpt(n int) *Rcpt {
	for i := range c.Groups {
		g := &c.Groups[i]
		if len(g.Rcpts) == 0 || n > g.Rcpts[len(g.Rcpts)-1].N {
			continue
		}
		if k := n - g.Rcpts[0].N; k >= 0 && k < len(g.Rcpts) && g.Rcpts[k].N == n {
			return &g.Rcpts[k]
		}
		return nil
	}
	return nil
}

// GroupOf returns the group that recipient n belongs to, or nil.
func (c *Control) GroupOf(n int) *Group {
	for i := range c.Groups {
		g := &c.Groups[i]
		if len(g.Rcpts) > 0 && n >= g.Rcpts[0].N && n <= g.Rcpts[len(g.Rcpts)-1].N {
			return g
		}
	}
	return nil
}

// Finished says that every recipient has reached its end.
func (c *Control) Finished() bool {
	for i := range c.Groups {
		for j := range c.Groups[i].Rcpts {
			if c.Groups[i].Rcpts[j].State == Pending {
				return false
			}
		}
	}
	return true
}

// Append appends the file form of the control file as the router writes it,
// numbering the recipients.
func (c *Control) Append(b []byte) []byte {
	start := len(b)
	num := func(n int64) string { return strconv.FormatInt(n, 10) }
	b = AppendLine(b, "v", controlVersion)
	b = AppendLine(b, "i", string(c.ID), num(c.Size), num(c.HeaderOffset), num(c.BodyOffset))
	b = AppendLine(b, "t", num(c.Arrival.UnixMicro()))
	b = AppendLine(b, "l", c.MessageID)
	b = AppendLine(b, "c", c.Config)
	b = AppendLine(b, c.Attr.fields()...)
	n := 0
	for i := range c.Groups {
		g := &c.Groups[i]
		b = AppendLine(b, "s", g.Sender.Channel, g.Sender.Host, g.Sender.User, strconv.Itoa(g.Sender.Privilege))
		if !g.By.IsZero() {
			b = AppendLine(b, "y", g.By.String())
		}
		for j := range g.Rcpts {
			r := &g.Rcpts[j]
			r.N = n
			n++
			b = AppendLine(b, "r", strconv.Itoa(r.N), r.Channel, r.Host, r.User, strconv.Itoa(r.Privilege))
			if r.Notify != "" || r.ORcpt != "" {
				b = AppendLine(b, "N", r.Notify, r.ORcpt)
			}
			if r.Why != "" {
				b = AppendLine(b, "w", r.Why)
			}
			if !r.NotBefore.IsZero() {
				b = AppendLine(b, "b", num(r.NotBefore.Unix()))
			}
			if r.Kept {
				b = AppendLine(b, "k")
			}
		}
		b = AppendLine(b, "m", strconv.Itoa(len(g.Header)))
		b = append(b, g.Header...)
	}
	return appendClosing(b, start)
}

// castagnoli is made when it is first used: most programs never look at a sum, and
// the table is the dearest thing that their start would make.
var castagnoli = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

func appendClosing(b []byte, start int) []byte {
	return fmt.Appendf(b, "z\t%08x\n", crc32.Checksum(b[start:], castagnoli()))
}

func (a *Attributes) fields() []string {
	f := []string{"f"}
	add := func(key, v string) {
		if v != "" {
			f = append(f, key+"="+v)
		}
	}
	flag := func(key string, on bool) {
		if on {
			f = append(f, key)
		}
	}
	add("envid", a.EnvID)
	add("ret", a.Ret)
	add("body", a.BodyType)
	flag("smtputf8", a.SMTPUTF8)
	flag("requiretls", a.RequireTLS)
	flag("ours", a.Ours)
	flag("errormsg", a.ErrorMsg)
	add("auth", a.AuthUser)
	add("owner", a.Owner)
	add("priority", a.Priority)
	return f
}

func (a *Attributes) parse(fields []string) error {
	for _, f := range fields {
		key, v, _ := strings.Cut(f, "=")
		switch key {
		case "envid":
			a.EnvID = v
		case "ret":
			a.Ret = v
		case "body":
			a.BodyType = v
		case "smtputf8":
			a.SMTPUTF8 = true
		case "requiretls":
			a.RequireTLS = true
		case "ours":
			a.Ours = true
		case "errormsg":
			a.ErrorMsg = true
		case "auth":
			a.AuthUser = v
		case "owner":
			a.Owner = v
		case "priority":
			a.Priority = v
		default:
			return fmt.Errorf("unknown attribute %.40q", key)
		}
	}
	return nil
}

// ReadControl reads and folds the control file at path.
func ReadControl(path string) (*Control, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c, err := ParseControl(b)
	if err != nil {
		return nil, fmt.Errorf("control file %s: %w", path, err)
	}
	return c, nil
}

// ErrIncomplete is a control file whose closing line is missing or does not fit
// what is before it: the router did not finish it, or a power cut left parts of
// what the file held before. The message goes back to router/.
var ErrIncomplete = errors.New("closing line is missing")

// ParseControl folds the bytes of a control file. The result does not refer to b,
// but for the groups' headers, which are sub-slices of it. A torn last line is
// ignored; anything else that is not understood is an error.
func ParseControl(b []byte) (*Control, error) {
	if len(b) > MaxControlSize {
		return nil, fmt.Errorf("%d bytes: too large", len(b))
	}
	p := controlParser{c: new(Control), all: b}
	for line := 1; len(b) > 0; line++ {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			p.c.Torn = true
			break
		}
		rest, err := p.line(string(b[:i]), b[i+1:])
		if err != nil {
			return nil, p.blame(fmt.Errorf("line %d: %w", line, err))
		}
		b = rest
	}
	if !p.c.Complete {
		return nil, ErrIncomplete
	}
	return p.c, nil
}
