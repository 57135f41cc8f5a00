package shellcfg

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var plainTests = []struct {
	name, in string
	want     map[string]string // nil: left to the shell
}{
	{"empty", "", map[string]string{}},
	{"comment", "# x\n\n A=1 # y\n", map[string]string{"A": "1"}},
	{"quotes", "A='a b'\"c d\"e\n", map[string]string{"A": "a bc de"}},
	{"reference", "P=/p\nL=$P/log\nM=\"${P}x\"\n", map[string]string{"P": "/p", "L": "/p/log", "M": "/px"}},
	{"brackets in quotes", "S='[127.0.0.1]:2600'\n", map[string]string{"S": "[127.0.0.1]:2600"}},
	{"template", "M=maildir:%h/Maildir\n", map[string]string{"M": "maildir:%h/Maildir"}},
	{"no newline", "A=1", map[string]string{"A": "1"}},
	{"single quotes keep dollars", "A='$B'\n", map[string]string{"A": "$B"}},
	{"command substitution", "A=$(hostname)\n", nil},
	{"default", "A=${B:-x}\n", nil},
	{"command", "echo x\n", nil},
	{"two on a line", "A=1; B=2\n", nil},
	{"prefix of a command", "A=1 date\n", nil},
	{"unset", "A=$B\n", nil},
	{"export", "export A=1\n", nil},
	{"if", "if true; then\nA=1\nfi\n", nil},
	{"multi-line quote", "A='x\ny'\n", nil},
	{"backslash", "A=a\\ b\n", nil},
	{"tilde", "A=~root\n", nil},
	{"brace", "A={a,b}\n", nil},
	{"comment char inside", "A=a#b\n", nil},
}

func TestParseAssignments(t *testing.T) {
	for _, tt := range plainTests {
		got, plain := parseAssignments([]byte(tt.in))
		if plain != (tt.want != nil) {
			t.Errorf("%s: plain = %v", tt.name, plain)
			continue
		}
		for k, v := range tt.want {
			if got[k] != v {
				t.Errorf("%s: %s = %q, want %q", tt.name, k, got[k], v)
			}
		}
	}
}

func writeConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zmailer.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConf(t *testing.T) {
	path := writeConf(t, "POSTOFFICE=/p\nHOSTNAME=mail.example.org\nif true; then SMARTHOST=${X:-gw}; fi\n")
	c, err := LoadConf(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Postoffice != "/p" || c.SmartHost != "gw" || c.MyDomain != "mail.example.org" || c.Path("db/aliases") != filepath.Dir(path)+"/db/aliases" {
		t.Errorf("got %+v", c)
	}
}

func TestLoadConfRefuses(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"POSTOFFICE=relative\n", "absolute"},
		{"SPOOLSYNC=maybe\n", "SPOOLSYNC"},
		{"HOSTNAME='a b'\n", "HOSTNAME"},
		{"if\n", "zmailer.conf:"},
	} {
		if _, err := LoadConf(writeConf(t, tt.in)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q in it", tt.in, err, tt.want)
		}
	}
	if _, err := LoadConf(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "install.sh") {
		t.Errorf("missing file: %v", err)
	}
}

func FuzzParseAssignments(f *testing.F) {
	for _, tt := range plainTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, in string) { parseAssignments([]byte(in)) })
}
