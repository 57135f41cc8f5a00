package check

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestVariables compares the names that are known with those of zmailer.conf(5).
func TestVariables(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/zmailer.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, line := range regexp.MustCompile(`(?m)^\.It Ev (.*)$`).FindAllSubmatch(page, -1) {
		want = append(want, regexp.MustCompile(`[A-Z_0-9]{2,}`).FindAllString(string(line[1]), -1)...)
	}
	slices.Sort(want)
	if !slices.Equal(want, variables) {
		t.Errorf("known are\n%q\nand the page has\n%q", variables, want)
	}
}
