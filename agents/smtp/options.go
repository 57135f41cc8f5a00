package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"zmailer/agents/dkim"
	"zmailer/agents/protocol"
	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg/resolver"
)

// options are what the command line decides.
type options struct {
	hello        string // our name in EHLO
	port         int
	forced       string // destination of all jobs, instead of their host
	lmtp         bool
	noMX         bool
	pipelining   bool
	chunking     bool
	credFile     string
	tls          tlsPolicy
	sources      sources
	stsDir       string            // where MTA-STS policies are kept; "": nowhere
	certificates []tls.Certificate // ours, for peers that ask for one
	timeouts     timeouts
	transcript   *transcriptFile
	keys         *dkim.Keys       // nil: nothing is signed
	signAll      bool             // also mail of strangers that passes through
	record       *tlsrpt.Recorder // nil: nothing is counted for reports
	sealer       *sealer          // nil: such mail is not sealed

	capacity  int           // jobs at once
	rcptMax   int           // recipients of a transaction
	reuseMax  int           // messages over one connection
	reuseTime time.Duration // age at which a connection takes no further message
	idleTime  time.Duration // unused connections are kept this long

	resolver lookups
	self     func() []netip.Addr // addresses of this host; nil: loops are not looked for
}

func defaultOptions() options {
	return options{
		port: 25, pipelining: true, chunking: true, timeouts: defaultTimeouts(),
		capacity: 100, rcptMax: 100, reuseMax: 1000, reuseTime: 5 * time.Minute, idleTime: 30 * time.Second,
	}
}

// lookups is what the agent asks the DNS.
type lookups interface {
	Query(ctx context.Context, name string, t resolver.Type) (*resolver.Answer, error)
	Host(ctx context.Context, host string) (*resolver.Answer, error)
}

// timeouts of the phases: RFC 5321 §4.5.3.2.
type timeouts struct {
	connect  time.Duration // for one address; the RFC is silent
	greeting time.Duration // §4.5.3.2.1
	mail     time.Duration // §4.5.3.2.2
	rcpt     time.Duration // §4.5.3.2.3
	init     time.Duration // reply to DATA, §4.5.3.2.4
	data     time.Duration // each block of content, §4.5.3.2.5
	dot      time.Duration // reply to the content, §4.5.3.2.6
	command  time.Duration // all other commands, and a step of a TLS handshake
	job      time.Duration // after this, a job begins nothing new
}

func defaultTimeouts() timeouts {
	t := timeouts{
		connect: 30 * time.Second,
		data:    3 * time.Minute,
		dot:     10 * time.Minute,
		job:     protocol.JobTime, // with a dot after it, within the scheduler's time
	}
	t.commands(5 * time.Minute)
	t.init = 2 * time.Minute
	return t
}

// commands sets the times for replies to all commands.
func (t *timeouts) commands(d time.Duration) {
	t.greeting, t.mail, t.rcpt, t.init, t.command = d, d, d, d, d
}

// set reads "conn=30s,cmd=5m,data=3m,dot=10m,job=25m". A number without a unit
// is seconds; one alone is that of cmd, which stands for greeting, mail, rcpt and
// init, too.
func (t *timeouts) set(spec string) error {
	for _, word := range strings.Split(spec, ",") {
		name, v, ok := strings.Cut(word, "=")
		if !ok {
			name, v = "cmd", word
		}
		if strings.Trim(v, "0123456789") == "" {
			v += "s"
		}
		d, err := time.ParseDuration(v)
		if err != nil || d <= 0 || d > 24*time.Hour {
			return fmt.Errorf("%q is not a time", word)
		}
		if name == "cmd" {
			t.commands(d)
			continue
		}
		one := map[string]*time.Duration{
			"conn": &t.connect, "greeting": &t.greeting, "mail": &t.mail, "rcpt": &t.rcpt, "init": &t.init,
			"data": &t.data, "dot": &t.dot, "job": &t.job,
		}[name]
		if one == nil {
			return fmt.Errorf("%q: want conn, cmd, greeting, mail, rcpt, init, data, dot or job", name)
		}
		*one = d
	}
	return nil
}
