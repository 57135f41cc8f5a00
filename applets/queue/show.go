package queue

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

func showCommand() *cobra.Command {
	var asJSON, body bool
	cmd := &cobra.Command{
		Use:   "show [--body] [--json] ID...",
		Short: "Show messages of the spool: recipients, history of attempts, header",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openSpool()
			if err != nil {
				return err
			}
			out := bufio.NewWriter(cmd.OutOrStdout())
			for _, arg := range args {
				id, err := queuesock.ParseID(arg)
				if err != nil {
					return err
				}
				if err := show(cmd.Context(), s, id, out, asJSON, body); err != nil {
					return err
				}
			}
			return out.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&body, "body", false, "show the body too")
	return cmd
}

// Shown is what show says of a message.
type Shown struct {
	ID      string           `json:"queue_id"`
	Where   string           `json:"directory"` // transport, queue (without control file), router, deferred, freezer, postman
	Why     string           `json:"why,omitempty"`
	Entry   *queuesock.Entry `json:"entry,omitempty"` // what is still to be done
	Config  string           `json:"config,omitempty"`
	Routed  []Routed         `json:"routed,omitempty"`
	History []Event          `json:"history,omitempty"`
	Header  string           `json:"header"`

	file   *os.File
	bodyAt int64
}

// Routed is a recipient as the router decided.
type Routed struct {
	N       int    `json:"n"`
	Channel string `json:"channel"`
	Host    string `json:"host"`
	User    string `json:"user"`
	State   string `json:"state"`
	Why     string `json:"why,omitempty"` // file:line of the policy
}

// Event is a line that the scheduler appended to the control file.
type Event struct {
	Time  int64  `json:"time"`
	Rcpts string `json:"recipients,omitempty"`
	What  string `json:"what"`
	Text  string `json:"text,omitempty"`
}

func show(ctx context.Context, s *spool.Spool, id spool.ID, out *bufio.Writer, asJSON, body bool) error {
	m, err := find(s, id)
	if err != nil {
		return err
	}
	defer m.file.Close()
	if m.Where == spool.TransportDir {
		m.askScheduler(ctx, s)
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(m)
	}
	m.print(out)
	if body {
		if _, err := io.Copy(out, io.NewSectionReader(m.file, m.bodyAt, 1<<62)); err != nil {
			return proc.Exit(proc.IOErr, "%w", err)
		}
	}
	return nil
}

// find looks for a message in all states of the spool.
func find(s *spool.Spool, id spool.ID) (*Shown, error) {
	// The message may be moved on while it is looked for: once more, then.
	for range 2 {
		m, err := findRouted(s, id)
		if !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
		for _, dir := range []string{spool.RouterDir, spool.DeferredDir, spool.FreezerDir, spool.PostmanDir} {
			if m, err := findUnrouted(s, dir, id); !errors.Is(err, fs.ErrNotExist) {
				return m, err
			}
		}
	}
	return nil, proc.Exit(proc.NoInput, "%s is not in the spool: delivered or deleted, see the logs (grep %s)", id, id)
}

func findRouted(s *spool.Spool, id spool.ID) (*Shown, error) {
	b, err := os.ReadFile(s.ControlPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return findAt(s.QueuePath(id), spool.QueueDir, id, "being routed; if this lasts, the router was stopped in the middle of it and takes it up again at its next start")
	}
	if err != nil {
		return nil, err
	}
	c, err := spool.ParseControl(b)
	if err != nil {
		return findAt(s.QueuePath(id), spool.QueueDir, id, "control file: "+err.Error()+"; the scheduler sets it aside")
	}
	f, err := os.Open(s.QueuePath(id))
	if err != nil {
		return nil, err
	}
	m := &Shown{ID: string(id), Where: spool.TransportDir, Config: c.Config, History: history(b, id), file: f, bodyAt: c.BodyOffset}
	for i := range c.Groups {
		g := &c.Groups[i]
		if i == 0 {
			m.Header = string(g.Header)
		}
		for j := range g.Rcpts {
			r := &g.Rcpts[j]
			m.Routed = append(m.Routed, Routed{r.N, r.Channel, r.Host, r.User, rcptStates[r.State], r.Why})
		}
	}
	m.Entry = queuesock.FromControl(c, &queuesock.Selection{}, time.Now())
	return m, nil
}

var rcptStates = [...]string{spool.Pending: "pending", spool.Done: "delivered", spool.Bounced: "failed", spool.Dropped: "replaced or deleted"}

const maxHeader = 1 << 20

func findUnrouted(s *spool.Spool, dir string, id spool.ID) (*Shown, error) {
	why, err := os.ReadFile(s.Path(dir, id) + ".why")
	if err != nil {
		why = nil // most have none
	}
	return findAt(s.Path(dir, id), dir, id, strings.TrimSpace(string(why)))
}

