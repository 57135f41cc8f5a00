package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

func instance(t *testing.T, files map[string]string) *shellcfg.Conf {
	dir := t.TempDir()
	id := fmt.Sprint(os.Getuid())
	all := map[string]string{
		"zmailer.conf": "POSTOFFICE=" + dir + "\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\n",
		"db/users":     "joe " + id + " " + id + " " + dir + "\n",
		"db/aliases":   "both: joe, x@remote.example, joe\n",
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

func run(t *testing.T, conf *shellcfg.Conf, o Options, addrs ...string) (string, int) {
	var out, errOut strings.Builder
	err := Addresses(context.Background(), conf, o, addrs, &out, &errOut)
	if errOut.Len() > 0 && conf.Get("COMPLAINS") == "" {
		t.Errorf("standard error: %s", errOut.String())
	}
	return out.String(), proc.Code(err)
}

func TestExplain(t *testing.T) {
	conf := instance(t, nil)
	for _, tt := range []struct {
		addr string
		code int
		want []string
	}{
		{"joe", 0, []string{"router joe joe ''", "routeuser joe example.org\tcf/address.cf:", "aliases joe: miss", "login joe: hit joe", "joe => deliver local joe joe@example.org"}},
		{"both", 0, []string{"expand to 3", "  joe\n", "was routed before", "both => deliver local", "both => deliver smtp remote.example x@remote.example"}},
		{"nosuch", proc.NoUser, []string{"nosuch => reject 5.1.1 nosuch: no such user here"}},
		{"a b c", proc.NoUser, []string{"reject 5.1.3 a b c: bad address syntax"}},
	} {
		out, code := run(t, conf, Options{}, tt.addr)
		if code != tt.code {
			t.Errorf("%q: status %d, want %d", tt.addr, code, tt.code)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q in\n%s", tt.addr, want, out)
			}
		}
	}
}

func TestTemporary(t *testing.T) {
	conf := instance(t, map[string]string{"zmailer.conf": "POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nCOMPLAINS=yes\n", "router.cf": ". cf/router.cf\nrelation -t text -f /nonexistent/table gone\nelsewhere() { gone \"$1\"; deliver smtp x \"$1\"; }\n"})
	out, code := run(t, conf, Options{}, "joe", "x@remote.example")
	if code != proc.TempFail || !strings.Contains(out, "gone x@remote.example: failure") {
		t.Errorf("status %d\n%s", code, out)
	}
	out, _ = run(t, conf, Options{Brief: true}, "joe")
	if out != "joe => deliver local joe joe@example.org\n" {
		t.Errorf("brief: %s", out)
	}
	out, _ = run(t, conf, Options{JSON: true}, "joe", "nosuch")
	var all []Explanation
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Outcome != delivers || all[1].Outcome != unknown || !all[0].Ours || all[0].Decisions[0].User != "joe@example.org" {
		t.Errorf("%+v", all)
	}
}
