package check

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
)

func instance(t *testing.T, files map[string]string) *shellcfg.Conf {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(os.Getuid())
	all := map[string]string{
		"zmailer.conf": "POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\n",
		"db/users":     "joe " + id + " " + id + " /nonexistent\n",
		"db/aliases":   "sales: joe, x@far.example\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name             string
		files            map[string]string
		errors, warnings int
		want             []string
	}{
		{"clean", nil, 0, 0, nil},
		{"syntax", map[string]string{"router.cf": "if\n"}, 1, 0, []string{"router.cf:1:"}},
		{"unknown command", map[string]string{"router.cf": ". cf/router.cf\nelsewhere() { delivr smtp x y; }\n"}, 2, 0, []string{"router.cf:2: there is no command, function or program \"delivr\""}},
		{"missing table", map[string]string{"router.cf": ". cf/router.cf\nrelation -t text -f /nonexistent gone\n"}, 1, 0, []string{"gone"}},
		{"alias file", map[string]string{"db/aliases": "no colon here\n"}, 1, 0, []string{"aliases:1:"}},
		{"aliases", map[string]string{"db/aliases": "a: joe, nosuch\nb: c\nc: b\n"}, 0, 5, []string{
			"aliases:1: alias a: nosuch: no such user here", "aliases:2: alias b leads to nobody", "aliases:3: alias c leads to nobody"}},
		{"private aliases", map[string]string{"db/aliases.private": "council: joe, nosuch\nsales: joe\n"}, 0, 2, []string{
			"aliases.private:1: alias council: nosuch: no such user here", "aliases.private:2: alias sales: private_aliases is never asked for it, as ", "remove one of them"}},
		{"addresses", map[string]string{"db/fqdnaliases": "a@v.example: nosuch\nb@v.example: joe\n", "db/virtual": "b@v.example joe\nc@v.example ghost\nd@v.example error!gone\n@w.example joe\n"}, 0, 5, []string{
			"fqdnaliases:1: alias a@v.example: nosuch: no such user here", "virtual:1: alias b@v.example: virtual is never asked for it", "virtual:2: alias c@v.example: ghost: no such user"}},
		{"address among aliases", map[string]string{"db/aliases": "joe@v.example: joe\n"}, 0, 1, []string{"aliases:1: alias joe@v.example: aliases are asked for local parts"}},
		{"lists", map[string]string{"lists/sales": "joe\n", "lists/Team": "joe\n", "lists/ok": "joe\n"}, 0, 2, []string{
			"lists/sales: the list is never asked, as there is an alias", "lists/Team: names of lists are in lower case: mv "}},
		{"equal keys", map[string]string{"db/routes": "a.example smtp!b\na.example smtp!c\nA.Example smtp!d\n"}, 0, 2, []string{"routes:2:", "routes:3:"}},
		{"include", map[string]string{"db/aliases": "a: :include:/nonexistent/list\n"}, 1, 0, []string{"alias a: /nonexistent/list: list cannot be read"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := Instance(context.Background(), instance(t, tt.files))
			all := strings.Join(f.lines, "\n")
			if f.Errors != tt.errors || f.Warnings != tt.warnings {
				t.Errorf("%d errors, %d warnings, want %d, %d\n%s", f.Errors, f.Warnings, tt.errors, tt.warnings, all)
			}
			for _, want := range tt.want {
				if !strings.Contains(all, want) {
					t.Errorf("no %q in\n%s", want, all)
				}
			}
		})
	}
}

func TestModes(t *testing.T) {
	conf := instance(t, nil)
	if err := os.Chmod(conf.Path("db/aliases"), 0o666); err != nil {
		t.Fatal(err)
	}
	f := Instance(context.Background(), conf)
	if f.Warnings != 1 || !strings.Contains(f.lines[0], "db/aliases: others may write it (mode 0666): chmod go-w") {
		t.Errorf("%q", f.lines)
	}
}
