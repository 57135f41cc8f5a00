// Package applets dispatches to the programs of the mailer by the name that the
// binary is called with. Table is the only list of them.
package applets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"zmailer/spool/proc"
)

// Main runs the program that args[0], or else args[1], names, and returns its
// exit status.
func Main(args []string) int {
	if len(args) == 0 {
		return proc.Usage
	}
	name, rest := filepath.Base(args[0]), args[1:]
	name = strings.TrimPrefix(name, "-") // a login shell's way of calling
	rest, err := zconfig(rest)
	if err != nil {
		return fail(name, err)
	}
	if name != "zmailer" {
		if row := lookup(name); row != nil {
			return run(row, name, rest)
		}
	} else if row := applet(rest); row != nil {
		return run(row, "zmailer "+row.Name, rest[1:])
	}
	return runCommand(root(), "zmailer", rest)
}

// zconfig takes --zconfig FILE off the front and makes it ZCONFIG for this
// process and its children.
func zconfig(args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	file, joined := strings.CutPrefix(args[0], "--zconfig=")
	switch {
	case joined:
		args = args[1:]
	case args[0] != "--zconfig":
		return args, nil
	case len(args) == 1:
		return nil, proc.Exit(proc.Usage, "--zconfig needs the path of a zmailer.conf")
	default:
		file, args = args[1], args[2:]
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, proc.Exit(proc.Config, "--zconfig: %w", err)
	}
	return args, os.Setenv("ZCONFIG", path)
}

// applet returns the row for "zmailer NAME ARGS". The name of a daemon alone is
// left to the control command, which starts it in the background.
func applet(args []string) *Applet {
	if len(args) == 0 {
		return nil
	}
	row := lookup(args[0])
	if row != nil && (row.Hidden || row.Class == Daemon && len(args) == 1) {
		return nil
	}
	return row
}

func lookup(name string) *Applet {
	for _, r := range Table() {
		row := &r
		if row.Name == name {
			return row
		}
		for _, alias := range row.Aliases {
			if alias == name {
				return row
			}
		}
	}
	return nil
}

func run(row *Applet, name string, args []string) int {
	if raised() && !row.Submit {
		return fail(name, proc.Exit(proc.NoPerm, "does not run with the rights of another user (remove the set-id bit)"))
	}
	if row.Class == Daemon {
		proc.Hangups()
	}
	if row.Collect != 0 {
		debug.SetGCPercent(row.Collect)
	}
	cmd := row.Command()
	switch {
	case strings.HasPrefix(name, "zmailer "): // help has the words that were typed
		cmd.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: name}
	case name != row.Name:
		cmd.Use = name + strings.TrimPrefix(cmd.Use, row.Name)
	}
	if len(args) > 0 && strings.HasPrefix(args[0], cobra.ShellCompRequestCmd) {
		complete(cmd)
	}
	return runCommand(cmd, name, args)
}

// raised says that the process has rights its caller has not.
func raised() bool {
	return os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
}

func runCommand(cmd *cobra.Command, name string, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.CompletionOptions.DisableDefaultCmd = true // there is our own
	for _, c := range append(cmd.Commands(), cmd) {
		c.DisableFlagsInUseLine = true // Use has them
	}
	cmd.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return proc.Exit(proc.Usage, "%w\nTry '%s --help'.", err, c.CommandPath())
	})
	err := execute(ctx, cmd, args)
	switch {
	case err == nil:
	case strings.HasPrefix(err.Error(), "unknown command"):
		err = proc.Exit(proc.Usage, "%w\nTry 'zmailer help'.", err)
	case strings.Contains(err.Error(), " arg(s)") || strings.Contains(err.Error(), " flags in the group"): // cobra's words
		err = proc.Exit(proc.Usage, "%w\nUsage: %s", err, called(cmd, args).UseLine())
	}
	if err != nil {
		return fail(name, err)
	}
	return proc.OK
}

// called is the command that the words name.
func called(cmd *cobra.Command, args []string) *cobra.Command {
	if sub, _, err := cmd.Find(args); err == nil && sub != nil {
		return sub
	}
	return cmd
}

// execute runs the command. One that reads its words itself gets all of them: cobra
// would take "completion" and "__complete" for commands of its own, which are
// recipients to sendmail.
func execute(ctx context.Context, cmd *cobra.Command, args []string) error {
	if !cmd.DisableFlagParsing {
		return cmd.ExecuteContext(ctx)
	}
	cmd.SetContext(ctx)
	return cmd.RunE(cmd, args)
}

func fail(name string, err error) int {
	var exit *proc.ExitError
	if !errors.As(err, &exit) || exit.Err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	return proc.Code(err)
}
