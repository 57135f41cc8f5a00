// Package explain says where mail for an address would go, and why: every function
// of the policy that was entered, every table that was asked, what it said and how
// long that took, and the decisions with file and line. It uses the code of the
// router, so that what it says is what would happen.
package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
	"zmailer/spool/zlog"
)

// Options say for what message addresses are explained.
type Options struct {
	From   string // sender; "" is the null sender
	Client string // address of the SMTP client; "" is a message of this host
	JSON   bool
	Brief  bool // the deliveries without the way to them: sendmail -bv
}

// explainTime bounds the explanation of one address.
const explainTime = time.Minute

// Command is zmailer explain.
func Command() *cobra.Command {
	var o Options
	cmd := &cobra.Command{
		Use:   "explain [--from SENDER] [--client IP] [--json] ADDRESS...",
		Short: "Say where mail for an address would go, and why",
		Long: `explain routes addresses as the router would and prints what happened on the way:
functions of the policy, tables and their answers, decisions with file and line.

Status 0: something can be delivered for every address; 67: not for some address;
75: some address could not be looked up now.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			if o.From != "" {
				if _, err := rfc5322.ParseAddress(o.From); err != nil {
					return proc.Exit(proc.Usage, "--from %s: %w", o.From, err)
				}
			}
			return Addresses(cmd.Context(), conf, o, args, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.From, "from", "", "sender of the message")
	f.StringVar(&o.Client, "client", "", "address of the SMTP client it comes from")
	f.BoolVar(&o.JSON, "json", false, "print JSON")
	f.BoolVar(&o.Brief, "brief", false, "print the deliveries alone")
	return cmd
}

// An Explanation is what would become of one address.
type Explanation struct {
	Address   string    `json:"address"`
	Outcome   string    `json:"outcome"` // deliver, unknown or temporary
	Ours      bool      `json:"ours"`    // mail to it is taken from anybody
	Config    string    `json:"config"`
	Decisions []outcome `json:"decisions"`
	Tree      *step     `json:"tree"`
}

// The outcomes.
const (
	delivers  = "deliver"
	unknown   = "unknown"
	temporary = "temporary"
)

// Addresses explains addresses. Its error carries the exit status and says
// nothing, except for what kept it from working at all.
func Addresses(ctx context.Context, conf *shellcfg.Conf, o Options, addrs []string, out, errOut io.Writer) error {
	p, err := policy.Load(ctx, policy.Config{Conf: conf, Log: zlog.New(errOut, "explain")})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer p.Close()
	code := proc.OK
	all := make([]*Explanation, 0, len(addrs))
	for _, addr := range addrs {
		e := explain(ctx, p, o, addr)
		switch {
		case e.Outcome == temporary:
			code = proc.TempFail
		case e.Outcome == unknown && code == proc.OK:
			code = proc.NoUser
		}
		if o.JSON {
			all = append(all, e)
		} else if err := e.print(out, o.Brief); err != nil {
			return proc.Exit(proc.IOErr, "%w", err)
		}
	}
	if o.JSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(all); err != nil {
			return proc.Exit(proc.IOErr, "%w", err)
		}
	}
	if code != proc.OK {
		return proc.Silent(code)
	}
	return nil
}

func explain(ctx context.Context, p *policy.Policy, o Options, addr string) *Explanation {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	s := p.Session(ctx, &policy.Message{Sender: o.From, Client: o.Client, External: o.Client != ""})
	defer s.Close()
	e := &Explanation{Address: addr, Outcome: unknown, Config: p.Version, Decisions: []outcome{}}
	tree := s.Explain(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
		e.Decisions = append(e.Decisions, newOutcome(d))
		switch d.Action {
		case policy.Defer:
			e.Outcome = temporary
		case policy.Deliver, policy.Freeze, policy.Discard:
			if e.Outcome == unknown {
				e.Outcome = delivers
			}
		}
		return true
	})
	e.Ours, e.Tree = s.Claimed(), newStep(tree)
	return e
}

func (e *Explanation) print(out io.Writer, brief bool) error {
	var b strings.Builder
	if !brief {
		e.Tree.print(&b, 0)
	}
	for _, d := range e.Decisions {
		fmt.Fprintf(&b, "%s => %s", rfc5322.OneLine(e.Address, 0), d.Text)
		if !brief {
			fmt.Fprintf(&b, "\t(%s)", d.Why)
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(out, b.String())
	return err
}
