// Package policydiff is zmailer diff: what another configuration would do with
// mail. It routes every address of a list by two configurations, with the code of
// the router, and groups what differs.
package policydiff

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// defaultShow is how many addresses of a group are printed.
const defaultShow = 10

type options struct {
	addresses  string
	queue, log bool
	asJSON     bool
	show       int
}

// Command is zmailer diff.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "diff [--json] (--addresses FILE | --queue | --log) OLD NEW",
		Short: "Say which addresses another configuration would route elsewhere",
		Long: `diff routes addresses by two configurations and prints what would change, grouped by
what becomes of them, with counts.

OLD and NEW are each a zmailer.conf, a directory with one, or a directory with a router.cf,
cf/ and db/ that takes the place of this instance's. "." with no zmailer.conf in it is such
a directory too; "-" is this instance as it is.

The addresses are those of a file, one a line (- is standard input), the recipients of
all messages in the queue, or those that the router's log names.

Status 0: nothing would change; 1: something would.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd, o, args[0], args[1]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.addresses, "addresses", "", "file of addresses, one a line")
	f.BoolVar(&o.queue, "queue", false, "the recipients of all messages in the queue")
	f.BoolVar(&o.log, "log", false, "the recipients in the router's log")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	f.IntVar(&o.show, "show", defaultShow, "addresses printed for each group")
	cmd.MarkFlagsMutuallyExclusive("addresses", "queue", "log")
	cmd.MarkFlagsOneRequired("addresses", "queue", "log")
	return cmd
}

func run(cmd *cobra.Command, o options, oldName, newName string) error {
	here, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	var l list
	if err := l.read(o, here, cmd.InOrStdin()); err != nil {
		return proc.Exit(proc.NoInput, "%w", err)
	}
	r, err := compareConfigs(cmd.Context(), here, oldName, newName, l.addrs)
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if err := r.print(cmd.OutOrStdout(), o); err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	if r.Changed > 0 {
		return proc.Silent(1)
	}
	return nil
}

func (l *list) read(o options, here *shellcfg.Conf, stdin io.Reader) error {
	switch {
	case o.queue:
		return l.fromQueue(here)
	case o.log:
		return fromFile(here.LogPath("router"), stdin, l.fromLog)
	}
	return fromFile(o.addresses, stdin, l.fromLines)
}

func compareConfigs(ctx context.Context, here *shellcfg.Conf, oldName, newName string, addrs []string) (r *Report, err error) {
	var both [2]*policy.Policy
	for i, name := range []string{oldName, newName} {
		if both[i], err = load(ctx, here, name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer func() { err = errors.Join(err, both[i].Close()) }()
	}
	return compare(ctx, both[0], both[1], addrs)
}

func load(ctx context.Context, here *shellcfg.Conf, name string) (*policy.Policy, error) {
	conf, err := find(here, name)
	if err != nil {
		return nil, err
	}
	return policy.Load(ctx, policy.Config{Conf: conf})
}

// find loads the configuration that a word of the command line names.
func find(here *shellcfg.Conf, name string) (*shellcfg.Conf, error) {
	if name == "-" {
		return here, nil
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return shellcfg.LoadConf(path)
	}
	if _, err := os.Stat(filepath.Join(path, "zmailer.conf")); err == nil {
		return shellcfg.LoadConf(filepath.Join(path, "zmailer.conf"))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(path, "router.cf")); err != nil {
		return nil, fmt.Errorf("%s has neither zmailer.conf nor router.cf", name)
	}
	conf, err := shellcfg.LoadConf(here.File)
	if err != nil {
		return nil, err
	}
	conf.MailVar = path
	return conf, nil
}

func (r *Report) print(out io.Writer, o options) error {
	if o.asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "%d addresses, %d would change\n", r.Addresses, r.Changed)
	for _, g := range r.Groups {
		fmt.Fprintf(w, "\n%d: %s -> %s\n", g.Count, oneLine(g.Old), oneLine(g.New))
		for i, c := range g.Addresses {
			if i == o.show {
				fmt.Fprintf(w, "\tand %d more\n", g.Count-i)
				break
			}
			fmt.Fprintf(w, "\t%s\n", oneLine(c.Address))
			writeAll(w, "-", c.Old)
			writeAll(w, "+", c.New)
		}
	}
	return w.Flush()
}

func writeAll(w *bufio.Writer, mark string, decisions []string) {
	if len(decisions) == 0 {
		decisions = []string{"nobody"}
	}
	for _, d := range decisions {
		fmt.Fprintf(w, "\t\t%s %s\n", mark, oneLine(d))
	}
}

func oneLine(s string) string { return rfc5322.OneLine(strings.ToValidUTF8(s, "?"), 1000) }
