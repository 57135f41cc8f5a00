package relations

import (
	"os"
	"strings"
	"testing"
)

// TestTypesAreDocumented looks in both pages for each type with its subtypes and
// options.
func TestTypesAreDocumented(t *testing.T) {
	for _, page := range []string{"TABLES.md", "../LANGUAGE.md"} {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, name := range Types() {
			words := append([]string{name}, kinds[name].subs...)
			for _, o := range kinds[name].options {
				if page == "TABLES.md" && (o == "timeout" || o == "connections") {
					continue // those are said once for all
				}
				words = append(words, o)
			}
			for _, word := range words {
				if !strings.Contains(text, "`"+word) && !strings.Contains(text, " "+word+" ") && !strings.Contains(text, " "+word+"`") && !strings.Contains(text, "-o "+word+"=") {
					t.Errorf("%s: nothing about %s of type %s", page, word, name)
				}
			}
		}
	}
}
