package relations

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kind is a type of table.
type kind struct {
	open    func(*opening) (Table, error)
	file    string   // what -f is; "" if the type has none
	subs    []string // subtypes; the first is the default
	options []string // names for -o
	lower   bool     // keys are in lower case by the nature of the type
	watched bool     // the source is a file that is watched
}

// kinds is the only list of types. A new type is one file with its open
// function and one row here.
var kinds = map[string]kind{
	"text":      {open: openText, file: "file of keys and values", watched: true},
	"aliases":   {open: openAliases, file: "file in Sendmail's aliases format", lower: true, watched: true},
	"cdb":       {open: openCDB, file: "constant database", watched: true},
	"regexp":    {open: openRegexp, file: "file of patterns and values", watched: true},
	"passwd":    {open: openPasswd, subs: []string{"line", "uid", "gid", "name", "home", "shell"}},
	"group":     {open: openGroup, subs: []string{"line", "gid", "members"}},
	"dns":       {open: openDNS, subs: dnsSubs},
	"socketmap": {open: openSocketmap, file: "inet:HOST:PORT:MAP or unix:PATH:MAP", options: serverOptions()},
	"postgres":  {open: openPostgres, file: "connection string", options: serverOptions("query", "password-file")},
	"mysql":     {open: openMySQL, file: "USER@tcp(HOST:PORT)/DATABASE", options: serverOptions("query", "password-file", "ca")},
	"sqlite":    {open: openSQLite, file: "database file", options: serverOptions("query")},
	"ldap":      {open: openLDAP, file: "ldap://HOST/BASE", options: serverOptions("filter", "attribute", "scope", "user", "password-file", "starttls", "ca")},
	"redis":     {open: openRedis, file: "redis://HOST[:PORT][/DB] or unix:PATH", subs: redisSubs, options: serverOptions("name", "password-file", "ca")},
	"program":   {open: openProgram, file: "command", options: []string{"timeout"}},
	"incore":    {open: openIncore},
}

// serverOptions are the names for -o of a type that asks a server: those that
// newPool reads and its own.
func serverOptions(own ...string) []string { return append(own, "timeout", "connections") }

// Types lists the types of tables.
func Types() []string { return slices.Sorted(maps.Keys(kinds)) }

// validate finds what is wrong with a declaration by itself.
func (s *Spec) validate() (kind, error) {
	k, ok := kinds[s.Type]
	switch {
	case !ok && s.Type == "":
		return k, fmt.Errorf("-t is missing; types are %s", strings.Join(Types(), ", "))
	case !ok:
		return k, fmt.Errorf("unknown type %q; types are %s", s.Type, strings.Join(Types(), ", "))
	case k.file == "" && s.File != "":
		return k, fmt.Errorf("type %s takes no -f", s.Type)
	case k.file != "" && s.File == "":
		return k, fmt.Errorf("type %s needs -f with a %s", s.Type, k.file)
	case s.Lower && s.Upper:
		return k, fmt.Errorf("-l and -u exclude each other")
	case s.Upper && k.lower:
		return k, fmt.Errorf("type %s has keys in lower case, -u cannot find any", s.Type)
	case s.Eager && !k.watched:
		return k, fmt.Errorf("-m is for types that read a file, not for %s", s.Type)
	case s.Cache == 0 && (s.TTL != 0 || s.Negative):
		return k, fmt.Errorf("-e and -N need a cache: give its size with -s")
	case s.Cache < 0 || s.Cache > maxCache:
		return k, fmt.Errorf("cache size %d is not between 0 and %d", s.Cache, maxCache)
	case s.TTL < 0:
		return k, fmt.Errorf("cache time %v is negative", s.TTL)
	}
	if err := oneOf("subtype", s.Sub, s.Type, k.subs); err != nil {
		return k, err
	}
	for name := range s.Options {
		if err := oneOf("option", name, s.Type, k.options); err != nil {
			return k, err
		}
	}
	if s.Sub == "" && len(k.subs) > 0 {
		s.Sub = k.subs[0]
	}
	return k, nil
}

func oneOf(what, word, typ string, legal []string) error {
	switch {
	case word == "" || slices.Contains(legal, word):
		return nil
	case len(legal) == 0:
		return fmt.Errorf("type %s has no %s %q", typ, what, word)
	}
	return fmt.Errorf("type %s has no %s %q; there are %s", typ, what, word, strings.Join(legal, ", "))
}
