// Package newaliases builds tables: the files that people write, such as
// db/aliases, become constant databases beside them, db/aliases.cdb, which the
// router asks. newaliases builds the alias files, newdb every table.
//
// Which tables there are, and how their files are read, is what the policy
// declares; builder and router cannot differ about it.
//
// A new table takes the place of the old one when it is complete and on disk,
// and only if every line was good; else the old one stays in use and the errors
// name their lines. The router needs no signal: it sees a new table within
// seconds, and a table that is older than its source is not used but the source.
package newaliases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/relations"
	"zmailer/spool/proc"
)

// Suffix is what the name of a built table has behind the name of its source.
const Suffix = ".cdb"

// Command returns the newaliases command.
func Command() *cobra.Command {
	var b builder
	cmd := &cobra.Command{
		Use:   "newaliases [-s | -v] [FILE...]",
		Short: "Build the alias table",
		Long: `newaliases builds FILE.cdb from FILE, an alias file in Sendmail's format. Without
FILE it builds those that the policy declares: db/aliases in the configuration
directory, and db/aliases.private and db/fqdnaliases if they are there. A table in
use is replaced when the new one is complete; if any line is wrong it stays, and
the status is 65.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.connect(cmd)
			if len(args) > 0 {
				return b.all(cmd.Context(), aliasFiles(args))
			}
			return b.declared(cmd.Context(), func(t policy.Build) bool { return t.Spec.Type == "aliases" })
		},
	}
	b.flags(cmd)
	return cmd
}

// NewdbCommand returns the newdb command.
func NewdbCommand() *cobra.Command {
	var b builder
	cmd := &cobra.Command{
		Use:   "newdb [-s | -v] [TABLE...]",
		Short: "Build all tables",
		Long: `newdb builds the tables that the policy declares and that have a file: db/aliases,
db/virtual, db/routes and so on, or those named. Each table in use is replaced when
the new one is complete; if any line of its file is wrong it stays, the others are
built, and the status is 65.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			b.connect(cmd)
			missing := slices.Clone(args)
			err := b.declared(cmd.Context(), func(t policy.Build) bool {
				missing = slices.DeleteFunc(missing, func(name string) bool { return name == t.Spec.Name })
				return len(args) == 0 || slices.Contains(args, t.Spec.Name)
			})
			if err == nil && len(missing) > 0 {
				return proc.Exit(proc.NoInput, "%s: the policy declares no table of this name that has a file", missing[0])
			}
			return err
		},
	}
	b.flags(cmd)
	return cmd
}

// A builder builds tables and tells about it.
type builder struct {
	silent, verbose bool
	out, err        io.Writer
}

func (b *builder) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&b.silent, "silent", "s", false, "do not print how many entries there are")
	cmd.Flags().BoolVarP(&b.verbose, "verbose", "v", false, "tell how far it is also where no terminal is, and how long it took")
	cmd.MarkFlagsMutuallyExclusive("silent", "verbose")
}

func (b *builder) connect(cmd *cobra.Command) {
	b.out, b.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
	if b.silent {
		b.out = io.Discard
	}
}

func aliasFiles(files []string) []policy.Build {
	list := make([]policy.Build, len(files))
	for i, file := range files {
		list[i] = policy.Build{Spec: relations.Spec{Type: "aliases", File: file}, Target: file + Suffix}
	}
	return list
}

// declared builds the tables of the policy that are wanted.
func (b *builder) declared(ctx context.Context, wanted func(policy.Build) bool) error {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	p, err := policy.Load(ctx, policy.Config{Conf: conf})
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	list, err := b.distinct(p.Builds(), wanted)
	if err := errors.Join(err, p.Close()); err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	if len(list) == 0 {
		return proc.Exit(proc.NoInput, "there is no file to build a table from below %s", conf.Path("db"))
	}
	return b.all(ctx, list)
}

// distinct are those that are wanted, without files that are declared twice. One that two tables read in
// different ways cannot be built for both; it is asked as it stands.
func (b *builder) distinct(list []policy.Build, wanted func(policy.Build) bool) (out []policy.Build, err error) {
	for i, t := range list {
		first := slices.IndexFunc(list, func(o policy.Build) bool { return o.Target == t.Target })
		if first < i || !wanted(t) {
			continue
		}
		other := slices.IndexFunc(list, func(o policy.Build) bool { return o.Target == t.Target && !sameForm(o.Spec, t.Spec) })
		if other < 0 {
			out = append(out, t)
			continue
		}
		_, e := fmt.Fprintf(b.out, "%s: not built, as %s and %s read it in different ways\n", t.Spec.File, t.Spec.Name, list[other].Spec.Name)
		err = errors.Join(err, e)
	}
	return out, err
}

func sameForm(a, b relations.Spec) bool {
	return a.Type == b.Type && a.Driver == b.Driver && a.Lower == b.Lower && a.Upper == b.Upper
}

// all builds every table that it can. The status is that of the first failure.
func (b *builder) all(ctx context.Context, list []policy.Build) error {
	var failures []error
	for _, t := range list {
		if err := ctx.Err(); err != nil {
			return proc.Exit(proc.TempFail, "%w", err)
		}
		if err := b.build(t); err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) == 0 {
		return nil
	}
	return proc.Exit(proc.Code(failures[0]), "%w", errors.Join(failures...))
}

// build builds one table and prints its size, and how far it is when it takes long.
func (b *builder) build(t policy.Build) error {
	begun := time.Now()
	file, err := filepath.Abs(t.Spec.File)
	if err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	restrict(file)
	m := newMeter(b.err, file, b.verbose)
	var st relations.BuildStats
	what := "entries"
	if t.Spec.Type == "aliases" {
		what = "aliases"
		st, err = relations.BuildAliases([]string{file}, t.Target, m.show)
	} else {
		st, err = relations.BuildText([]string{file}, t.Target, t.Spec, m.show)
	}
	m.end()
	if err != nil {
		return status(err, t.Target)
	}
	took := ""
	if b.verbose {
		took = fmt.Sprintf(", in %v", time.Since(begun).Round(time.Millisecond))
	}
	_, err = fmt.Fprintf(b.out, "%s: %d %s, longest %d bytes, %d bytes total%s\n", file, st.Entries, what, st.Longest, st.Bytes, took)
	if err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	return nil
}

// restrict makes the new table readable for those who may read its source, and for
// no others: db/aliases.private is one not to be read by everybody. The router reads
// the others with another uid.
func restrict(file string) {
	mask := 0o077
	if st, err := os.Stat(file); err == nil {
		mask = 0o022 | int(^st.Mode().Perm()&0o044)
	}
	syscall.Umask(mask)
}

// status finds the exit status of a table that was not built.
func status(err error, dst string) error {
	code := proc.DataErr
	var path *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = proc.NoInput
	case errors.Is(err, fs.ErrPermission):
		code = proc.NoPerm
	case errors.As(err, &path):
		code = proc.IOErr
	}
	if _, e := os.Stat(dst); e == nil {
		return proc.Exit(code, "%w\n%s stays as it was", err, dst)
	}
	return proc.Exit(code, "%w\n%s was not made", err, dst)
}
