package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/shellcfg"
)

func TestVerify(t *testing.T) {
	for _, tt := range []struct{ name, cf, test, want string }{
		{name: "stock", cf: ". cf/router.cf\n"},
		{name: "tests pass", cf: ". cf/router.cf\n", test: "expect x@far.example deliver smtp far.example x@far.example\n"},
		{name: "a test fails", cf: ". cf/router.cf\n", test: "expect x@far.example discard\n", want: "1 of 1 expectations failed"},
		{name: "a test is no test", cf: ". cf/router.cf\n", test: "expect\n", want: "zmailer test: "},
		{name: "no such command", cf: ". cf/router.cf\nelsewhere() { delivr smtp; }\n", want: "delivr"},
		{name: "does not parse", cf: "if\n", want: "zmailer check: "},
		{name: "a table is not there", cf: ". cf/router.cf\nrelation -t text -f /nonexistent/x x\n", want: "relation x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "tests"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{
				"zmailer.conf": "POSTOFFICE=/nonexistent\nMAILVAR=" + dir + "\nHOSTNAME=mail.example.org\n", "router.cf": tt.cf, "tests/a.test": tt.test,
			} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
			if err != nil {
				t.Fatal(err)
			}
			switch err := Verify(t.Context(), conf); {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
