package smtp

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"zmailer/agents/dkim"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// openTables makes the tables that have names in zmailer.conf, or else are files
// that need not be there.
func (cl *commandLine) openTables(conf *shellcfg.Conf) error {
	cl.tls.table = &tlsTable{path: conf.Path("db/tlspolicy")}
	if conf.Get("TLSPOLICY") != "" {
		ask, err := serve.Table(conf, "TLSPOLICY", "tlspolicy")
		if err != nil {
			return err
		}
		cl.tls.table = &tlsRelation{ask: ask}
	}
	if cl.keyPlace == "none" || cl.keyPlace == "" && cl.lmtp {
		return nil
	}
	dir := cl.keyPlace
	if dir == "" {
		dir = conf.Path("dkim")
	} else if !filepath.IsAbs(dir) {
		return proc.Exit(proc.Usage, "option -k: want the path of a directory, or none: %q", dir)
	}
	cl.keys = &dkim.Keys{Dir: dir}
	var err error
	if cl.sealer, err = newSealer(conf); err != nil {
		return proc.Exit(proc.Config, "ARCDOMAIN: %w", err)
	}
	cl.keys.Table, err = serve.Table(conf, "DKIMTABLE", "dkim")
	return err
}

// A tlsRelation is a table of TLS rules that is asked key by key; the values are
// "MODE [FINGERPRINT]...", as in the lines of a tlsTable.
type tlsRelation struct{ ask serve.Lookup }

func (t *tlsRelation) of(ctx context.Context, g *target) (tlsRule, bool, error) {
	for _, key := range tlsKeys(g) {
		value, found, err := t.ask(ctx, key)
		if err != nil {
			return tlsRule{}, false, fmt.Errorf("TLSPOLICY: %w", err)
		}
		if !found {
			continue
		}
		rule, err := parseTLSRule(key, strings.Fields(value))
		if err != nil {
			return tlsRule{}, false, fmt.Errorf("TLSPOLICY: %s: %w", key, err)
		}
		rule.source = "tlspolicy:" + key
		return rule, true, nil
	}
	return tlsRule{}, false, nil
}
