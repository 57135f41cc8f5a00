package sendmail

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// RmailCommand returns the rmail command, which takes mail that came by UUCP.
func RmailCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rmail [-h HOST] ADDRESS...",
		Short: "Take a message that came by UUCP",
		Long: `rmail reads a message with the "From " lines of UUCP from standard input and puts
it into the spool. The sender is the path that these lines tell.

  -h HOST   where the message came from, when its lines lack "remote from HOST";
            else UU_MACHINE or REMOTE in the environment say so
  -d, -T    accepted; there is nothing to debug`,
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Equal(args, []string{"--help"}) {
				return cmd.Help()
			}
			shield()
			return rmail(cmd.Context(), args, cmd.InOrStdin())
		},
	}
}

func rmail(ctx context.Context, args []string, in io.Reader) error {
	g := proc.NewGetopt("dh:T", args)
	host := remoteHost()
	for g.Next() {
		if g.Opt == 'h' {
			if host = g.Value; !rfc5322.ValidDomain(host) {
				return g.Bad("not a host name")
			}
		}
	}
	if err := g.Err(); err != nil {
		return err
	}
	o := &options{external: true, ignoreDots: true, with: "UUCP", hasSender: true, errors: 'p'}
	o.recipients = g.Args()
	if err := o.checkWords(args); err != nil {
		return err
	}
	if len(o.recipients) == 0 {
		return proc.Exit(proc.Usage, "no recipient is given")
	}
	to := new(addressees)
	for _, word := range o.recipients {
		a := unbang(word)
		if len(a.Local) > rfc5322.MaxLocal {
			return proc.Exit(proc.NoUser, "recipient %.60q: too long", word)
		}
		if err := to.add(a); err != nil {
			return err
		}
	}
	return o.receiveUUCP(ctx, in, host, to.list)
}

// receiveUUCP reads the message behind its "From " lines.
func (o *options) receiveUUCP(ctx context.Context, in io.Reader, host string, to []spool.Recipient) error {
	r := bufio.NewReaderSize(newSource(ctx, in, true), sourceBuffer)
	path, err := readPath(r, host)
	if err != nil {
		return readError(err)
	}
	m, err := readMessage(r)
	if err != nil {
		return readError(err)
	}
	o.rcvdFrom, _, _ = strings.Cut(path, "!")
	if !rfc5322.ValidDomain(o.rcvdFrom) || !strings.Contains(path, "!") {
		o.rcvdFrom = ""
	}
	a := unbang(path)
	if len(a.Local) > rfc5322.MaxLocal {
		return proc.Exit(proc.DataErr, "the path of the sender is longer than %d bytes", rfc5322.MaxLocal)
	}
	o.sender = a.String()
	m.hideBcc()
	env := o.envelope(to)
	env.BodyType = bodyType("", m.eightBit())
	_, err = o.store(ctx, env, m)
	return err
}

// remoteHost is where uuxqt says that the message came from.
func remoteHost() string {
	for _, name := range []string{"UU_MACHINE", "REMOTE"} {
		if v := os.Getenv(name); rfc5322.ValidDomain(v) {
			return v
		}
	}
	return ""
}

// maxHops bounds the "From " lines.
const maxHops = 100

// readPath reads the lines "From USER DATE remote from HOST" and ">From ...",
// the newest first, and returns HOST!...!USER.
func readPath(r *bufio.Reader, host string) (string, error) {
	var hops []string
	user := ""
	for n := 0; ; n++ {
		start, err := r.Peek(6)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		text := strings.TrimPrefix(string(start), ">")
		if !strings.HasPrefix(text, "From ") {
			break
		}
		if n == maxHops {
			return "", proc.Exit(proc.DataErr, "more than %d From lines", maxHops)
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return "", proc.Exit(proc.DataErr, "From line %d is too long", n+1)
		}
		fields := strings.Fields(strings.TrimPrefix(string(line), ">"))
		if len(fields) < 2 {
			return "", proc.Exit(proc.DataErr, "From line %d names nobody", n+1)
		}
		user = fields[1]
		if k := len(fields); k >= 5 && fields[k-3] == "remote" && fields[k-2] == "from" {
			hops = append(hops, fields[k-1])
		} else if n == 0 && host != "" {
			hops = append(hops, host)
		}
	}
	if user == "" {
		return "", proc.Exit(proc.DataErr, "the message does not begin with a From line")
	}
	if user == "<>" || strings.EqualFold(user, "MAILER-DAEMON") {
		return "", nil
	}
	return strings.Join(append(hops, user), "!"), nil
}

// unbang makes an Internet address of a path: an address in domain form at its
// end stands for itself, whatever path it took; else the last host with a dot in
// its name is the domain; else the path goes on behind its first host.
func unbang(path string) rfc5322.Address {
	hops := strings.Split(path, "!")
	user := hops[len(hops)-1]
	if a, err := rfc5322.ParseAddress(user); err == nil && a.Domain != "" {
		return a
	}
	for i := len(hops) - 2; i >= 0; i-- {
		if strings.Contains(hops[i], ".") && rfc5322.ValidDomain(hops[i]) {
			return localAt(strings.Join(hops[i+1:], "!"), hops[i])
		}
	}
	if len(hops) > 1 && rfc5322.ValidDomain(hops[0]) {
		return localAt(strings.Join(hops[1:], "!"), hops[0])
	}
	return localAt(path, "")
}

func localAt(local, domain string) rfc5322.Address {
	return rfc5322.Address{Local: rfc5322.OneLine(local, 0), Domain: domain}
}
