// Package setup installs the mailer and tries an installation out: what
// install.sh does once it has built the binary.
package setup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/spool"
	"zmailer/spool/proc"
)

// Config is what the table of programs brings to the installer.
type Config struct {
	Links []string // of the programs, below the prefix
	Stock []Stock  // configuration files, beside zmailer.conf and the tables

	// Completions makes the files that have shells complete arguments, below the prefix.
	Completions func() ([]Stock, error)
}

type options struct {
	prefix   string // empty: a system installation
	port     int
	hostname string
	source   string // the source tree, for manual pages
	config   bool   // no programs: a package has brought them
	domain   string // MYDOMAIN, where it is not HOSTNAME
	cfg      Config
	out      io.Writer
}

// InstallCommand returns "zmailer install".
func InstallCommand(cfg Config) *cobra.Command {
	o := &options{cfg: cfg}
	cmd := &cobra.Command{
		Use:   "install [--prefix DIR] [--port N]",
		Short: "Install this binary with its links, directories and stock configuration",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.OutOrStdout()
			return o.install()
		},
	}
	cmd.Flags().StringVar(&o.prefix, "prefix", "", "install below this directory, with an instance of its own; without it on the system")
	cmd.Flags().IntVar(&o.port, "port", 0, "SMTP port (default 25 on a system, 2525 below a prefix)")
	cmd.Flags().StringVar(&o.hostname, "hostname", "", "HOSTNAME of the instance (default: the system's name)")
	cmd.Flags().StringVar(&o.source, "source", "", "source tree to take the manual pages from")
	cmd.Flags().BoolVar(&o.config, "config", false, "directories and stock configuration only: for packages, which bring the programs")
	return cmd
}

type paths struct{ root, etc, spool, logs, share, mail, mailbox string }

func (o *options) paths() paths {
	if o.prefix == "" {
		return paths{
			root: "/usr", etc: "/etc/zmailer", spool: "/var/spool/postoffice", logs: "/var/log/zmailer",
			share: "/usr/share/zmailer", mail: "/var/mail", mailbox: "mbox:/var/mail/%u",
		}
	}
	in := func(p string) string { return filepath.Join(o.prefix, p) }
	return paths{
		root: o.prefix, etc: in("etc/zmailer"), spool: in("var/spool/postoffice"), logs: in("var/log/zmailer"),
		share: in("share/zmailer"), mail: in("var/mail"), mailbox: "mbox:" + in("var/mail/%u"),
	}
}

// listen is the stock SMTPLISTEN: the loopback, until an administrator opens the
// host to the world.
func (o *options) listen() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))
}

func (o *options) check() error {
	if o.prefix == "" {
		if os.Geteuid() != 0 {
			return proc.Exit(proc.NoPerm, "a system installation needs root; use --prefix DIR for one of your own")
		}
	} else if !filepath.IsAbs(o.prefix) || filepath.Clean(o.prefix) == "/" {
		return proc.Exit(proc.Usage, "--prefix %s: want the absolute path of a directory of its own", o.prefix)
	}
	switch {
	case o.port == 0 && o.prefix == "":
		o.port = 25
	case o.port == 0:
		o.port = 2525
	case o.port < 0 || o.port > 65535:
		return proc.Exit(proc.Usage, "--port %d: want 1 to 65535", o.port)
	}
	return nil
}

func (o *options) install() error {
	if err := o.check(); err != nil {
		return err
	}
	type step struct {
		what string
		do   func() error
	}
	steps := []step{{"directories", o.directories}}
	if !o.config {
		steps = append(steps, step{"binary", o.binary}, step{"links", o.links}, step{"manual pages", o.manuals}, step{"completions", o.completions})
	}
	for _, s := range append(steps, step{"configuration", o.configuration}) {
		if err := s.do(); err != nil {
			return proc.Exit(proc.CantCreat, "%s: %w", s.what, err)
		}
	}
	return nil
}

func (o *options) directories() error {
	p := o.paths()
	for _, dir := range []string{p.etc, filepath.Join(p.etc, "db"), filepath.Join(p.etc, "cf"), p.logs, p.share, p.mail} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	// An instance of root's has an SMTP server that becomes another user, and agents that
	// become the users to whom they deliver, wherever it stands.
	if err := spool.Create(p.spool, os.Geteuid() == 0); err != nil {
		return err
	}
	if o.prefix == "" {
		return o.account(p)
	}
	return nil
}

