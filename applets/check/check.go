// Package check is zmailer check: it looks at the configuration of an instance for
// what is wrong or doubtful, and says where and what to do about it.
//
// An error is what makes mail wait or go wrong; status 78. A warning is what the
// administrator should know; with --strict it counts as an error.
package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/relations"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// checkTime bounds the whole check.
const checkTime = 10 * time.Minute

// A Part loads what a daemon reads beside zmailer.conf, and says what is wrong with it.
type Part func(context.Context, *shellcfg.Conf) error

// Agents loads scheduler.conf and tells whether it has an agent for a channel and host.
type Agents func(context.Context, *shellcfg.Conf) (has func(channel, host string) bool, err error)

// Command is zmailer check.
func Command(relay Relay, agents Agents, parts ...Part) *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [--strict]",
		Short: "Check the configuration",
		Long: `check loads router.cf and its tables, scheduler.conf and smtpserver.conf, routes every
alias, looks for misspelt variables in zmailer.conf and at the modes and owners of the
files, and proves with sessions of every form that strangers cannot relay through this
host. Each finding is one line with file and line.

Errors make mail wait or go wrong; warnings are what you should know.

Status 0: nothing is wrong; 78: something is.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			f := Instance(cmd.Context(), conf)
			checkVariables(f, conf)
			checkAgents(cmd.Context(), f, conf, agents)
			for _, part := range parts {
				if err := part(cmd.Context(), conf); err != nil {
					f.errorf("%v", err)
				}
			}
			if f.Errors == 0 {
				checkRelay(cmd.Context(), f, conf, relay)
			}
			for _, line := range f.lines {
				if _, err := io.WriteString(cmd.OutOrStdout(), line+"\n"); err != nil {
					return proc.Exit(proc.IOErr, "%w", err)
				}
			}
			if f.Errors > 0 || strict && f.Warnings > 0 {
				return proc.Silent(proc.Config)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings count as errors")
	return cmd
}

// Findings are what a check has found.
type Findings struct {
	Errors, Warnings int
	lines            []string
	first            []string // errors, for those who want a few words
	ways             []way    // where the entries of tables lead
}

// A way is a channel and host that some entry of a table leads to.
type way struct{ entry, channel, host string }

// maxFindings bounds what is said: the first ones matter.
const (
	maxFindings = 500
	maxFirst    = 10
)

// Err is the first errors, or nil.
func (f *Findings) Err() error {
	if f.Errors == 0 {
		return nil
	}
	text := strings.Join(f.first, "\n")
	if more := f.Errors - len(f.first); more > 0 {
		text += fmt.Sprintf("\nand %d more: see zmailer check", more)
	}
	return errors.New(text)
}

func (f *Findings) note(kind, format string, args ...any) {
	switch {
	case len(f.lines) < maxFindings:
		f.lines = append(f.lines, kind+": "+rfc5322.OneLine(fmt.Sprintf(format, args...), 1000))
	case len(f.lines) == maxFindings:
		f.lines = append(f.lines, "and more")
	}
}

func (f *Findings) errorf(format string, args ...any) {
	f.Errors++
	if len(f.first) < maxFirst {
		f.first = append(f.first, rfc5322.OneLine(fmt.Sprintf(format, args...), 1000))
	}
	f.note("error", format, args...)
}

func (f *Findings) warnf(format string, args ...any) {
	f.Warnings++
	f.note("warning", format, args...)
}

// Instance checks the configuration of an instance.
func Instance(ctx context.Context, conf *shellcfg.Conf) *Findings {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	f := new(Findings)
	checkFiles(f, conf)
	p, err := policy.Load(ctx, policy.Config{Conf: conf, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.errorf("%v", err)
		return f
	}
	defer func() {
		if err := p.Close(); err != nil {
			f.errorf("close tables: %v", err)
		}
	}()
	checkCommands(f, p)
	told := make(map[string]bool) // several tables can read one file
	for _, t := range p.Tables() {
		warnings, err := t.Check(ctx)
		if err != nil {
			f.errorf("%v: mail waits until it can be asked", err)
		}
		for _, w := range warnings {
			if text := w.Error(); !told[text] {
				told[text] = true
				f.warnf("%s", text)
			}
		}
		if routed[t.Name()] && err == nil {
			checkAliases(ctx, f, p, t)
		}
	}
	checkShadows(ctx, f, conf, p)
	return f
}

// checkCommands looks for calls of what does not exist.
func checkCommands(f *Findings, p *policy.Policy) {
	path, _ := p.Program().Var("PATH")
	for _, u := range p.Program().Unresolved() {
		if !executable(u.Name, path) {
			f.errorf("%s: there is no command, function or program %q%s", u.Pos, u.Name, u.Hint)
		}
	}
}

func executable(name, path string) bool {
	if strings.Contains(name, "/") {
		_, err := exec.LookPath(name)
		return err == nil
	}
	for _, dir := range filepath.SplitList(path) {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// routed are the tables of the stock policy whose entries are tried.
var routed = map[string]bool{"aliases": true, "private_aliases": true, "fqdnaliases": true, "virtual": true, "routes": true}

// checkAliases routes every alias.
func checkAliases(ctx context.Context, f *Findings, p *policy.Policy, t *relations.Relation) {
	err := t.Each(ctx, func(e relations.Entry) error {
		checkAlias(ctx, f, p, t, e)
		return ctx.Err()
	})
	if err != nil {
		f.errorf("%v", err)
	}
}

// entryName says which entry of which file.
func entryName(t *relations.Relation, e relations.Entry) string {
	kind := "alias"
	if t.Name() == "routes" {
		kind = "route of"
	}
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s %s", t.Spec().File, kind, e.Key)
	}
	return fmt.Sprintf("%s:%d: %s %s", t.Spec().File, e.Line, kind, e.Key)
}

func checkAlias(ctx context.Context, f *Findings, p *policy.Policy, t *relations.Relation, e relations.Entry) {
	where, addr := entryName(t, e), e.Key
	switch {
	case t.Name() == "aliases" || t.Name() == "private_aliases":
		addr = rfc5322.QuoteLocal(e.Key)
	case strings.HasPrefix(e.Value, "error!"):
		return // it is meant to be refused
	case e.Key == ".":
		return // everything else: any other address shows it
	case t.Name() == "routes" && strings.HasPrefix(e.Key, "."):
		addr = "postmaster@any" + e.Key
	case t.Name() == "routes" && !strings.Contains(e.Key, "@"):
		addr = "postmaster@" + e.Key
	}
	if e.Key == "*" || strings.HasPrefix(e.Key, "@") {
		return
	}
	s := p.Session(ctx, &policy.Message{})
	defer s.Close()
	ends := 0
	s.Route(policy.Recipient{Addr: addr}, func(d *policy.Decision) bool {
		switch d.Action {
		case policy.Reject:
			f.warnf("%s: %s: %s (decided at %s)", where, d.Address, d.Text, d.Why)
			return true
		case policy.Defer:
			f.errorf("%s: %s: %s: mail waits (decided at %s)", where, d.Address, d.Text, d.Why)
		case policy.Deliver:
			f.ways = append(f.ways, way{where, d.Channel, d.Host})
		}
		ends++
		return true
	})
	if ends == 0 {
		f.warnf("%s leads to nobody: a loop, or only unknown addresses", where)
	}
}

// checkAgents looks for mail that no agent would take: it would wait, and be returned.
func checkAgents(ctx context.Context, f *Findings, conf *shellcfg.Conf, agents Agents) {
	has, err := agents(ctx, conf)
	if err != nil {
		f.errorf("%v", err)
		return
	}
	for _, w := range f.ways {
		if !has(w.channel, w.host) {
			f.errorf("%s: scheduler.conf has no command for the channel %s: mail to %s/%s waits", w.entry, w.channel, w.channel, w.host)
		}
	}
}

// checkFiles looks at who may change the configuration.
func checkFiles(f *Findings, conf *shellcfg.Conf) {
	checkMode(f, conf.MailVar)
	for _, pattern := range []string{"*.cf", "*.conf", "cf/*.cf", "db", "db/*", "lists"} {
		names, err := filepath.Glob(filepath.Join(conf.MailVar, pattern))
		if err != nil {
			f.errorf("%s: %v", pattern, err)
		}
		for _, name := range names {
			checkMode(f, name)
		}
	}
}

func checkMode(f *Findings, path string) {
	st, err := os.Stat(path)
	if err != nil {
		f.errorf("%v", err)
		return
	}
	if st.Mode().Perm()&0o022 != 0 {
		f.warnf("%s: others may write it (mode %04o): chmod go-w %s", path, st.Mode().Perm(), path)
	}
	if uid := int(st.Sys().(*syscall.Stat_t).Uid); uid != 0 && uid != os.Geteuid() {
		f.warnf("%s: belongs to uid %d, who may change how mail is routed", path, uid)
	}
}
