package policy_test

import (
	"context"
	"strings"
	"testing"

	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/resolver"
)

// TestEveryTypeFails: a table of any type that cannot be asked defers the recipient,
// although the policy takes its status for "not found" and refuses him; what does
// not depend on the table goes on.
func TestEveryTypeFails(t *testing.T) {
	const query = " -o query='SELECT a FROM t WHERE k = :key'"
	declare := map[string]string{
		"text":      "-t text -f %d/none",
		"aliases":   "-t aliases -f %d/none",
		"cdb":       "-t cdb -f %d/none",
		"regexp":    "-t regexp -f %d/none",
		"dns":       "-t dns,mx",
		"socketmap": "-t socketmap -f unix:%d/none:map",
		"postgres":  "-t postgres -f 'host=%d dbname=mail user=x connect_timeout=5'" + query,
		"mysql":     "-t mysql -f 'x@unix(%d/none)/mail'" + query,
		"sqlite":    "-t sqlite -f %d/none" + query,
		"ldap":      "-t ldap -f ldapi://%2Fnone%2Fsocket/dc=example -o filter='(uid=:key)' -o attribute=mail",
		"redis":     "-t redis -f unix:%d/none",
		"program":   "-t program -f /bin/false",
	}
	fake, err := resolver.NewFake("down.example SERVFAIL")
	if err != nil {
		t.Fatal(err)
	}
	for _, typ := range relations.Types() {
		options, ok := declare[typ]
		if !ok {
			// incore has nothing that could fail; passwd and group are files of the system,
			// which relations' own tests take away.
			if typ != "incore" && typ != "passwd" && typ != "group" {
				t.Errorf("no failing table of type %s", typ)
			}
			continue
		}
		t.Run(typ, func(t *testing.T) {
			files := stockFiles()
			files["router.cf"] = ". cf/router.cf\nrelation " + options + " broken\n" + `
elsewhere() {
	local to
	case $2 in
	down.example) if to=$(broken "$2"); then deliver smtp "$to" "$1"; else reject 5.1.2 'no such domain'; fi ;;
	*) deliver smtp "$2" "$1" ;;
	esac
}
`
			h := newHost(t, files)
			c := h.config()
			c.DNS = fake
			p, err := policy.Load(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			got := route(p, "x@down.example", "x@far.example", "joe")
			if len(got) != 3 || !strings.HasPrefix(got[0], "defer 4.4.3 x@down.example: broken: ") ||
				got[1] != "smtp far.example x@far.example" || got[2] != "local joe joe@example.org" {
				t.Errorf("%q", got)
			}
		})
	}
}
