package shell

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestLanguageHasAllBuiltins compares the table of builtins in LANGUAGE.md with
// those that there are.
func TestLanguageHasAllBuiltins(t *testing.T) {
	page, err := os.ReadFile("../LANGUAGE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(page), "\n### Builtins\n")
	text, _, ok2 := strings.Cut(text, "\n### ")
	if !ok || !ok2 {
		t.Fatal("LANGUAGE.md has no section of builtins")
	}
	documented := map[string]bool{}
	named := regexp.MustCompile("`([^`]+)`")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cell, _, _ := strings.Cut(line[2:], " | ")
		for _, m := range named.FindAllStringSubmatch(cell, -1) {
			name, _, _ := strings.Cut(m[1], " ")
			if documented[name] {
				t.Errorf("%s is documented twice", name)
			}
			documented[name] = true
		}
	}
	all := maps.Clone(declCommands) // clauses of the grammar
	for name := range builtins() {
		all[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !documented[name] {
			t.Errorf("builtin %s is not in LANGUAGE.md", name)
		}
		delete(documented, name)
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		t.Errorf("LANGUAGE.md documents %s, which is no builtin", name)
	}
}
