package applets

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// manual is the page of a program, or all of zmailer(8).
func manual(t *testing.T, name string) string {
	t.Helper()
	for _, page := range []string{"zmailer-" + name + ".8", name + ".8", name + ".1"} {
		if b, err := os.ReadFile("../packaging/man/" + page); err == nil {
			return string(b)
		}
	}
	text := read(t, "../packaging/man/zmailer.8")
	if !strings.Contains(text, "Cm "+name) {
		t.Errorf("%s: there is neither a page nor a paragraph in zmailer(8)", name)
	}
	return text
}

// TestManualPages: every program has a page or a paragraph, and what it says of an
// administration command names all options.
func TestManualPages(t *testing.T) {
	for _, row := range Table() {
		if row.Hidden || row.Class == Agent { // those are scheduler.conf(5)'s
			continue
		}
		text := manual(t, row.Name)
		if row.Class != Admin && row.Class != Upkeep {
			continue
		}
		row.Command().LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !f.Hidden && !strings.Contains(text, "Fl -"+f.Name) && (f.Shorthand == "" || !strings.Contains(text, "Fl "+f.Shorthand)) {
				t.Errorf("%s: nothing about --%s", row.Name, f.Name)
			}
		})
	}
}
