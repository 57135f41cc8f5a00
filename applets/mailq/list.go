package mailq

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// list prints the messages in Sendmail's form, which monitoring programs read:
// "Mail queue is empty", or a table that ends with "Total requests: N".
func (v *viewer) list() error {
	n := 0
	// What is routed in the meantime is told by the scheduler, too: once is enough.
	unrouted := make(map[string]bool)
	each := func(e *queuesock.Entry) error {
		if unrouted[e.QueueID] {
			return nil
		}
		n++
		if v.json {
			return v.printJSON(e)
		}
		if n == 1 {
			v.heading()
		}
		v.printEntry(e)
		return nil
	}
	if err := v.unrouted(func(e *queuesock.Entry) error {
		if err := each(e); err != nil {
			return err
		}
		unrouted[e.QueueID] = true
		return nil
	}); err != nil {
		return err
	}
	if err := v.entries(each); err != nil {
		return err
	}
	switch {
	case v.json:
	case n == 0 && !v.sel.Empty():
		v.out.WriteString("No message in the queue is selected\n")
	case n == 0:
		v.out.WriteString("Mail queue is empty\n")
	default:
		fmt.Fprintf(v.out, "\t\tTotal requests: %d\n", n)
	}
	return nil
}

func (v *viewer) heading() {
	total := ""
	if st, err := v.schedulerStatus(); err == nil && st != nil && v.sel.Empty() {
		total = fmt.Sprintf(" (%s)", count(st.Messages, "request"))
	}
	fmt.Fprintf(v.out, "\t\t%s%s\n", v.spool.Root, total)
	v.out.WriteString("-----Q-ID------- --Size-- -----Q-Time----- ------------Sender/Recipient-----------\n")
}

// marks stand behind the id, as in Postfix: a message that is being delivered, one
// that is held.
var marks = map[string]string{"active": "*", "hold": "!"}

const reasonIndent, rcptIndent = "                 ", "\t\t\t\t\t "

func (v *viewer) printEntry(e *queuesock.Entry) {
	mark := marks[e.QueueName]
	if mark == "" {
		mark = " "
	}
	fmt.Fprintf(v.out, "%-16s%s%8d %s <%s>\n", e.QueueID, mark, e.MessageSize,
		queuesock.Time(e.ArrivalTime).Format("Mon Jan _2 15:04"), clean(e.Sender))
	if v.verbose && e.MessageID != "" {
		fmt.Fprintf(v.out, "%sMessage-ID: %s\n", reasonIndent, clean(e.MessageID))
	}
	last := ""
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if why := v.reason(r); why != last || v.verbose {
			if why != "" {
				fmt.Fprintf(v.out, "%s(%s)\n", reasonIndent, why)
			}
			last = why
		}
		fmt.Fprintf(v.out, "%s%s\n", rcptIndent, v.recipient(r))
	}
}

func (v *viewer) recipient(r *queuesock.Recipient) string {
	s := "<" + clean(r.Address) + ">"
	if v.verbose && r.Channel != "" {
		s += " " + r.Channel + "/" + clean(r.Host)
	}
	return s
}

// reason says in a line how a recipient stands.
func (v *viewer) reason(r *queuesock.Recipient) string {
	var parts []string
	if r.DelayReason != "" {
		text := clean(r.DelayReason)
		if r.Status != "" && !strings.Contains(text, r.Status) {
			text = r.Status + " " + text
		}
		parts = append(parts, text)
	}
	if r.Attempts > 0 && (v.verbose || r.Attempts > 1) {
		parts = append(parts, "tried "+count(r.Attempts, "time"))
	}
	switch {
	case r.State == "held":
		parts = append(parts, "held")
	case r.State == "running":
		parts = append(parts, "being delivered")
	case r.NextTry > v.now.Unix():
		parts = append(parts, "next try in "+span(queuesock.Time(r.NextTry).Sub(v.now)))
	}
	if wait := r.DeliverBy - v.now.Unix(); v.verbose && r.DeliverBy > 0 {
		if wait > 0 {
			parts = append(parts, queuesock.ByText(r.ByMode)+" within "+span(time.Duration(wait)*time.Second))
		} else {
			parts = append(parts, "time for delivery is over since "+span(time.Duration(-wait)*time.Second))
		}
	}
	return strings.Join(parts, "; ")
}

// maxUnrouted bounds how many messages that the router has not taken are listed.
const maxUnrouted = 10_000

// unrouted passes on the messages that are not routed: they wait for the router, or
// in the freezer for the administrator.
func (v *viewer) unrouted(each func(*queuesock.Entry) error) error {
	if v.sel.Channel != "" || v.sel.Host != "" {
		return nil
	}
	n := 0
	for _, dir := range []string{spool.RouterDir, spool.DeferredDir, spool.FreezerDir} {
		err := spool.EachID(filepath.Join(v.spool.Root, dir), func(id spool.ID) error {
			if n++; n > maxUnrouted {
				return errEnough
			}
			if e := queuesock.Unrouted(v.spool, dir, id, &v.sel, v.now); e != nil {
				return each(e)
			}
			return nil
		})
		switch {
		case errors.Is(err, errEnough):
			v.complain("more than " + strconv.Itoa(maxUnrouted) + " messages are not routed: not all of them are shown")
		case errors.Is(err, fs.ErrPermission):
			// Ordinary users may put mail into router/ but not look into it.
		case err != nil:
			return err
		}
	}
	return nil
}

var errEnough = errors.New("enough")

// listThreads prints the destinations, in the terse codes of ZMailer's mailq -Q.
func (v *viewer) listThreads() error {
	n, rcpts := 0, 0
	err := v.ask(queuesock.OpThreads, v.sel, func(a *queuesock.Answer) error {
		t := a.Thread
		if t == nil {
			return nil
		}
		n++
		rcpts += t.Recipients
		if v.json {
			return v.printJSON(t)
		}
		name := t.Channel + "/" + clean(t.Host)
		fmt.Fprintf(v.out, "%-36s N=%-6d R=%-6d %-9s J=%d/%d", name, t.Messages, t.Recipients, t.State, t.Active, t.Limit)
		if t.Failures > 0 {
			fmt.Fprintf(v.out, " F=%d", t.Failures)
		}
		if wait := t.NextTry - v.now.Unix(); wait > 0 {
			fmt.Fprintf(v.out, " W=%s", span(time.Duration(wait)*time.Second))
		}
		if t.Pending != "" {
			fmt.Fprintf(v.out, " pend=%q", t.Pending)
		}
		if t.Reason != "" {
			fmt.Fprintf(v.out, "  %s", clean(t.Reason))
		}
		return v.out.WriteByte('\n')
	})
	if errors.Is(err, queuesock.ErrDown) {
		return proc.Exit(proc.Unavailable, "%w: it alone knows the destinations (start it with: zmailer scheduler)", queuesock.ErrDown)
	}
	if err == nil && !v.json {
		fmt.Fprintf(v.out, "%s, %s\n", count(n, "thread"), count(rcpts, "recipient"))
	}
	return err
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

// span writes a time with its two largest units.
func span(d time.Duration) string {
	if d < time.Second {
		return "0s"
	}
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	s := ""
	left := 2
	for _, u := range units {
		if n := d / u.size; n > 0 && left > 0 {
			s += strconv.Itoa(int(n)) + u.name
			d -= n * u.size
			left--
		} else if s != "" {
			left--
		}
	}
	return s
}

// maxShown bounds a text of foreign origin in a listing.
const maxShown = 300

// clean makes a text of foreign origin fit for a terminal.
func clean(s string) string { return rfc5322.OneLine(s, maxShown) }
