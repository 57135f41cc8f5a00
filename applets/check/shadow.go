package check

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/relations"
)

// shadows are tables of the stock policy of which the first is asked, and the second
// only for what that does not know.
var shadows = [][2]string{{"aliases", "private_aliases"}, {"fqdnaliases", "virtual"}}

// checkShadows looks for entries and lists that are never asked.
func checkShadows(ctx context.Context, f *Findings, conf *shellcfg.Conf, p *policy.Policy) {
	tables := make(map[string]*relations.Relation)
	for _, t := range p.Tables() {
		tables[t.Name()] = t
	}
	for _, pair := range shadows {
		first, second := tables[pair[0]], tables[pair[1]]
		if first == nil || second == nil {
			continue
		}
		err := second.Each(ctx, func(e relations.Entry) error {
			if _, found, err := first.Lookup(ctx, e.Key); found && err == nil {
				f.warnf("%s: %s is never asked for it, as %s has it too: remove one of them", entryName(second, e), second.Name(), first.Spec().File)
			}
			return ctx.Err()
		})
		unreadable(f, err)
	}
	if aliases := tables["aliases"]; aliases != nil {
		checkKeys(ctx, f, aliases)
		checkLists(ctx, f, conf, aliases)
	}
}

// checkKeys finds keys that no local part can be.
func checkKeys(ctx context.Context, f *Findings, aliases *relations.Relation) {
	unreadable(f, aliases.Each(ctx, func(e relations.Entry) error {
		if local, domain, ok := strings.Cut(e.Key, "@"); ok && local != "" && strings.Contains(domain, ".") {
			f.warnf("%s: aliases are asked for local parts: an address belongs into db/fqdnaliases or db/virtual", entryName(aliases, e))
		}
		return ctx.Err()
	}))
}

// checkLists finds lists in lists/ whose name is an alias, or that no address can
// reach.
func checkLists(ctx context.Context, f *Findings, conf *shellcfg.Conf, aliases *relations.Relation) {
	files, err := os.ReadDir(conf.Path("lists"))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.errorf("%v", err)
		}
		return
	}
	for _, file := range files {
		name, path := file.Name(), filepath.Join(conf.Path("lists"), file.Name())
		if strings.HasPrefix(name, ".") || !file.Type().IsRegular() {
			continue
		}
		if name != strings.ToLower(name) {
			f.warnf("%s: names of lists are in lower case: mv %s %s", path, path, filepath.Join(conf.Path("lists"), strings.ToLower(name)))
		} else if _, found, err := aliases.Lookup(ctx, name); found && err == nil {
			f.warnf("%s: the list is never asked, as there is an alias of that name in %s", path, aliases.Spec().File)
		}
	}
}

// unreadable is for tables whose own check has told already that they cannot be
// asked.
func unreadable(f *Findings, err error) {
	if err != nil && f.Errors == 0 {
		f.errorf("%v", err)
	}
}
