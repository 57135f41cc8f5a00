package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
	"zmailer/spool/zlog"
)

// converse prints where the addresses that it reads would go, one a line. "router
// ADDRESS" is the same as the address alone; "from ADDRESS" sets the sender.
func converse(ctx context.Context, conf *shellcfg.Conf, in io.Reader, out io.Writer) error {
	p, err := policy.Load(ctx, policy.Config{Conf: conf, Log: zlog.New(out, "router")})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	defer p.Close()
	msg := &policy.Message{}
	lines := bufio.NewReaderSize(in, maxQuestion)
	for {
		if _, err := io.WriteString(out, "z$ "); err != nil {
			return err
		}
		line, err := lines.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if line = strings.TrimSpace(line); line != "" {
			obey(ctx, p, msg, line, out)
		}
		if err != nil || ctx.Err() != nil {
			fmt.Fprintln(out)
			return nil
		}
	}
}

func obey(ctx context.Context, p *policy.Policy, msg *policy.Message, line string, out io.Writer) {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "from":
		msg.Sender = strings.Trim(rest, "<> ")
		return
	case "router":
		line = strings.TrimSpace(rest)
	}
	s := p.Session(ctx, msg)
	defer s.Close()
	n := 0
	s.Route(policy.Recipient{Addr: line}, func(d *policy.Decision) bool {
		n++
		fmt.Fprintf(out, "%s\t%s\n", d, d.Why)
		return ctx.Err() == nil
	})
	if n == 0 {
		fmt.Fprintln(out, "nobody")
	}
}
