package policydiff

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zmailer/spool"
)

// instance makes one and returns the path of its zmailer.conf.
func instance(t *testing.T, routes string) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "spool")
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"db", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"zmailer.conf": "POSTOFFICE=" + root + "\nLOGDIR=" + dir + "/log\nMAILVAR=" + dir + "\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\n",
		"db/routes":    routes, "db/aliases": "sales: ann@far.example, bob@far.example\n",
		"log/router": "time=x level=INFO msg=routed spoolid=1 to=a@far.example channel=smtp\n" +
			`time=x msg=routed to="\"a b\"@far.example" channel=smtp` + "\ntime=x msg=started\ntime=x msg=routed to=\"cut",
		"router.cf": ". cf/router.cf\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "zmailer.conf")
}

func diff(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestDiff(t *testing.T) {
	older := instance(t, "far.example\tsmtp!one.example\n")
	newer := instance(t, "far.example\tsmtp!two.example\nbad.example\terror!no such place\n")
	t.Setenv("ZCONFIG", older)
	addrs := "# all\na@far.example\nb@far.example\n\nx@bad.example\nx@other.example\na@far.example\nsales@example.org\n$(x)@far.example\n"

	out, err := diff(t, addrs, "--json", "--addresses", "-", "-", filepath.Dir(newer))
	if err == nil {
		t.Error("status 0 though something changes")
	}
	var r Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err, out)
	}
	if r.Addresses != 6 || r.Changed != 4 || len(r.Groups) != 2 {
		t.Errorf("got %s", out)
	}
	g := r.Groups[0]
	if g.Old != "deliver smtp one.example" || g.New != "deliver smtp two.example" || g.Count != 3 {
		t.Errorf("first group %+v", g)
	}
	if g = r.Groups[1]; g.Count != 1 || g.Addresses[0].Address != "x@bad.example" || !strings.HasPrefix(g.New, "reject 5.") {
		t.Errorf("second group %+v", g)
	}

	out, err = diff(t, addrs, "--show", "1", "--addresses", "-", older, newer)
	if err == nil || !strings.HasPrefix(out, "6 addresses, 4 would change\n") || !strings.Contains(out, "\tand 2 more\n") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err = diff(t, addrs, "--addresses", "-", "-", older); err != nil || out != "6 addresses, 0 would change\n" {
		t.Errorf("the same: %v: %s", err, out)
	}
}

func TestRouterCfAlone(t *testing.T) {
	older := instance(t, "far.example\tsmtp!one.example\n")
	t.Setenv("ZCONFIG", older)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "router.cf"), []byte(". cf/router.cf\nelsewhere() { freeze; }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := diff(t, "", "--log", "-", dir); err == nil || !strings.Contains(out, "2 addresses, 2 would change") {
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{"-", dir}, {"--log", "--queue", "-", dir}, {"--log", "-"}, {"--log", "-", t.TempDir()}, {"--log", "-", dir + "/none"}} {
		if out, err := diff(t, "", args...); err == nil {
			t.Errorf("%q: no error: %s", args, out)
		}
	}
}

func TestSources(t *testing.T) {
	conf := instance(t, "")
	t.Setenv("ZCONFIG", conf)
	if out, err := diff(t, "", "--queue", "-", "-"); err != nil || out != "0 addresses, 0 would change\n" {
		t.Errorf("empty queue: %v: %s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(conf), "log/router"))
	if err != nil {
		t.Fatal(err)
	}
	var l list
	if err := l.fromLog(bytes.NewReader(text)); err != nil || !slices.Equal(l.addrs, []string{"a@far.example", `"a b"@far.example`}) {
		t.Errorf("log: %q, %v", l.addrs, err)
	}
}

func FuzzLog(f *testing.F) {
	f.Add([]byte(`time=x to="a\"b" x`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var l list
		if err := l.fromLog(bytes.NewReader(data)); err == nil && len(l.addrs) > len(data) {
			t.Error("more addresses than bytes")
		}
	})
}
