package queuesock

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"zmailer/spool"
	"zmailer/spool/rfc5322"
)

// unroutedReasons say why a message is in a directory.
var unroutedReasons = map[string]string{
	spool.DeferredDir: "not routed yet: a table or the DNS did not answer",
	spool.FreezerDir:  "frozen by the policy",
}

// Unrouted makes the entry of a message that is not routed, from its envelope: of
// router/, deferred/ or freezer/, where it is held. It is nil if the message is gone or
// nothing of it is selected.
func Unrouted(s *spool.Spool, dir string, id spool.ID, sel *Selection, now time.Time) *Entry {
	e := &Entry{QueueName: "incoming", QueueID: string(id)}
	arrival := id.Time()
	r := Recipient{State: "ready", DelayReason: unroutedReasons[dir]}
	if dir == spool.FreezerDir {
		e.QueueName, r.State = "hold", "held"
		if why := reasonBeside(s.Path(dir, id) + ".why"); why != "" {
			r.DelayReason += ": " + why
		}
	}
	m, err := spool.OpenMessage(s.Path(dir, id), id)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case m == nil || m.Env == nil:
		r.DelayReason = "cannot be read: " + err.Error()
		e.Recipients = []Recipient{r}
	default:
		e.Sender, e.MessageSize = m.Env.From, m.Size
		if e.Owner = m.Env.Owner; e.Owner == "" {
			e.Owner = strconv.Itoa(m.Owner)
		}
		r.SetBy(m.Env.DeliverBy)
		for i, to := range m.Env.To {
			r.N, r.Address = i, to.Addr
			e.Recipients = append(e.Recipients, r)
		}
	}
	if m != nil {
		arrival = m.Modified // as it will be when it is routed
		m.Close()            // nothing was written
	}
	e.ArrivalTime = arrival.Unix()
	if !sel.Message(e.QueueID, e.Sender, arrival, e.MessageSize, now) {
		return nil
	}
	kept := e.Recipients[:0]
	for i := range e.Recipients {
		if sel.Recip(&e.Recipients[i]) {
			kept = append(kept, e.Recipients[i])
		}
	}
	if e.Recipients = kept; len(kept) == 0 && !sel.ofMessages() {
		return nil
	}
	return e
}

// ofMessages says that the selection asks for nothing that recipients have: a message
// whose recipients stand in its header meets it too.
func (s *Selection) ofMessages() bool {
	return s.Channel == "" && s.Host == "" && s.Etrn == "" && s.State == "" && !s.Detailed()
}

const maxReason = 500

// reasonBeside reads the first line of the file with the reason.
func reasonBeside(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxReason))
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return rfc5322.OneLine(line, maxReason)
}

// EachFrozen calls fn with the messages in the freezer that the selection meets.
func EachFrozen(s *spool.Spool, sel *Selection, now time.Time, fn func(spool.ID, *Entry) error) error {
	err := spool.EachID(s.Root+"/"+spool.FreezerDir, func(id spool.ID) error {
		if len(sel.IDs) > 0 && !sel.hasID(string(id)) {
			return nil
		}
		if e := Unrouted(s, spool.FreezerDir, id, sel, now); e != nil {
			return fn(id, e)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
