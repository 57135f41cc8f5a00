package applets

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"zmailer/shellcfg/cf"
)

// fences finds code blocks "```INFO ... ```" in a page.
var fences = regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$")

func pages(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../docs/*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no pages in docs/: %v", err)
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDocsPolicy loads the policy that each page shows, behind the stock one, and
// runs the tests that the page has for it.
func TestDocsPolicy(t *testing.T) {
	stock, err := cf.Files.ReadFile("router.cf")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		policy, tests := string(stock), ""
		for _, m := range fences.FindAllStringSubmatch(read(t, page), -1) {
			switch m[1] {
			case "sh router.cf":
				policy += m[2]
			case "sh test":
				tests += m[2]
			}
		}
		if policy == string(stock) {
			continue
		}
		t.Run(filepath.Base(page), func(t *testing.T) {
			etc := t.TempDir()
			conf := filepath.Join(etc, "zmailer.conf")
			for path, text := range map[string]string{
				conf:                            "HOSTNAME=mx.test\nMYDOMAIN=example.org\n",
				filepath.Join(etc, "router.cf"): policy,
				filepath.Join(etc, "page.test"): tests + "isolate\n",
			} {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("zmailer", "test", filepath.Join(etc, "page.test"))
			cmd.Env = append(os.Environ(), "ZCONFIG="+conf)
			out, err := cmd.CombinedOutput()
			if err != nil || tests != "" && strings.Contains(string(out), "0 passed") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestDocsCommands finds commands and options that a page shows and that are not
// there.
func TestDocsCommands(t *testing.T) {
	call := regexp.MustCompile(`(?m)^    (?:\S*/)?zmailer ([a-z][a-z-]*)(.*)$|` + "`zmailer ([a-z][a-z-]*)([^`]*)`")
	option := regexp.MustCompile(`\s--([a-z][a-z-]*)`)
	for _, page := range append(pages(t), "../README.md") {
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
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}
