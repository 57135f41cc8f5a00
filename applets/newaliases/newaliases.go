// Package newaliases builds the alias table: the file db/aliases that people
// write becomes db/aliases.cdb, which the router asks.
//
// The new table takes the place of the old one when it is complete and on disk,
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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/relations"
	"zmailer/spool/proc"
)

// Suffix is what the name of a built table has behind the name of its source.
const Suffix = ".cdb"

// tables are the alias files of an instance that are built without being named:
// that of local names, and that of whole addresses if there is one.
var tables = []string{"db/aliases", "db/fqdnaliases"}

// Command returns the newaliases command.
func Command() *cobra.Command {
	var silent bool
	cmd := &cobra.Command{
		Use:   "newaliases [-s] [FILE...]",
		Short: "Build the alias table",
		Long: `newaliases builds FILE.cdb from FILE, an alias file in Sendmail's format. Without
FILE it builds db/aliases in the configuration directory, and db/fqdnaliases if it
is there. The table in use is replaced when the new one is complete; if any line
is wrong it stays, and the status is 65.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			syscall.Umask(0o022) // the router reads the table with another uid
			files, err := sources(args)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if silent {
				out = io.Discard
			}
			for _, file := range files {
				if err := Build(cmd.Context(), file, out, cmd.ErrOrStderr()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&silent, "silent", "s", false, "do not print how many aliases there are")
	return cmd
}

func sources(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	files := []string{conf.Path(tables[0])}
	for _, name := range tables[1:] {
		path := conf.Path(name)
		if _, err := os.Stat(path); err == nil {
			files = append(files, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, proc.Exit(proc.NoInput, "%w", err)
		}
	}
	return files, nil
}

// Build builds the table of one alias file and prints its size to out, and to
// progress how far it is when it takes long.
func Build(ctx context.Context, file string, out, progress io.Writer) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	m := &meter{w: progress, file: file, next: time.Now().Add(time.Second)}
	st, err := relations.BuildAliases([]string{file}, file+Suffix, m.show)
	if err != nil {
		return status(err, file+Suffix)
	}
	if err := ctx.Err(); err != nil {
		return proc.Exit(proc.TempFail, "%w", err)
	}
	_, err = fmt.Fprintf(out, "%s: %d aliases, longest %d bytes, %d bytes total\n", file, st.Entries, st.Longest, st.Bytes)
	if err != nil {
		return proc.Exit(proc.IOErr, "%w", err)
	}
	return nil
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

// A meter says once a second how far a build is.
type meter struct {
	w    io.Writer
	file string
	next time.Time
}

func (m *meter) show(done, total int64) {
	now := time.Now()
	if now.Before(m.next) || total == 0 {
		return
	}
	m.next = now.Add(time.Second)
	// Whether it can be read does not decide about the table.
	_, _ = fmt.Fprintf(m.w, "%s: %d%%\n", m.file, done*100/total)
}
