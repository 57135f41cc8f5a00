package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"zmailer/shellcfg"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

// CheckTLS prints, for each place where mail for a destination may go, what the
// TLS policy of this instance comes to, and what a connection under it is like. No
// mail is sent. args are options of the agent, as scheduler.conf gives them.
//
// It fails with proc.TempFail if no place would take mail now, and with
// proc.NoHost if there is none.
func CheckTLS(ctx context.Context, conf *shellcfg.Conf, args []string, destination string, w io.Writer) error {
	o, err := parseOptions(conf, args)
	if err != nil {
		return err
	}
	sp, err := conf.OpenSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	o.stsDir = sp.RunPath("mta-sts")
	c := newClient(o)
	defer c.close()
	return c.checkTLS(ctx, destination, w)
}

func (c *client) checkTLS(ctx context.Context, destination string, w io.Writer) error {
	dests, err := parseDests(destination)
	if err != nil {
		return proc.Exit(proc.Usage, "%w", err)
	}
	good, permanent := 0, true
	var problem error
	for i := range dests {
		targets, fail := c.opt.route(ctx, &dests[i])
		if fail != nil {
			permanent = permanent && fail.Action == dsn.Failed
			problem = errors.Join(problem, errors.New(fail.Text))
			continue
		}
		permanent = false
		for k := range targets {
			ok, err := c.checkTarget(ctx, &targets[k], w)
			if err != nil {
				return err
			}
			if ok {
				good++
			}
		}
	}
	switch {
	case good > 0:
		return nil
	case problem != nil && permanent:
		return proc.Exit(proc.NoHost, "%w", problem)
	case problem != nil:
		return proc.Exit(proc.TempFail, "%w", problem)
	}
	return proc.Exit(proc.TempFail, "no host of %s would be given mail", destination)
}

// checkTarget prints the lines of one target and tells whether mail would go there.
func (c *client) checkTarget(ctx context.Context, t *target, w io.Writer) (bool, error) {
	if _, err := fmt.Fprintf(w, "%s\n", t.relay); err != nil {
		return false, err
	}
	tr, err := c.trustFor(ctx, t, wishNone)
	if err != nil {
		_, werr := fmt.Fprintf(w, "  policy  %s\n  result  no mail: %v\n", tr.source, err)
		return false, werr
	}
	if _, err := fmt.Fprintf(w, "  policy  %s: %s\n", tr.source, tr.mode); err != nil {
		return false, err
	}
	s, fail := c.open(ctx, &setup{target: t, trust: tr}, time.Now().Add(c.opt.timeouts.connect+c.opt.timeouts.greeting+c.opt.timeouts.command))
	if fail != nil {
		_, err := fmt.Fprintf(w, "  result  no mail: %s\n", fail.Text)
		return false, err
	}
	defer s.quit()
	_, err = fmt.Fprintf(w, "  result  %s\n", s.tlsFacts())
	if s.tls != nil && len(s.tls.PeerCertificates) > 0 && err == nil {
		leaf := s.tls.PeerCertificates[0]
		_, err = fmt.Fprintf(w, "  peer    %s, issued by %s, until %s, SHA-256 %s\n",
			leaf.Subject, leaf.Issuer, leaf.NotAfter.UTC().Format("2006-01-02"), fingerprint(leaf))
	}
	return true, err
}