// account makes the user that the SMTP server becomes, and gives it what it writes.
func (o *options) account(p paths) error {
	u, err := user.Lookup("zmailer")
	if err != nil {
		path, missing := exec.LookPath("useradd")
		if missing != nil {
			fmt.Fprintln(o.out, "There is no user zmailer, and no useradd to make one: the SMTP server will run as root.")
			return nil
		}
		if out, err := exec.Command(path, "--system", "--user-group", "--no-create-home", "--home-dir", p.spool, "--shell", "/usr/sbin/nologin", "zmailer").CombinedOutput(); err != nil {
			return fmt.Errorf("useradd: %w: %s", err, out)
		}
		if u, err = user.Lookup("zmailer"); err != nil {
			return err
		}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if err := errors.Join(errUID, errGID); err != nil {
		return err
	}
	return o.handOver(p, uid, gid)
}

// handOver gives the SMTP server what it writes when it is not root any more: the
// directories of its own and its log. The directories in which root writes stay root's, so that
// a server in the wrong hands cannot lead root astray with a link.
func (o *options) handOver(p paths, uid, gid int) error {
	for _, d := range spool.Dirs {
		if !d.Server {
			continue
		}
		if err := os.Chown(filepath.Join(p.spool, d.Name), uid, gid); err != nil {
			return err
		}
	}
	for _, dir := range []string{filepath.Join(p.spool, spool.RunDir), p.logs} {
		if err := os.Chown(dir, 0, 0); err != nil {
			return err
		}
	}
	// A service manager may start it as this user.
	pid, err := os.OpenFile(filepath.Join(p.spool, spool.RunDir, "smtpserver.pid"), os.O_WRONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(pid.Chown(uid, gid), pid.Close()); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.logs, "smtpserver"), os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	return errors.Join(log.Chown(uid, gid), log.Close())
}

func (o *options) binary() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	to := filepath.Join(o.paths().root, "bin/zmailer")
	if exe == to {
		return nil
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%-40s %d MB\n", to, len(b)>>20)
	return writeFile(to, b, 0o755)
}

// links makes a symbolic link for each program. A real program of another mailer
// is never overwritten: it is kept as NAME.before-zmailer.
func (o *options) links() error {
	root := o.paths().root
	for _, name := range o.cfg.Links {
		path := filepath.Join(root, name)
		target, err := filepath.Rel(filepath.Dir(path), filepath.Join(root, "bin/zmailer"))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if have, err := os.Readlink(path); err == nil && have == target {
			continue
		}
		if _, err := os.Lstat(path); err == nil {
			saved := path + ".before-zmailer"
			if _, err := os.Lstat(saved); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is in the way and %s exists already: move one of them", path, saved)
			}
			if err := os.Rename(path, saved); err != nil {
				return err
			}
			fmt.Fprintf(o.out, "%-40s kept as %s\n", path, saved)
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%-40s -> %s\n", path, target)
	}
	return nil
}

func (o *options) manuals() error {
	if o.source == "" {
		return nil
	}
	pages, err := filepath.Glob(filepath.Join(o.source, "packaging/man/*.[1-9]"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		dir := filepath.Join(o.paths().root, "share/man/man"+filepath.Ext(page)[1:])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, filepath.Base(page)), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// completions has shells complete the arguments of the programs.
func (o *options) completions() error {
	if o.cfg.Completions == nil {
		return nil
	}
	files, err := o.cfg.Completions()
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(o.paths().root, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := writeFile(path, []byte(f.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) configuration() error {
	etc := o.paths().etc
	have, err := readSums(etc, sumsFile)
	if err != nil {
		return err
	}
	if o.prefix == "" {
		if err := o.shareAliases(etc); err != nil {
			return err
		}
		if err := o.systemNames(); err != nil {
			return err
		}
	}
	stock := append([]Stock{{"zmailer.conf", o.conf()}}, tables...)
	for _, f := range append(stock, o.cfg.Stock...) {
		if st, err := os.Lstat(filepath.Join(etc, f.Name)); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			continue // what it leads to belongs to somebody else
		}
		what, err := have.place(etc, f.Name, []byte(f.Text))
		if err != nil {
			return err
		}
		fmt.Fprintf(o.out, "%-40s %s\n", filepath.Join(etc, f.Name), what)
	}
	return have.write(etc, sumsFile)
}

// systemNames finds the names that zmailer.conf gets on a system.
func (o *options) systemNames() error {
	hostname := o.hostname
	if hostname == "" {
		var err error
		if hostname, err = os.Hostname(); err != nil {
			return err
		}
	}
	n := findNames("/", hostname)
	if o.hostname = n.host; n.domain != n.host {
		o.domain = n.domain
	}
	return nil
}

// systemAliases is the alias file that all mailers of a system share.
const systemAliases = "/etc/aliases"

// shareAliases makes db/aliases a link to the system's file, so that other
// packages, and the mailer that comes after this one, find the aliases where they
// look for them. A db/aliases that is there stays.
func (o *options) shareAliases(etc string) error {
	link := filepath.Join(etc, "db/aliases")
	if _, err := os.Lstat(link); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(systemAliases); errors.Is(err, fs.ErrNotExist) {
		for _, f := range tables {
			if f.Name == "db/aliases" {
				if err := writeFile(systemAliases, []byte(f.Text), 0o644); err != nil {
					return err
				}
			}
		}
	} else if err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%-40s -> %s\n", link, systemAliases)
	return os.Symlink(systemAliases, link)
}
