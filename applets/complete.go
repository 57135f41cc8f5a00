package applets

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/applets/setup"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// Bounds of a completion: a shell waits for it, and nobody reads more.
const (
	completeTime = 100 * time.Millisecond
	completeMax  = 200
)

// completed are the programs for which shells get a completion of their own. Others,
// such as sendmail, have addresses as arguments.
var completed = []string{"mailq"}

// shells writes the completion script of a program for each shell, and says below what
// name the shell looks for it.
var shells = []struct {
	name, dir, prefix, suffix string
	write                     func(cmd *cobra.Command, out io.Writer) error
}{
	{"bash", "share/bash-completion/completions", "", "", func(cmd *cobra.Command, out io.Writer) error { return cmd.GenBashCompletionV2(out, true) }},
	{"zsh", "share/zsh/vendor-completions", "_", "", func(cmd *cobra.Command, out io.Writer) error { return cmd.GenZshCompletion(out) }},
	{"fish", "share/fish/vendor_completions.d", "", ".fish", func(cmd *cobra.Command, out io.Writer) error { return cmd.GenFishCompletion(out, true) }},
}

// completionCommand is "zmailer completion".
func completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "completion bash|zsh|fish [PROGRAM]",
		Short:   "Print what makes a shell complete arguments",
		GroupID: string(Upkeep),
		Long: `Print a script for the shell, for zmailer or for a PROGRAM: mailq. Installed with the
mailer, it is found by the shell; otherwise:

  . <(zmailer completion bash)

Ids, channels and hosts come from the running scheduler, names of tables from db/.`,
		Args:      cobra.RangeArgs(1, 2),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			program := "zmailer"
			if len(args) > 1 {
				program = args[1]
			}
			text, err := completion(args[0], program)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func completion(shell, program string) (string, error) {
	var cmd *cobra.Command
	switch {
	case program == "zmailer":
		cmd = root()
	case slices.Contains(completed, program):
		cmd = lookup(program).Command()
	default:
		return "", proc.Exit(proc.Usage, "no completion for %s; there are zmailer, %s", program, strings.Join(completed, ", "))
	}
	for _, s := range shells {
		if s.name == shell {
			var b bytes.Buffer
			err := s.write(cmd, &b)
			return b.String(), err
		}
	}
	return "", proc.Exit(proc.Usage, "shell %s? bash, zsh or fish", shell)
}

// completions are the files for the installer, below the prefix.
func completions() ([]setup.Stock, error) {
	var files []setup.Stock
	for _, s := range shells {
		for _, program := range append([]string{"zmailer"}, completed...) {
			text, err := completion(s.name, program)
			if err != nil {
				return nil, err
			}
			files = append(files, setup.Stock{Name: filepath.Join(s.dir, s.prefix+program+s.suffix), Text: text})
		}
	}
	return files, nil
}

// complete says what may stand where, in cmd and the commands below it.
func complete(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		complete(sub)
	}
	if cmd.DisableFlagParsing {
		return
	}
	switch use := strings.ToUpper(cmd.Use); {
	case cmd.ValidArgsFunction != nil || len(cmd.ValidArgs) > 0:
	case strings.Contains(use, "[ID...]"), strings.Contains(use, " ID"):
		cmd.ValidArgsFunction = answering(queueIDs)
	case strings.Contains(use, "[TABLE...]"):
		cmd.ValidArgsFunction = answering(tableNames)
	}
	for name, fn := range map[string]func(context.Context, *shellcfg.Conf, string) []string{
		"channel": func(ctx context.Context, c *shellcfg.Conf, _ string) []string {
			return threads(ctx, c, func(t *queuesock.Thread) string { return t.Channel })
		},
		"host": func(ctx context.Context, c *shellcfg.Conf, _ string) []string {
			return threads(ctx, c, func(t *queuesock.Thread) string { return t.Host })
		},
		"state": func(context.Context, *shellcfg.Conf, string) []string {
			return []string{"ready", "waiting", "running", "held"}
		},
	} {
		if f := cmd.Flags().Lookup(name); f != nil && cmd.Flags().Lookup("sender") != nil { // of a selection
			// The only error is that it was said before.
			_ = cmd.RegisterFlagCompletionFunc(name, answering(fn))
		}
	}
}

// answering makes a completion of fn: quick, sorted, and silent when it fails.
func answering(fn func(ctx context.Context, conf *shellcfg.Conf, begun string) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(context.Background(), completeTime)
		defer cancel()
		conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var list []string
		for _, word := range fn(ctx, conf, begun) {
			if strings.HasPrefix(word, begun) && !slices.Contains(args, word) && !strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				list = append(list, word)
			}
		}
		slices.Sort(list)
		return slices.Compact(list), cobra.ShellCompDirectiveNoFileComp
	}
}

var errEnough = errors.New("enough")

// ask gets items from the scheduler until each has enough, or time is up.
func ask(ctx context.Context, conf *shellcfg.Conf, op string, each func(*queuesock.Answer) error) {
	s, err := conf.OpenSpool()
	if err != nil {
		return
	}
	// What came before an error is what can be offered.
	_ = queuesock.Ask(ctx, s, &queuesock.Request{Op: op}, each)
}

func queueIDs(ctx context.Context, conf *shellcfg.Conf, begun string) []string {
	var ids []string
	add := func(id string) error {
		if strings.HasPrefix(id, begun) {
			ids = append(ids, id)
		}
		if len(ids) == completeMax || ctx.Err() != nil {
			return errEnough
		}
		return nil
	}
	ask(ctx, conf, queuesock.OpList, func(a *queuesock.Answer) error {
		if a.Entry == nil {
			return nil
		}
		return add(a.Entry.QueueID)
	})
	if s, err := conf.OpenSpool(); err == nil && len(ids) < completeMax {
		for _, dir := range []string{spool.FreezerDir, spool.DeferredDir} {
			// A directory that this user cannot read has nothing to offer.
			_ = spool.EachID(filepath.Join(s.Root, dir), func(id spool.ID) error { return add(string(id)) })
		}
	}
	return ids
}

func threads(ctx context.Context, conf *shellcfg.Conf, field func(*queuesock.Thread) string) []string {
	var words []string
	ask(ctx, conf, queuesock.OpThreads, func(a *queuesock.Answer) error {
		if a.Thread != nil && !slices.Contains(words, field(a.Thread)) {
			words = append(words, field(a.Thread))
		}
		if len(words) == completeMax {
			return errEnough
		}
		return nil
	})
	return words
}

func tableNames(_ context.Context, conf *shellcfg.Conf, _ string) []string {
	entries, err := os.ReadDir(conf.Path("db"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".cdb") && len(names) < completeMax {
			names = append(names, name)
		}
	}
	return names
}
