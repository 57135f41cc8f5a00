// Package upgrade is zmailer upgrade-check: what it means to run this program on an
// instance whose files an earlier one has written, and whose daemons may still be that
// one. It is to be run with the new program before the daemons are started again, and
// changes nothing.
package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// checkTime bounds the whole check.
const checkTime = 30 * time.Minute

// A Level says what a finding means for the upgrade.
type Level string

// The levels.
const (
	Fine Level = "ok"
	Note Level = "note" // something to do or to know
	Stop Level = "stop" // this program must not be started here
)

// A Finding is what was found about one thing.
type Finding struct {
	Level Level  `json:"level"`
	About string `json:"about"`
	Text  string `json:"text"`
}

type checker struct {
	conf      *shellcfg.Conf
	spool     *spool.Spool
	self      string // path of this program
	old       string // path of the program that runs, if it is another one
	addresses string
	findings  []Finding
}

func (c *checker) say(level Level, about, format string, args ...any) {
	c.findings = append(c.findings, Finding{level, about, rfc5322.OneLine(fmt.Sprintf(format, args...), 1000)})
}

// Command is zmailer upgrade-check.
func Command() *cobra.Command {
	var asJSON bool
	c := new(checker)
	cmd := &cobra.Command{
		Use:   "upgrade-check [--old PROGRAM] [--addresses FILE] [--json]",
		Short: "Say what it means to run this program instead of the one that runs",
		Long: `upgrade-check looks at an instance with the eyes of this program: the version of the
spool and of the configuration, every message in the queue, the configuration files, the
daemons that run and whether they are of another program, the tests of the policy. It
changes nothing.

Where the running router is another program, or --old names one, both are asked where
the addresses of a file, or else those of the queue and of the router's log, would go.

Status 0: nothing changes; 1: something does, or the daemons are to be started again;
78: this program cannot work here.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&c.old, "old", "", "the `program` that this one is compared with")
	f.StringVar(&c.addresses, "addresses", "", "`file` of addresses, one a line")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), checkTime)
		defer cancel()
		if err := c.run(ctx); err != nil {
			return err
		}
		if err := c.print(cmd.OutOrStdout(), asJSON); err != nil {
			return proc.Exit(proc.IOErr, "%w", err)
		}
		return c.status()
	}
	return cmd
}

// run does the checks, in the order in which one makes the next worth while.
func (c *checker) run(ctx context.Context) (err error) {
	if c.self, err = os.Executable(); err != nil {
		return proc.Exit(proc.OSErr, "%w", err)
	}
	if c.conf, err = shellcfg.LoadConf(shellcfg.ConfPath()); err != nil {
		c.say(Stop, "configuration", "%v", err)
		return nil
	}
	if v := c.conf.Get("CONFVERSION"); v != "" {
		c.say(Fine, "configuration", "%s: version %s", c.conf.File, v)
	} else {
		c.say(Fine, "configuration", "%s: version 1, since it has no CONFVERSION", c.conf.File)
	}
	if c.spool, err = c.conf.OpenSpool(); err != nil {
		c.say(Stop, "spool", "%v", err)
		return nil
	}
	v, err := spool.ReadVersion(c.spool.Root)
	if err != nil {
		c.say(Stop, "spool", "%v", err)
		return nil
	}
	if v < spool.Version {
		c.say(Note, "spool", "version %d is read; what is written from now on is version %d, which the old program refuses", v, spool.Version)
	} else {
		c.say(Fine, "spool", "%s: version %d, which is that of this program", c.spool.Root, v)
	}
	c.files(ctx)
	if err := c.queue(ctx); err != nil {
		c.say(Stop, "queue", "%v", err)
	}
	c.daemons()
	c.tests(ctx)
	c.routes(ctx)
	return ctx.Err()
}

func (c *checker) status() error {
	worst := Fine
	for _, f := range c.findings {
		if f.Level == Stop {
			return proc.Silent(proc.Config)
		}
		if f.Level == Note {
			worst = Note
		}
	}
	if worst == Note {
		return proc.Silent(1)
	}
	return nil
}

func (c *checker) print(out io.Writer, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(c.findings)
	}
	for _, f := range c.findings {
		if _, err := fmt.Fprintf(out, "%-5s %-14s %s\n", f.Level, f.About, f.Text); err != nil {
			return err
		}
	}
	return nil
}
