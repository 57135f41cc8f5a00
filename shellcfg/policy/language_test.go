package policy

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLanguageHasAllCommands compares LANGUAGE.md with the commands that there are:
// each has a row of a table below "Mailer commands", and each row has a command.
func TestLanguageHasAllCommands(t *testing.T) {
	page, err := os.ReadFile("../LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "\n## Mailer commands\n")
	if !ok {
		t.Fatal("LANGUAGE.md has no section of mailer commands")
	}
	documented := map[string]bool{}
	named := regexp.MustCompile("`([^`]+)`")
	for section := range strings.SplitSeq(text, "\n### ") {
		title, rows, _ := strings.Cut(section, "\n")
		if title == "Functions the mailer calls" {
			continue
		}
		inTable := false
		for line := range strings.Lines(rows) {
			switch {
			case strings.HasPrefix(line, "| command |"):
				inTable = true
			case !strings.HasPrefix(line, "|"):
				inTable = false
			case inTable && !strings.HasPrefix(line, "|-"):
				cell, rest, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
				if len(strings.TrimSpace(rest)) < 10 {
					t.Errorf("nothing is said about %s", cell)
				}
				for _, m := range named.FindAllStringSubmatch(cell, -1) {
					name, _, _ := strings.Cut(m[1], " ")
					if documented[name] {
						t.Errorf("%s is documented twice", name)
					}
					documented[name] = true
				}
			}
		}
	}
	l := &loader{p: new(Policy)}
	for _, name := range slices.Sorted(maps.Keys(l.commands())) {
		if !documented[name] {
			t.Errorf("command %s is not in LANGUAGE.md", name)
		}
		delete(documented, name)
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		t.Errorf("LANGUAGE.md documents %s, which is no command", name)
	}
}
