// Package hold is the transport agent of the channel "hold": mail that waits for
// something. The host says for what:
//
//	until:SECONDS      for a time, in seconds since 1970
//	host:NAME[:PORT]   for a host to accept connections, on port 25 if none is given
//	gone:/PATH         for a file to vanish
//
// When it has come, the message is given back to the router with "via hold", and
// the policy decides what is next; it should look at that, or the message may be
// held again. A condition that is not understood waits too, with a reason that
// mailq shows.
package hold

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/agents/protocol"
	"zmailer/agents/resubmit"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

const (
	capacity    = 20
	dialTimeout = 10 * time.Second
	longestWait = 24 * time.Hour // until the condition is looked at again
)

// Command is the hold program.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:   "hold",
		Short: "Keep mail until a time, a host or a file allows it on",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve.Run(cmd, capacity, func(conf *shellcfg.Conf, s *spool.Spool) (serve.Deliver, error) {
				h := &holder{
					resubmit: &resubmit.Resubmitter{Spool: s, Hostname: conf.Hostname, Via: "hold"},
					dial:     (&net.Dialer{Timeout: dialTimeout}).DialContext,
				}
				return h.deliver, nil
			})
		},
	}
}

type holder struct {
	resubmit *resubmit.Resubmitter
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
}

func (h *holder) deliver(ctx context.Context, d *protocol.Delivery) {
	if wait := h.wait(ctx, d.Host); wait != nil {
		d.ReportAll(*wait)
		return
	}
	h.resubmit.All(ctx, d)
}

// wait says why the mail has to wait, or nil.
func (h *holder) wait(ctx context.Context, condition string) *dsn.Result {
	kind, arg, _ := strings.Cut(condition, ":")
	var err error
	switch strings.ToLower(kind) {
	case "until":
		return until(arg)
	case "host":
		err = h.host(ctx, arg)
	case "gone":
		err = gone(arg)
	default:
		err = fmt.Errorf("condition %.60q is not understood: want until:SECONDS, host:NAME or gone:/PATH", condition)
	}
	if err == nil {
		return nil
	}
	r := dsn.Temp("4.3.0", "held: %v", err)
	return &r
}

func until(arg string) *dsn.Result {
	at, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		r := dsn.Temp("4.3.5", "held: time %.40q is not a number of seconds since 1970", arg)
		return &r
	}
	left := time.Until(time.Unix(at, 0))
	if left <= 0 {
		return nil
	}
	return &dsn.Result{
		Action: dsn.RetryAt, Status: "4.3.0", Text: "held until " + time.Unix(at, 0).UTC().Format(time.RFC3339),
		// A whole number of seconds is sent: round up, so as not to come too early.
		RetryAfter: min(left, longestWait).Truncate(time.Second) + time.Second,
	}
}

func (h *holder) host(ctx context.Context, arg string) error {
	name, port, err := net.SplitHostPort(arg)
	if err != nil {
		name, port = strings.Trim(arg, "[]"), "25"
	}
	if name == "" {
		return errors.New("condition host: names no host")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := h.dial(ctx, "tcp", net.JoinHostPort(name, port))
	if err != nil {
		return fmt.Errorf("%s does not answer: %w", arg, err)
	}
	conn.Close() // that it answered is all that counts
	return nil
}

func gone(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("condition gone: %.60q is not an absolute path", path)
	}
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fmt.Errorf("%s exists", path)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}
