package migrate

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// A mailer is one whose configuration can be read.
type mailer struct {
	name, title, dir string
	reads            string
	read             func(dir, hostname string, stock map[string]string) (*result, error)
	asker            func(dir, program string) (asker, error)
}

func mailers() []mailer {
	return []mailer{
		{"postfix", "Postfix", "/etc/postfix", "main.cf, master.cf and the tables they name", importPostfix, newPostfixAsker},
		{"sendmail", "Sendmail", "/etc/mail", "sendmail.mc (or sendmail.cf), aliases, virtusertable, mailertable, access,\ngenericstable, local-host-names, relay-domains and trusted-users", importSendmail, newSendmailAsker},
		{"exim", "Exim", "/etc/exim4", "Debian's update-exim4.conf.conf, /etc/email-addresses, hubbed_hosts,\npasswd.client, virtual/*, and the lists of refused hosts and senders", importExim, newEximAsker},
		{"opensmtpd", "OpenSMTPD", "/etc", "smtpd.conf and its tables", importSmtpd, newSmtpdAsker},
	}
}

// Command returns "zmailer import". stock are the files that come with the program.
func Command(stock map[string]string) *cobra.Command {
	root := &cobra.Command{
		Use:   "import",
		Short: "Read the configuration of another mailer, or take over its queue",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return proc.Exit(proc.Usage, "import what? postfix, sendmail, exim, opensmtpd or queue")
		},
	}
	for _, m := range mailers() {
		root.AddCommand(m.command(stock))
	}
	root.AddCommand(queueCommand())
	return root
}

type importOptions struct {
	from, hostname, compare, program string
	json                             bool
}

func (m mailer) command(stock map[string]string) *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   m.name + " [--from DIR] [--compare ADDRESSES [--json]] DIR",
		Short: "Read the configuration of " + m.title,
		Long: `Read ` + m.reads + `, and write our
configuration into DIR, which must not be there. Each line says where it comes from.
What was not carried over is printed, and the status is 1 if there is anything of the
kind.

--compare asks the other mailer and the configuration in DIR, which is used as it is if
it is there, where the addresses of a file (one a line; - is standard input) would go,
and prints where they differ. The status is then 0 if they are the same, 1 if some
differ, and 75 if none does but some could not be asked.

Try the result without installing it:

  zmailer --zconfig DIR/zmailer.conf check
  zmailer --zconfig DIR/zmailer.conf explain ADDRESS

and then copy it over /etc/zmailer.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", m.dir, "`directory` of the configuration")
	f.StringVar(&o.hostname, "hostname", "", "`name` of the host, where the configuration leaves it to the system")
	f.StringVar(&o.compare, "compare", "", "`file` of addresses about which both are asked")
	f.StringVar(&o.program, "program", "", "`path` of the other mailer's program that is asked")
	f.BoolVar(&o.json, "json", false, "print the comparison as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return m.run(cmd, &o, stock, args[0]) }
	return cmd
}

func (m mailer) run(cmd *cobra.Command, o *importOptions, stock map[string]string, dir string) error {
	var done error
	if _, err := os.Stat(dir); o.compare == "" || err != nil {
		if o.hostname == "" {
			name, err := fullHostname()
			if err != nil {
				return proc.Exit(proc.OSErr, "%w", err)
			}
			o.hostname = name
		}
		r, err := m.read(o.from, o.hostname, stock)
		if err != nil {
			return proc.Exit(proc.NoInput, "%w", err)
		}
		report := cmd.OutOrStdout()
		if o.json {
			report = cmd.ErrOrStderr()
		}
		if done = r.finish(cmd.Context(), report, dir); done != nil && proc.Code(done) != 1 {
			return done
		}
	}
	if o.compare == "" {
		return done
	}
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	old, err := m.asker(o.from, o.program)
	if err != nil {
		return proc.Exit(proc.Unavailable, "%w", err)
	}
	return compare(cmd, o, m.title, old, conf)
}

// fullHostname is the name of the host with its domain, where the system has one.
func fullHostname() (string, error) {
	name, err := os.Hostname()
	return strings.TrimSuffix(strings.ToLower(name), "."), err
}
