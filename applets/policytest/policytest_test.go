package policytest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
)

// TestStockPolicy runs the stock policy's own tests.
func TestStockPolicy(t *testing.T) {
	var out strings.Builder
	r := &Runner{Out: &out}
	if err := Stock(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if r.Failed > 0 || r.Passed < 1400 {
		t.Errorf("%d passed, %d failed\n%s", r.Passed, r.Failed, out.String())
	}
	var cover strings.Builder
	if err := r.cover.print(&cover); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d expectations\n%s", r.Passed, cover.String())
}

func runText(t *testing.T, cf, test string) (*Runner, string, error) {
	t.Helper()
	dir := t.TempDir()
	if err := stockInstance(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "router.cf"), []byte(". cf/router.cf\n"+cf), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r := &Runner{Conf: conf, Out: &out}
	err = r.Run(context.Background(), "t.test", strings.NewReader(test))
	return r, out.String(), err
}

func TestReports(t *testing.T) {
	r, out, err := runText(t, "elsewhere() { mx \"$2\" >/dev/null || reject 5.1.2 'no such domain'; deliver smtp \"$2\" \"$1\"; }\n", `
isolate
user joe
dns 'far.example MX 10 mx.far.example'
dns 'slow.example TIMEOUT'
expect joe deliver local joe joe@example.org
expect x@far.example deliver smtp far.example x@far.example
expect x@slow.example defer 4.4.3
name 'all is well'
expect joe reject 5.1.1
expect nosuch nobody
expect -f ann@x -c 192.0.2.1 joe deliver local joe joe@example.org -- discard
`)
	if err != nil || r.Passed != 3 || r.Failed != 3 {
		t.Fatalf("%d passed, %d failed, %v\n%s", r.Passed, r.Failed, err, out)
	}
	for _, want := range []string{"t.test:10: all is well: \"joe\"\n\twant reject 5.1.1\n\tgot  deliver local joe joe@example.org\t(cf/user.cf:", "t.test:11: all is well: \"nosuch\"\n\twant nobody\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestBadTests(t *testing.T) {
	for _, tt := range []struct{ test, want string }{
		{"expect joe\n", "t.test:1:"},
		{"expect joe nonsense\n", "is no decision"},
		{"expect joe deliver local\n", "is no decision"},
		{"expect joe discard --\n", "a decision is missing"},
		{"entry nosuchtable k v\nexpect joe discard\n", "no table nosuchtable is declared"},
		{"dns nonsense\nexpect joe discard\n", "t.test:2:"},
		{"user ../x\n", "not the name of a user"},
		{"isolate x\n", "arguments"},
		{"if\n", "t.test:1:"},
	} {
		_, out, err := runText(t, "", tt.test)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v %s", tt.test, err, out)
		}
	}
}
