package migrate

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"zmailer/applets/check"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// Command returns "zmailer import". stock are the files that come with the program.
func Command(stock map[string]string) *cobra.Command {
	root := &cobra.Command{
		Use:   "import",
		Short: "Read the configuration of another mailer",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return proc.Exit(proc.Usage, "import what? postfix")
		},
	}
	root.AddCommand(postfixCommand(stock))
	return root
}

func postfixCommand(stock map[string]string) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "postfix [--from DIR] DIR",
		Short: "Read main.cf, master.cf and their tables",
		Long: `Read main.cf, master.cf and the tables they name, and write our configuration into
DIR, which must not be there. Each line says where it comes from. What was not
carried over is printed, and the status is 1 if there is anything of the kind.

Try the result without installing it:

  zmailer --zconfig DIR/zmailer.conf check
  zmailer --zconfig DIR/zmailer.conf explain ADDRESS

and then copy it over /etc/zmailer.`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&from, "from", "/etc/postfix", "`directory` of main.cf")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		hostname, err := os.Hostname()
		if err != nil {
			return proc.Exit(proc.OSErr, "%w", err)
		}
		r, err := importPostfix(from, hostname, stock)
		if err != nil {
			return proc.Exit(proc.NoInput, "%w", err)
		}
		return r.finish(cmd, args[0])
	}
	return cmd
}

// finish writes the result, checks it, and says what was left out.
func (r *result) finish(cmd *cobra.Command, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	if err := r.write(dir, filepath.Dir(shellcfg.ConfPath())); err != nil {
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	out := cmd.OutOrStdout()
	if f := check.Instance(cmd.Context(), conf); f.Errors > 0 {
		fmt.Fprintf(out, "The result has errors: zmailer --zconfig %s check\n", conf.File)
	}
	print := func(title string, list []string) {
		if len(list) > 0 {
			fmt.Fprintf(out, "%s\n", title)
		}
		for _, line := range list {
			fmt.Fprintf(out, "  %s\n", line)
		}
	}
	print("Carried over, and different in something:", r.notes)
	print("Not carried over:", r.skipped)
	fmt.Fprintf(out, "\nWritten to %s. Next: zmailer --zconfig %s explain ADDRESS\n", dir, conf.File)
	if len(r.skipped) > 0 {
		return proc.Silent(1)
	}
	return nil
}
