package applets

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocsCommands finds commands and options that a page shows and that are not
// there.
func TestDocsCommands(t *testing.T) {
	call := regexp.MustCompile(`(?m)^(?:\$ )?(?:\S*/)?zmailer ([a-z][a-z-]*)(.*)$|` + "`zmailer ([a-z][a-z-]*)([^`]*)`")
	option := regexp.MustCompile(`\s--([a-z][a-z-]*)`)
	for _, name := range pageNames(t) {
		page := pagePath(name)
		for _, m := range call.FindAllStringSubmatch(read(t, page), -1) {
			verb, rest := m[1]+m[3], m[2]+m[4]
			cmd, _, err := root().Find([]string{verb})
			if row := lookup(verb); row != nil && !row.Hidden {
				cmd, err = row.Command(), nil // as dispatch does, with arguments
			}
			if err != nil {
				t.Errorf("%s: %s: %v", page, strings.TrimSpace(m[0]), err)
				continue
			}
			rest, _, _ = strings.Cut(rest, "#")
			if sub, _, err := cmd.Find(strings.Fields(rest)); err == nil {
				cmd = sub // "import postfix", for one
			}
			if words := strings.Fields(rest); len(words) > 0 {
				if sub, _, err := cmd.Find(words[:1]); err == nil { // such as "import postfix"
					cmd = sub
				}
			}
			for _, o := range option.FindAllStringSubmatch(rest, -1) {
				if cmd.Flags().Lookup(o[1]) == nil && cmd.PersistentFlags().Lookup(o[1]) == nil {
					t.Errorf("%s: %s: no option --%s", page, strings.TrimSpace(m[0]), o[1])
				}
			}
		}
	}
}

// TestDocsLinks finds links of the pages that lead nowhere.
func TestDocsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)\)`)
	for _, name := range pageNames(t) {
		page := pagePath(name)
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
