package smtp

import (
	"context"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"zmailer/agents/protocol"
	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/spool/proc"
)

const usage = `smtp [options]

The transport agent for other hosts. The scheduler starts it and sends it jobs
on its standard input.

Where mail goes:
  -F dest      to dest whatever host the job names; dest is a list of
               domain, domain:port, [host]:port, [address]:port or /socket
  -p port      port where none is named (25; with -M there is no default)
  -x           no MX: only the addresses of a domain itself
  -b addr      our address of connections, or pattern=addr for destinations,
               or pattern with "@" for senders: -b 192.0.2.1,*@list.test=192.0.2.2
  -r file      resolv.conf to use

How it is sent:
  -h name      our name in EHLO (HOSTNAME of zmailer.conf)
  -M           LMTP: to a delivery server, not a mail exchanger
  -S mode      encryption for all hosts, or pattern=mode for some:
               -S may,*.example.org=verify
                 may     when offered, in the clear if it does not work (default)
                 must    or no mail; any certificate will do
                 verify  or no mail; certificate valid for the name of the host
                 off     never
                 dane    as the TLSA records of the host say; may, without any
                 sts     as the MTA-STS policy of the domain says; may, without
                 auto    dane, or else sts
               The file db/tlspolicy has lines "DESTINATION MODE" that win over
               this; there is also "fingerprint SHA256..." for certificates or
               public keys that are known. ".example.org" is all below, "*" all.
               TLSPOLICY in zmailer.conf puts a table of another type in its place
  -C file      our certificate and its key (PEM), for hosts that ask for one;
               must have mode 0600
  -A file      log in with the user and password of a line "HOST USER PASSWORD"
               that matches the destination ("*": any); must have mode 0600.
               "HOST,SENDER USER PASSWORD" is for mail of a sender or @domain;
               "|/command" as the password prints an OAuth token
  -k dir       sign with the keys dir/DOMAIN/SELECTOR.pem of the domain in From
               (the directory dkim beside zmailer.conf; with -M, or as "none":
               nothing is signed); "zmailer dkim-key DOMAIN" makes one
  -K           sign also mail of strangers that passes through, not only mail
               submitted here or by clients that may send to everybody
  -P           no PIPELINING
  -B           no BDAT (CHUNKING)
  -T limits    time limits: conn=30s,greeting=5m,mail=5m,rcpt=5m,init=2m,data=3m,
               dot=10m,job=25m; cmd=5m is for greeting, mail, rcpt, init (the
               reply to DATA) and all other commands
  -m n         recipients in a transaction (100)

How connections are used:
  -1           one message for each connection
  -n n         jobs at once (100)

  -l file      append a transcript of all conversations to file
`

// Command is the program smtp.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:                "smtp [options]",
		Short:              "Deliver to other hosts by SMTP or LMTP",
		Long:               usage,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, a := range args {
				if a == "--help" {
					_, err := cmd.OutOrStdout().Write([]byte(usage))
					return err
				}
			}
			return run(cmd.Context(), args)
		},
	}
}

func run(ctx context.Context, args []string) error {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if err := confine(conf, args); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	o, err := parseOptions(conf, args)
	if err != nil {
		return err
	}
	spool, err := conf.EnterSpool()
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	o.stsDir = spool.RunPath(stsRunDir)
	if conf.Get("TLSREPORTS") != "" {
		o.record = tlsrpt.NewRecorder(spool.RunPath(tlsrpt.RunDir), func(err error) { o.transcript.start().note(err.Error()) })
	}
	c := newClient(o)
	defer c.close()
	agent := &protocol.Agent{Spool: spool, Capacity: o.capacity, Deliver: c.Deliver}
	return protocol.Serve(ctx, agent, os.Stdin, os.Stdout)
}

// letters are the options, as Getopt wants them.
const letters = "1A:BC:F:KMPS:T:b:h:k:l:m:n:p:r:x"

// A command line on its way to options.
type commandLine struct {
	options
	portGiven      bool
	resolvConf     string
	transcriptPath string
	keyPlace       string // -k; "": the usual place
}

func parseOptions(conf *shellcfg.Conf, args []string) (options, error) {
	cl := commandLine{options: defaultOptions()}
	cl.hello = conf.Hostname
	g := proc.NewGetopt(letters, args)
	for g.Next() {
		if err := cl.option(g); err != nil {
			return options{}, err
		}
	}
	if err := g.Err(); err != nil {
		return options{}, err
	}
	if len(g.Args()) > 0 {
		return options{}, proc.Exit(proc.Usage, "unexpected argument %q", g.Args()[0])
	}
	if err := cl.openTables(conf); err != nil {
		return options{}, err
	}
	return cl.finish()
}

func (cl *commandLine) option(g *proc.Getopt) (err error) {
	switch g.Opt {
	case '1':
		cl.reuseMax = 1
	case 'A':
		cl.credFile = g.Value
	case 'B':
		cl.chunking = false
	case 'C':
		err = cl.readCertificate(g.Value)
	case 'F':
		if _, err = parseDests(g.Value); err == nil {
			cl.forced = g.Value
		}
	case 'K':
		cl.signAll = true
	case 'M':
		cl.lmtp = true
	case 'P':
		cl.pipelining = false
	case 'S':
		err = cl.tls.set(g.Value)
	case 'T':
		err = cl.timeouts.set(g.Value)
	case 'b':
		err = cl.sources.set(g.Value)
	case 'h':
		cl.hello = g.Value
	case 'k':
		cl.keyPlace = g.Value
	case 'l':
		cl.transcriptPath = g.Value
	case 'm':
		cl.rcptMax, err = number(g.Value, protocol.MaxJobRcpts)
	case 'n':
		cl.capacity, err = number(g.Value, protocol.MaxCredits)
	case 'p':
		cl.portGiven = true
		cl.port, err = number(g.Value, 65535)
	case 'r':
		cl.resolvConf = g.Value
	case 'x':
		cl.noMX = true
	}
	if err != nil {
		return g.Bad("%v", err)
	}
	return nil
}

func number(s string, max int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > max {
		return 0, proc.Exit(proc.Usage, "want a number from 1 to %d", max)
	}
	return n, nil
}

// finish checks the whole and opens what the options name.
func (cl *commandLine) finish() (o options, err error) {
	if !printable(cl.hello) {
		return o, proc.Exit(proc.Usage, "option -h: %q is not a host name", cl.hello)
	}
	if cl.lmtp && !cl.portGiven && !portsNamed(cl.forced) {
		// Port 25 belongs to SMTP: RFC 2033 §5.
		return o, proc.Exit(proc.Usage, "-M needs the port of the LMTP server: -p, or -F with a port or a socket")
	}
	// A message comes back to us at the port where we listen to the world.
	if cl.port == 25 && !cl.lmtp {
		cl.self = selfAddrs()
	}
	rv, err := resolver.New(resolver.Config{ResolvConf: cl.resolvConf})
	if err != nil {
		return o, proc.Exit(proc.Config, "resolver: %w", err)
	}
	cl.resolver = rv
	if cl.transcriptPath != "" {
		if cl.transcript, err = openTranscript(cl.transcriptPath); err != nil {
			return o, proc.Exit(proc.CantCreat, "%w", err)
		}
	}
	return cl.options, nil
}

// portsNamed tells that every place of a list names its port or socket.
func portsNamed(spec string) bool {
	dests, err := parseDests(spec)
	if err != nil {
		return false
	}
	for _, d := range dests {
		if d.port == 0 && d.path == "" {
			return false
		}
	}
	return true
}