// findAt shows a message of which there is no control file, or none that can be read.
func findAt(path, dir string, id spool.ID, why string) (*Shown, error) {
	msg, err := spool.OpenMessage(path, id)
	var bad *spool.BadEnvelope
	if err != nil && !errors.As(err, &bad) {
		return nil, err
	}
	m := &Shown{ID: string(id), Where: dir, Why: why, file: msg.File}
	if bad != nil {
		m.Why = strings.TrimSpace(m.Why + "\n" + bad.Error())
		return m, nil
	}
	e := &queuesock.Entry{QueueName: dir, QueueID: string(id), ArrivalTime: msg.Modified.Unix(), MessageSize: msg.Size, Sender: msg.Env.From}
	for i, to := range msg.Env.To {
		r := queuesock.Recipient{N: i, Address: to.Addr, State: "not routed"}
		r.SetBy(msg.Env.DeliverBy)
		e.Recipients = append(e.Recipients, r)
	}
	m.Entry = e
	head := make([]byte, min(msg.Size-msg.Header, maxHeader))
	if _, err := msg.File.ReadAt(head, msg.Header); err != nil && !errors.Is(err, io.EOF) {
		return nil, errors.Join(err, msg.Close())
	}
	if i := bytes.Index(head, []byte("\n\n")); i >= 0 {
		head = head[:i+2]
	}
	m.Header, m.bodyAt = string(head), msg.Header+int64(len(head))
	return m, nil
}

// askScheduler replaces what the control file says by what the scheduler knows: the
// next attempt depends on the destination too.
func (m *Shown) askScheduler(ctx context.Context, s *spool.Spool) {
	req := &queuesock.Request{Op: queuesock.OpList, Select: queuesock.Selection{IDs: []string{m.ID}}}
	// Without a scheduler the control file is what there is.
	_ = queuesock.Ask(ctx, s, req, func(a *queuesock.Answer) error {
		if a.Entry != nil {
			m.Entry = a.Entry
		}
		return nil
	})
}

var eventNames = map[string]string{
	"+": "delivered", "-": "failed", "=": "deferred", "x": "replaced or deleted", "d": "report", "h": "held", "u": "released",
}

var reportNames = map[string]string{
	string(rune(spool.ReportFailure)): "failure", string(rune(spool.ReportDelay)): "delay", string(rune(spool.ReportLate)): "late", string(rune(spool.ReportSuccess)): "success",
}

// history reads the events of a control file: the lines that begin with an event's
// letter and end in the id of the message.
func history(control []byte, id spool.ID) (events []Event) {
	for line := range bytes.Lines(control) {
		f, err := spool.SplitLine(strings.TrimSuffix(string(line), "\n"), 16)
		if err != nil || eventNames[f[0]] == "" || f[len(f)-1] != string(id) || len(f) < 3 {
			continue
		}
		f = f[:len(f)-2] // without CRC and id
		ev := Event{What: eventNames[f[0]]}
		at := f[len(f)-1] // held, released
		if len(f) >= 5 {
			ev.Rcpts, at = f[1], f[2]
		}
		switch len(f) {
		case 5: // a report: its kind and id
			ev.Text = reportNames[f[3]] + " " + f[4]
		case 8: // an attempt: status, relay, reply
			ev.Text = strings.Join(strings.Fields(f[4]+" "+f[5]+" "+f[7]), " ")
		}
		ev.Time, _ = strconv.ParseInt(at, 10, 64) // the file was parsed before: it is a number
		events = append(events, ev)
	}
	return events
}

const (
	maxShown   = 500
	timeFormat = "2006-01-02 15:04:05"
)

func clean(s string) string { return rfc5322.OneLine(s, maxShown) }

func (m *Shown) print(out *bufio.Writer) {
	fmt.Fprintf(out, "%s in %s/\n", m.ID, m.Where)
	if m.Why != "" {
		fmt.Fprintf(out, "  why      %s\n", clean(m.Why))
	}
	if e := m.Entry; e != nil {
		fmt.Fprintf(out, "  arrived  %s\n  size     %d\n  sender   <%s>\n", queuesock.Time(e.ArrivalTime).Format(timeFormat), e.MessageSize, clean(e.Sender))
		for i := range e.Recipients {
			r := &e.Recipients[i]
			fmt.Fprintf(out, "  to       <%s> %s%s\n", clean(r.Address), r.State, details(r))
		}
	}
	if len(m.Routed) > 0 {
		fmt.Fprintf(out, "\nrouted by configuration %s\n", m.Config)
		for _, r := range m.Routed {
			fmt.Fprintf(out, "  %-4d %s/%s %s: %s (%s)\n", r.N, r.Channel, clean(r.Host), clean(r.User), r.State, clean(r.Why))
		}
	}
	if len(m.History) > 0 {
		out.WriteString("\nhistory\n")
		for _, ev := range m.History {
			fmt.Fprintf(out, "  %s %s %s %s\n", queuesock.Time(ev.Time).Format(timeFormat), ev.What, ev.Rcpts, clean(ev.Text))
		}
	}
	out.WriteString("\n")
	for line := range strings.Lines(m.Header) {
		out.WriteString(clean(strings.TrimRight(line, "\r\n")) + "\n")
	}
}

func details(r *queuesock.Recipient) string {
	var s string
	if r.Attempts > 0 {
		s += fmt.Sprintf(", tried %d times", r.Attempts)
	}
	if r.NextTry > 0 {
		s += ", next try " + queuesock.Time(r.NextTry).Format(timeFormat)
	}
	if r.DeliverBy > 0 {
		s += ", " + queuesock.ByText(r.ByMode) + " by " + queuesock.Time(r.DeliverBy).Format(timeFormat)
	}
	if r.DelayReason != "" {
		s += ": " + clean(r.DelayReason)
	}
	return s
}
