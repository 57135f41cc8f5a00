package setup

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// An initiation is one run of zmailer init.
type initiation struct {
	options
	profile
	smartURL     string
	passwordFile string
	domain       string
	force        bool
	dry          bool
	forcedPort   string // instead of the one that is found
	extra        string // more lines for zmailer.conf

	in    io.Reader
	names names
	conf  *shellcfg.Conf // what is there already; nil: nothing
	etc   string
	port  string
}

// InitCommand returns "zmailer init".
func InitCommand(cfg Config) *cobra.Command {
	n := &initiation{options: options{cfg: cfg}}
	cmd := &cobra.Command{
		Use:   "init [--smarthost URL [--local] | --internet | --backup-mx DOMAIN,...]",
		Short: "Configure this host for what it is to be",
		Long: `init writes the configuration of a host. Without options it is one that keeps its
mail to itself. Names are found out; see the end of what it prints.

  --smarthost URL   a null client: all mail goes to that host. With a user
                    (smtp://joe@smtp.example.org:587) it logs in, after STARTTLS with a
                    valid certificate, with the password that stands on standard input
                    or is asked for. smtps:// (port 465) begins with TLS. With --local
                    the mail of local users stays here
  --internet        takes mail for its names from everybody, and sends to everybody
  --backup-mx LIST  takes mail for these domains, and keeps it until their own hosts
                    take it
  --relay-for LIST  with each of them: hosts of these networks may send to everybody

Files that were edited are not touched, and nothing is done, unless --force is given;
then they are kept with .before-init behind their names. db/aliases, db/users and
db/localnames are never touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			n.out, n.in = cmd.OutOrStdout(), cmd.InOrStdin()
			return n.run()
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.smartURL, "smarthost", "", "`URL` of the host that all mail goes to")
	f.StringVar(&n.passwordFile, "password-file", "", "`file` whose first line is the password for the smarthost")
	f.BoolVar(&n.local, "local", false, "with --smarthost: mail of local users stays here")
	f.BoolVar(&n.internet, "internet", false, "take mail from everybody")
	f.StringSliceVar(&n.backup, "backup-mx", nil, "`domains` whose mail is kept for their hosts")
	f.StringSliceVar(&n.relayFor, "relay-for", nil, "`networks` whose hosts may send through this one")
	f.StringVar(&n.bind, "listen", "", "with --internet, --backup-mx and --relay-for: `address` to listen on (all)")
	f.StringVar(&n.cert, "cert", "", "`file` with the certificate in PEM (one is made)")
	f.StringVar(&n.key, "key", "", "`file` with its key")
	f.StringVar(&n.hostname, "hostname", "", "`name` of this host (found out)")
	f.StringVar(&n.domain, "domain", "", "`domain` that completes addresses (/etc/mailname, or the host's name; with --smarthost its domain)")
	f.BoolVar(&n.force, "force", false, "replace edited files, and keep them as NAME.before-init")
	f.BoolVarP(&n.dry, "dry-run", "n", false, "print what would be written, and write nothing")
	return cmd
}

func (n *initiation) run() error {
	if n.smartURL != "" {
		var err error
		if n.smart, err = parseSmartHost(n.smartURL); err != nil {
			return proc.Exit(proc.Usage, "--smarthost: %w", err)
		}
	}
	if err := n.profile.check(); err != nil {
		return err
	}
	if err := n.place(); err != nil {
		return err
	}
	if err := n.findNames(); err != nil {
		return err
	}
	if err := n.findPassword(); err != nil {
		return err
	}
	if n.public() && n.cert == "" {
		n.cert, n.key = "tls/cert.pem", "tls/key.pem"
	}
	files, err := n.profile.files(n.etc, n.stock())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	files["zmailer.conf"] = n.zmailerConf()
	if n.dry {
		return n.show(files)
	}
	return n.write(files)
}

// place finds the instance: the one of ZCONFIG, or the system's. One that is not
// there is made where ZCONFIG says, if that is PREFIX/etc/zmailer/zmailer.conf.
func (n *initiation) place() error {
	path, err := filepath.Abs(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	n.etc, n.port = filepath.Dir(path), "25"
	prefix, ok := strings.CutSuffix(path, "/etc/zmailer/zmailer.conf")
	n.prefix = prefix
	if n.conf, err = shellcfg.LoadConf(path); err == nil {
		first, _, _ := strings.Cut(n.conf.SMTPListen, " ")
		if _, port, err := net.SplitHostPort(first); err == nil {
			n.port = port
		}
		n.port = cmp.Or(n.forcedPort, n.port)
		return nil
	}
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		return proc.Exit(proc.Config, "%w", err)
	case !ok:
		return proc.Exit(proc.Usage, "%s: an instance of its own is made by: zmailer install --prefix DIR", path)
	case prefix != "":
		n.port = "2525"
	}
	n.port = cmp.Or(n.forcedPort, n.port)
	return nil
}

func (n *initiation) findNames() error {
	hostname := n.hostname
	if hostname == "" && n.conf != nil {
		hostname = n.conf.Get("HOSTNAME")
	}
	if hostname == "" {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return proc.Exit(proc.OSErr, "the name of this host: %w; give --hostname", err)
		}
	}
	n.names = findNames("/", hostname)
	if n.prefix != "" {
		n.names.domain = n.names.host // the system's name for mail is not that of a test instance
	}
	if n.conf != nil && n.conf.Get("MYDOMAIN") != "" {
		n.names.domain = n.conf.MyDomain
	} else if n.smartURL != "" && n.names.domain == n.names.host {
		n.names.domain = parent(n.names.host)
	}
	if n.domain != "" {
		n.names.domain = canonical(n.domain)
	}
	if n.names.host == "" || n.names.domain == "" {
		return proc.Exit(proc.Usage, "--hostname and --domain must be names such as mail.example.org")
	}
	if n.public() && !strings.Contains(n.names.host, ".") {
		return proc.Exit(proc.Usage, "this host is called %s, without a domain: give the name that others know it by with --hostname", n.names.host)
	}
	return nil
}

func (n *initiation) findPassword() (err error) {
	if n.smart == nil || n.smart.user == "" || n.smart.password != "" {
		return nil
	}
	if n.smart.password, err = n.readPassword(); err != nil {
		return proc.Exit(proc.NoInput, "password of %s: %w", n.smart.user, err)
	}
	if n.smart.password == "" {
		return proc.Exit(proc.NoInput, "password of %s: there is none; it is read from standard input or --password-file", n.smart.user)
	}
	return nil
}

// readPassword reads a line, from a terminal without showing it.
func (n *initiation) readPassword() (string, error) {
	in := n.in
	if n.passwordFile != "" {
		f, err := os.Open(n.passwordFile)
		if err != nil {
			return "", err
		}
		defer f.Close()
		in = f
	} else if f, ok := in.(*os.File); ok {
		if old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			quiet := *old
			quiet.Lflag &^= unix.ECHO
			if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &quiet); err != nil {
				return "", err
			}
			defer unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, old)
			fmt.Fprintf(n.out, "Password of %s at %s: ", n.smart.user, n.smart.host)
		}
	}
	line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// stock are the texts of the files that come with the program.
func (n *initiation) stock() map[string]string {
	texts := make(map[string]string)
	for _, f := range append(tables[:len(tables):len(tables)], n.cfg.Stock...) {
		texts[f.Name] = f.Text
	}
	return texts
}

// zmailerConf has what differs from the defaults, and the names.
func (n *initiation) zmailerConf() string {
	var b strings.Builder
	b.WriteString("# What all programs of the mailer share: assignments, in the syntax of the shell.\n" + stamp + "\n")
	set := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, quote(value)) }
	set("CONFVERSION", strconv.Itoa(shellcfg.ConfVersion))
	if n.prefix != "" || n.conf != nil {
		p := n.options.paths()
		if n.conf != nil {
			p = paths{spool: n.conf.Postoffice, logs: n.conf.LogDir, share: n.conf.MailShare, etc: n.conf.MailVar, mailbox: n.conf.Mailbox}
		}
		system := (&options{}).paths()
		for _, v := range []struct{ name, value, usual string }{
			{"POSTOFFICE", p.spool, system.spool}, {"LOGDIR", p.logs, system.logs}, {"MAILSHARE", p.share, system.share},
			{"MAILVAR", p.etc, n.etc}, {"MAILBOX", p.mailbox, system.mailbox},
		} {
			if v.value != v.usual {
				set(v.name, v.value)
			}
		}
	}
	set("HOSTNAME", n.names.host)
	if n.names.domain != n.names.host {
		set("MYDOMAIN", n.names.domain)
	}
	if n.smart != nil {
		set("SMARTHOST", n.smart.host)
	}
	set("SMTPLISTEN", n.profile.addresses(n.port))
	b.WriteString(n.extra)
	return b.String()
}

// quote makes a word for the shell.
func quote(s string) string {
	if strings.ContainsAny(s, " []*?$&;|<>()`\"\\#~!{}") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// show prints the files that would be written, but for the secret ones.
func (n *initiation) show(files map[string]string) error {
	stock := n.stock()
	for _, name := range sortedNames(files) {
		text := files[name]
		switch {
		case name == authFile && text != "":
			fmt.Fprintf(n.out, "==> %s <== (not shown: it holds the password)\n", filepath.Join(n.etc, name))
		case text == stock[name]:
		case stock[name] != "" && strings.HasPrefix(text, stock[name]):
			fmt.Fprintf(n.out, "==> %s <== (the stock file, and)\n%s", filepath.Join(n.etc, name), strings.TrimPrefix(text, stock[name]))
		default:
			fmt.Fprintf(n.out, "==> %s <==\n%s", filepath.Join(n.etc, name), text)
		}
	}
	return nil
}

func sortedNames(files map[string]string) []string {
	list := make([]string, 0, len(files))
	for name := range files {
		list = append(list, name)
	}
	sort.Strings(list)
	return list
}
