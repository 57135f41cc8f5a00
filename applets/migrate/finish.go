package migrate

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"zmailer/applets/check"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// finish writes the result, checks it, and says what was left out.
func (r *result) finish(ctx context.Context, out io.Writer, dir string) error {
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
	if f := check.Instance(ctx, conf); f.Errors > 0 {
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
