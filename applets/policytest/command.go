package policytest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/cf"
	"zmailer/spool/proc"
)

// Command is zmailer test.
func Command() *cobra.Command {
	var stock, cover bool
	cmd := &cobra.Command{
		Use:   "test [--stock] [--coverage] [FILE...]",
		Short: "Run tests of the policy",
		Long: `test runs test files against the policy of router.cf: those in the directory tests
beside it, or the ones named. A test file is shell:

  isolate
  user joe
  entry aliases sales 'joe, ann@example.net'
  expect sales deliver local joe joe@example.org -- deliver smtp example.net ann@example.net
  failing aliases
  expect sales defer

With --stock the stock policy is tested with its own tests. Status 0: all
expectations were met; 1: some were not.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			r, err := run(cmd.Context(), out, stock, args)
			if err != nil {
				return err
			}
			if cover {
				if err := r.cover.print(out); err != nil {
					return proc.Exit(proc.IOErr, "%w", err)
				}
			}
			if _, err := fmt.Fprintf(out, "%d passed, %d failed\n", r.Passed, r.Failed); err != nil {
				return proc.Exit(proc.IOErr, "%w", err)
			}
			if r.Failed > 0 {
				return proc.Silent(1)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&stock, "stock", false, "test the stock policy")
	f.BoolVar(&cover, "coverage", false, "print which lines of the policy did not run")
	return cmd
}

func run(ctx context.Context, out io.Writer, stock bool, files []string) (*Runner, error) {
	if stock {
		r := &Runner{Out: out}
		return r, Stock(ctx, r)
	}
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	if len(files) == 0 {
		if files, err = testFiles(conf); err != nil || len(files) == 0 {
			return nil, proc.Exit(proc.NoInput, "there are no tests: no file is %s", conf.Path(testPattern))
		}
	}
	r := &Runner{Conf: conf, Out: out}
	return r, r.files(ctx, files)
}

// testPattern matches the tests of an instance, beside its configuration.
const testPattern = "tests/*.test"

func testFiles(conf *shellcfg.Conf) ([]string, error) { return filepath.Glob(conf.Path(testPattern)) }

// Instance runs the tests of an instance. An instance without tests passes.
func Instance(ctx context.Context, conf *shellcfg.Conf, out io.Writer) (*Runner, error) {
	r := &Runner{Conf: conf, Out: out}
	files, err := testFiles(conf)
	if err != nil {
		return nil, err
	}
	return r, r.files(ctx, files)
}

func (r *Runner) files(ctx context.Context, names []string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return proc.Exit(proc.NoInput, "%w", err)
		}
		err = r.Run(ctx, name, f)
		f.Close() // read only
		if err != nil {
			return proc.Exit(proc.DataErr, "%w", err)
		}
	}
	return nil
}

// Stock runs the stock policy's own tests, in an instance of their own.
func Stock(ctx context.Context, r *Runner) (err error) {
	dir, err := os.MkdirTemp("", "zmailer-stock-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := stockInstance(dir); err != nil {
		return err
	}
	if r.Conf, err = shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf")); err != nil {
		return err
	}
	names, err := fs.Glob(cf.Tests, "tests/*.test")
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := cf.Tests.Open(name)
		if err != nil {
			return err
		}
		err = r.Run(ctx, "cf/"+name, f)
		f.Close() // in memory
		if err != nil {
			return proc.Exit(proc.Software, "%w", err)
		}
	}
	return nil
}

// stockInstance makes what the stock policy looks at besides its tables.
func stockInstance(dir string) error {
	for _, sub := range []string{"db", "lists"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"zmailer.conf": "POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nDEFAULTUSER=joe\n",
		"db/aliases":   "",
		"lists/mylist": "joe\nzoe@far.example\n",
		"lists/empty":  "# nobody\n",
		"included":     "# a comment\njoe\nxavier@far.example\n",
		"itself":       "joe, :include:" + dir + "/itself\n",
		"anybodys":     "joe, |/bin/prog, /tmp/file, :include:" + dir + "/included\n",
		"nothing":      "# nobody\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "anybodys"), 0o666); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}
