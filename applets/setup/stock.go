package setup

import (
	"fmt"
	"strings"

	"zmailer/shellcfg"
)

// A Stock is the stock text of a configuration file or table.
type Stock struct {
	Name string
	Text string
}

func (o *options) conf() string {
	var b strings.Builder
	p := o.paths()
	fmt.Fprintf(&b, `# What all programs of the mailer share: assignments, in the syntax of the shell.

# The version of these files; a program that is too old for it refuses them.
CONFVERSION=%d

POSTOFFICE=%s
LOGDIR=%s
MAILSHARE=%s
MAILVAR=%s

# A user's mailbox: mbox:FILE or maildir:DIRECTORY, with %%u for the user and %%h for
# the home directory.
MAILBOX=%s

# Names. HOSTNAME is what this host calls itself; MYDOMAIN completes addresses
# without a domain. Without them the name of the system is taken.
`, shellcfg.ConfVersion, p.spool, p.logs, p.share, p.etc, p.mailbox)
	if o.hostname != "" {
		fmt.Fprintf(&b, "HOSTNAME=%s\n", o.hostname)
	} else {
		b.WriteString("#HOSTNAME=mail.example.org\n")
	}
	if o.domain != "" {
		fmt.Fprintf(&b, "MYDOMAIN=%s\n", o.domain)
	} else {
		b.WriteString("#MYDOMAIN=example.org\n")
	}
	fmt.Fprintf(&b, `
# Where mail that is not local goes. Empty: to the hosts that DNS names. In
# brackets: to the host of that name, without asking for an MX.
SMARTHOST=
#SMARTHOST='[smtp.example.org]:587'

# Where the SMTP server listens when smtpserver.conf does not say.
SMTPLISTEN='%s'
`, o.listen())
	return b.String()
}

var tables = []Stock{
	{"db/aliases", `# Who gets the mail for a name: NAME: ADDRESS, ADDRESS ...
# Also "|program", /file and :include:/file. Run newaliases after a change.
MAILER-DAEMON: postmaster
postmaster: root
abuse: postmaster
`},
	{"db/localnames", `# Domains whose mail is delivered on this host, one a line, beside HOSTNAME,
# MYDOMAIN and localhost.
`},
	{"db/routes", `# Where the mail for a domain goes: DOMAIN CHANNEL!HOST, or error!text.
# .example.net stands for all domains below it.
#   example.net    smtp![192.0.2.1]:2525
#   .example.net   smtp!gateway.example.org
`},
	{"db/users", `# Local users beside those of the system, looked up first:
# NAME UID GID HOME [MAILBOX]
#   ann 1001 1001 /home/ann maildir:/home/ann/Maildir
`},
}
