package queue

import (
	"bufio"
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

	"zmailer/agents/resubmit"
	"zmailer/applets/scheduler/queuesock"
	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
	"zmailer/spool/zlog"
)

// A Reroute compares where a recipient in the queue goes with where it would go by
// the present policy.
type Reroute struct {
	ID      string   `json:"queue_id"`
	Address string   `json:"address"`
	Now     string   `json:"now"`
	Then    []string `json:"then"`
	Changes bool     `json:"changes"`
}

func rerouteCommand() *cobra.Command {
	o := new(options)
	var quiet bool
	cmd := &cobra.Command{
		Use:   "reroute [ID...] [selection]",
		Short: "Put messages in the queue through the present policy",
		Long: `reroute gives recipients in the queue back to the router, which decides anew where
they go, and shows what changes:

  zmailer reroute --host old.example.net --dry-run
  zmailer reroute --host old.example.net

What is being delivered just then is not touched. Attempts and age of the recipients
begin anew, as they do for new mail.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.complete(queuesock.OpReroute, args); err != nil {
				return err
			}
			if !quiet {
				if err := compare(cmd, o); err != nil {
					return err
				}
			}
			return change(cmd, o, queuesock.OpReroute, "rerouted")
		},
	}
	addChangeFlags(cmd, o)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "do not show what changes")
	return cmd
}

// A comparer routes recipients as the router would.
type comparer struct {
	spool  *spool.Spool
	policy *policy.Policy
	each   func(*Reroute) error
}

// compare shows what changes for the recipients selected.
func compare(cmd *cobra.Command, o *options) error {
	ctx := cmd.Context()
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	s, err := conf.OpenSpool()
	if err != nil {
		return proc.Exit(proc.OSFile, "%w", err)
	}
	p, err := policy.Load(ctx, policy.Config{Conf: conf, Log: zlog.New(cmd.ErrOrStderr(), "reroute")})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer p.Close()
	out := bufio.NewWriter(cmd.OutOrStdout())
	same, changed := 0, 0
	c := &comparer{spool: s, policy: p, each: func(r *Reroute) error {
		if r.Changes {
			changed++
		} else {
			same++
		}
		return r.print(out, o.out)
	}}
	err = queuesock.Ask(ctx, s, &queuesock.Request{Op: queuesock.OpList, Select: o.sel}, func(a *queuesock.Answer) error {
		if a.Entry == nil {
			return nil
		}
		return c.entry(ctx, a.Entry)
	})
	if err == nil && !o.out {
		_, err = fmt.Fprintf(out, "%d recipients go elsewhere, %d stay as they are\n", changed, same)
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	return nil
}

func (r *Reroute) print(out *bufio.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	if !r.Changes {
		return nil
	}
	_, err := fmt.Fprintf(out, "%s <%s>\n  now  %s\n", r.ID, clean(r.Address), clean(r.Now))
	for _, then := range r.Then {
		if err == nil {
			_, err = fmt.Fprintf(out, "  then %s\n", clean(then))
		}
	}
	return err
}

// entry compares the recipients of a message. One that is finished meanwhile is
// passed over.
func (c *comparer) entry(ctx context.Context, e *queuesock.Entry) error {
	id := spool.ID(e.QueueID)
	ctl, err := spool.ReadControl(c.spool.ControlPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := os.Open(c.spool.QueuePath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	for i := range e.Recipients {
		r, g := ctl.Rcpt(e.Recipients[i].N), ctl.GroupOf(e.Recipients[i].N)
		if r == nil || r.State != spool.Pending {
			continue
		}
		msg, err := facts(ctl, g, file)
		if err != nil {
			return err
		}
		if err := c.each(c.route(ctx, msg, r)); err != nil {
			return err
		}
	}
	return nil
}

// facts are what the policy may know of the message when it comes again.
func facts(c *spool.Control, g *spool.Group, file io.ReaderAt) (*policy.Message, error) {
	env, _, err := spool.ReadEnvelope(bufio.NewReader(io.NewSectionReader(file, 0, c.HeaderOffset)))
	if err != nil {
		return nil, fmt.Errorf("envelope of %s: %w", c.ID, err)
	}
	header := make([]byte, min(c.BodyOffset-c.HeaderOffset, maxHeader))
	if _, err := file.ReadAt(header, c.HeaderOffset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	// What is no field any more the router would take for the body.
	fields, _, _ := rfc5322.ParseHeader(header)
	owner, err := strconv.Atoi(c.Attr.Owner)
	if err != nil {
		owner = os.Getuid() // none is noted: a message of the mailer itself
	}
	return &policy.Message{
		ID: string(c.ID), Sender: g.Sender.User, Client: env.Client, Helo: env.Helo, AuthUser: env.AuthUser, Owner: owner,
		Size: c.Size, MessageID: c.MessageID, Priority: env.Priority, External: env.External, ErrorMsg: env.ErrorMsg, Header: fields,
	}, nil
}

// routeTime bounds the routing of one recipient.
const routeTime = time.Minute

func (c *comparer) route(ctx context.Context, msg *policy.Message, r *spool.Rcpt) *Reroute {
	ctx, cancel := context.WithTimeout(ctx, routeTime)
	defer cancel()
	s := c.policy.Session(ctx, msg)
	defer s.Close()
	out := &Reroute{ID: msg.ID, Address: queuesock.Address(r.Channel, r.User), Now: strings.Join([]string{"deliver", r.Channel, r.Host, r.User}, " ")}
	stays := false
	take := func(d *policy.Decision) bool {
		stays = stays || d.Action == policy.Deliver && d.Channel == r.Channel && strings.EqualFold(d.Host, r.Host) && d.User == r.User
		out.Then = append(out.Then, fmt.Sprintf("%s (%s)", d, d.Why))
		return true
	}
	if d := s.Process(); d != nil {
		take(d)
	} else {
		s.Route(policy.Recipient{Addr: resubmit.Address(r)}, take)
	}
	out.Changes = !stays || len(out.Then) != 1
	return out
}
