package sendmail

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// Command returns the sendmail command. Called as hoststat, purgestat or smtpd
// it does what these did: -bh, -bH, -bd.
func Command() *cobra.Command {
	return &cobra.Command{
		Use:                "sendmail [OPTION...] [--] [ADDRESS...]",
		Short:              "Send a message read from standard input",
		Long:               help,
		DisableFlagParsing: true,
		Args:               cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if slices.Equal(args, []string{"--help"}) {
				return cmd.Help()
			}
			return run(cmd, args)
		},
	}
}

func run(cmd *cobra.Command, args []string) error {
	shield()
	o, err := parseOptions(args)
	if err != nil {
		return o.tell(err)
	}
	o.named(cmd.Name())
	if err := o.checkFiles(); err != nil {
		return o.tell(err)
	}
	o.environment(os.Getenv)
	return o.tell(o.do(cmd))
}

// named sets the mode that the name of the program stands for.
func (o *options) named(name string) {
	switch name {
	case "hoststat":
		o.mode = 'h'
	case "purgestat":
		o.mode = 'H'
	case "smtpd":
		o.mode = 'd'
	}
}

// shield makes the process independent of what its caller left it. The spool's
// files must be readable for their owner whatever the umask; a broken pipe or a
// file size limit is an error to be told, not the death of the process.
func shield() {
	syscall.Umask(0o077)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGXFSZ)
}

// checkFiles refuses files that options name, unless the caller may name any.
func (o *options) checkFiles() error {
	for opt, path := range map[string]string{"-C": o.config, "-oQ": o.spoolDir, "-oA": o.aliasFile} {
		if path == "" {
			continue
		}
		if !trusted() {
			return proc.Exit(proc.NoPerm, "option %s %.60q: only root and the owner of the configuration may name files", opt, path)
		}
		if !filepath.IsAbs(path) {
			return proc.Exit(proc.Usage, "option %s %.60q: want an absolute path", opt, path)
		}
	}
	return nil
}

// trusted says that the caller is root or owns the instance he works with.
func trusted() bool {
	uid := os.Getuid()
	if uid != os.Geteuid() {
		return false
	}
	if uid == 0 {
		return true
	}
	st, err := os.Stat(shellcfg.ConfPath())
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == uid
}

// tell says what went wrong in the way that -oe asks for.
func (o *options) tell(err error) error {
	if err == nil {
		return nil
	}
	switch o.errors {
	case 'q':
		return proc.Silent(proc.Code(err))
	case 'w':
		if tty, e := os.OpenFile("/dev/tty", os.O_WRONLY|syscall.O_NOCTTY, 0); e == nil {
			_, e = fmt.Fprintf(tty, "sendmail: %v\r\n", err)
			if e == nil && tty.Close() == nil {
				return proc.Silent(proc.Code(err))
			}
		}
	}
	return err
}
