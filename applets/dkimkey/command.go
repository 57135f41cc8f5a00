// Package dkimkey is zmailer dkim-key: it makes the keys with which the smtp agent
// signs mail, prints the DNS records that they need, and says whether the DNS has
// them.
package dkimkey

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"zmailer/agents/dkim"
	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

type options struct {
	selector, kind, dir, owner, resolv string

	check bool
}

// Command is zmailer dkim-key.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "dkim-key [--type rsa|ed25519] [--selector S] DOMAIN | --check DOMAIN",
		Short: "Make a key that signs mail of a domain, and print its DNS record",
		Long: `dkim-key makes a key for DKIM and prints the record that the DNS must have for it,
as a line of the zone. From then on the smtp agent signs mail from addresses of
DOMAIN that is submitted here. The key is the file DOMAIN/SELECTOR.pem in the directory dkim
beside zmailer.conf; all keys of a domain sign, and removing a file ends its use.

With --check it prints the records of the keys that are there, each with what the
DNS says. Status 0: it has all of them; 75: it does not, or gives no answer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
			if err != nil {
				return proc.Exit(proc.Config, "%w", err)
			}
			if o.dir == "" {
				o.dir = conf.Path("dkim")
			}
			domain, err := rfc5322.CanonicalDomain(args[0])
			if err != nil || !strings.Contains(domain, ".") || domain[0] == '[' {
				return proc.Exit(proc.Usage, "%q is not a domain", args[0])
			}
			if o.check {
				return o.checkKeys(cmd, domain)
			}
			return o.makeKey(cmd, domain)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.selector, "selector", "", `name of the key in the DNS (by default from the type and the month: "rsa202611")`)
	f.StringVar(&o.kind, "type", "rsa", "rsa (2048 bits), or ed25519, which not every verifier knows: have both")
	f.StringVar(&o.dir, "dir", "", "directory of keys, as option -k of smtp (dkim beside zmailer.conf)")
	f.StringVar(&o.owner, "owner", "", "user that the smtp agent runs as (the owner of the directory of keys)")
	f.BoolVar(&o.check, "check", false, "compare the keys that are there with the DNS")
	f.StringVarP(&o.resolv, "resolv-conf", "r", "", "resolv.conf to use")
	return cmd
}

func (o *options) makeKey(cmd *cobra.Command, domain string) error {
	if o.selector == "" {
		o.selector = o.kind + time.Now().Format("200601")
	}
	place := dkim.Place{Dir: o.dir}
	var err error
	if place.UID, place.GID, err = o.ownerIDs(); err != nil {
		return err
	}
	key, path, err := place.Generate(domain, o.selector, o.kind)
	switch {
	case errors.Is(err, fs.ErrExist):
		return proc.Exit(proc.CantCreat, "%s/%s has a key of this name already: choose another --selector", domain, o.selector)
	case errors.Is(err, fs.ErrPermission):
		return proc.Exit(proc.NoPerm, "%w", err)
	case errors.Is(err, dkim.ErrUsage):
		return proc.Exit(proc.Usage, "%w", err)
	case err != nil:
		return proc.Exit(proc.CantCreat, "%w", err)
	}
	line, err := key.ZoneLine()
	if err != nil {
		return err
	}
	cmd.PrintErrf("%s signs mail from now on, but nobody can verify it until the zone has:\n", path)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
	return err
}

// ownerIDs is who the key is to belong to: the user of --owner, or of the directory
// where there is one, or who calls.
func (o *options) ownerIDs() (uid, gid int, err error) {
	if o.owner != "" {
		u, err := user.Lookup(o.owner)
		if err != nil {
			return 0, 0, proc.Exit(proc.Usage, "--owner: %w", err)
		}
		uid, uerr := strconv.Atoi(u.Uid)
		gid, gerr := strconv.Atoi(u.Gid)
		return uid, gid, errors.Join(uerr, gerr)
	}
	if st, err := os.Stat(o.dir); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok {
			return int(sys.Uid), int(sys.Gid), nil
		}
	}
	return os.Geteuid(), os.Getegid(), nil
}

func (o *options) checkKeys(cmd *cobra.Command, domain string) error {
	keys, err := (&dkim.Keys{Dir: o.dir}).OfDomain(domain)
	if err != nil {
		return proc.Exit(proc.Config, "%w", err)
	}
	if len(keys) == 0 {
		return proc.Exit(proc.Config, "no keys of %s in %s", domain, filepath.Join(o.dir, domain))
	}
	rv, err := resolver.New(resolver.Config{ResolvConf: o.resolv})
	if err != nil {
		return proc.Exit(proc.Config, "resolver: %w", err)
	}
	good := true
	for _, k := range keys {
		line, err := k.ZoneLine()
		if err != nil {
			return err
		}
		state, ok := published(cmd.Context(), rv, k)
		good = good && ok
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "; %s\n%s\n", state, line); err != nil {
			return err
		}
	}
	if !good {
		return proc.Silent(proc.TempFail)
	}
	return nil
}

// published says what the DNS has for a key.
func published(ctx context.Context, rv *resolver.Client, k *dkim.Key) (state string, ok bool) {
	ans, err := rv.Query(ctx, k.Name(), resolver.TypeTXT)
	switch {
	case resolver.StatusOf(err) == resolver.NotFound:
		return "not in the DNS", false
	case err != nil:
		return fmt.Sprintf("no answer: %v", err), false
	case len(ans.Texts) != 1:
		return fmt.Sprintf("%d TXT records in the DNS: verifiers want one", len(ans.Texts)), false
	case !k.Matches(ans.Texts[0]):
		return "the DNS has another key", false
	}
	return "published", true
}
