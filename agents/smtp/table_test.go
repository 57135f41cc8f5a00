package smtp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// confOf writes a zmailer.conf with lines in which DIR is its directory.
func confOf(t *testing.T, lines string, files map[string]string) *shellcfg.Conf {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "zmailer.conf")
	if err := os.WriteFile(path, []byte("HOSTNAME=us.test\n"+strings.ReplaceAll(lines, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := shellcfg.LoadConf(path)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// The TLS policy comes from any type of table; one that cannot be asked is an
// error, and so is a value that is no mode.
func TestTLSRelation(t *testing.T) {
	for _, tt := range []struct{ name, lines, dest, want string }{
		{"stock file", "", "a.test", "verify"},
		{"text", "TLSPOLICY='-t text -f DIR/other'\n", "a.test", "must"},
		{"text, case", "TLSPOLICY='-t text -f DIR/other'\n", "A.test", "must"},
		{"text, below", "TLSPOLICY='-t text -f DIR/other'\n", "x.b.test", "dane"},
		{"text, all", "TLSPOLICY='-t text -f DIR/other'\n", "z.test", "auto"},
		{"a bad value", "TLSPOLICY='-t text -f DIR/other'\n", "bad.test", "error"},
		{"regexp", "TLSPOLICY='-t regexp -f \"DIR/patterns\"'\n", "mail7.c.test", "off"},
		{"regexp, no match", "TLSPOLICY='-t regexp -f \"DIR/patterns\"'\n", "z.test", "may"},
		{"no such file", "TLSPOLICY='-t cdb -f DIR/nothing'\n", "a.test", "error"},
		{"program", "TLSPOLICY=\"-t program -f 'DIR/program'\"\n", "a.test", "error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conf := confOf(t, tt.lines, map[string]string{
				"db/tlspolicy": "a.test verify\n", "other": "a.test must\n.b.test dane\nbad.test maybe\n* auto\n",
				"patterns": "^mail[0-9]+\\.c\\.test$ off\n", "program": "",
			})
			o, err := parseOptions(conf, nil)
			if err != nil {
				t.Fatal(err)
			}
			d, err := parseDest(tt.dest)
			if err != nil {
				t.Fatal(err)
			}
			r, err := o.tls.of(t.Context(), &target{network: "tcp", dest: d.text, name: "mx.z.test"})
			got := r.mode.String()
			if err != nil {
				got = "error"
			}
			if got != tt.want {
				t.Errorf("got %s, want %s (%v)", got, tt.want, err)
			}
		})
	}
	for _, bad := range []string{"TLSPOLICY='-t nonsense'\n", "TLSPOLICY='-t text -f DIR/x y'\n", "TLSPOLICY='$(id)'\n", "DKIMTABLE='-t'\n"} {
		if _, err := parseOptions(confOf(t, bad, nil), nil); err == nil || proc.Code(err) != proc.Config || !strings.Contains(err.Error(), "zmailer.conf") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Where keys and their table are.
func TestKeyPlaces(t *testing.T) {
	header, _, err := rfc5322.ParseHeader([]byte("From: a@gone.test\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		lines string
		args  []string
		want  string // of a mail whose table entry names a key that is not there
	}{
		{"", nil, "db/dkim"},
		{"DKIMTABLE='-t text -f DIR/none'\n", nil, "unsigned"},
		{"", []string{"-k", "none"}, "nothing"},
		{"", []string{"-M", "-p", "24"}, "nothing"},
		{"", []string{"-M", "-p", "24", "-k", "/keys"}, "db/dkim"},
	} {
		conf := confOf(t, tt.lines, map[string]string{"db/dkim": "gone.test gone.test/x\n", "none": "* none\n"})
		o, err := parseOptions(conf, tt.args)
		if err != nil {
			t.Fatal(err)
		}
		got := "nothing"
		if o.keys != nil {
			got = "unsigned"
			if _, err := o.keys.For(t.Context(), header); err != nil {
				got = "db/dkim"
			}
		}
		if got != tt.want {
			t.Errorf("%q %v: %s, want %s", tt.lines, tt.args, got, tt.want)
		}
	}
	if _, err := parseOptions(confOf(t, "", nil), []string{"-k", "keys"}); proc.Code(err) != proc.Usage {
		t.Errorf("a relative directory: %v", err)
	}
}
