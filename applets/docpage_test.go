package applets

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A block is a piece of code on a page of docs/: what stands between two fences.
// The line that opens it says what it is, and so how it is proved right:
//
//	sh                    commands, run one after the other in the page's instance
//	console               "$ command" and what it prints
//	sh FILE               a piece of zmailer.conf, router.cf, scheduler.conf, smtpserver.conf
//	                      or sm.conf, which the instance has from then on
//	text db/NAME          the same for a table
//	sh test               tests of the policy that the instance has by then
//	text mailq -ss        a part of what that command prints
//	python FILE           a transport agent
//	dns                   a zone
//	ANYTHING no-run: WHY  nothing that this test can do, and why
//
// On a page, "..." in the place of a line is any number of lines, and "…" any text.
type block struct {
	page string
	line int
	info string
	text string
}

func (b *block) where() string { return fmt.Sprintf("docs/%s:%d", b.page, b.line) }

// noRun is the reason why a block is not run.
func (b *block) noRun() (why string, ok bool) {
	_, why, ok = strings.Cut(b.info, " no-run: ")
	return why, ok
}

func (b *block) lines() []string {
	return strings.Split(strings.TrimSuffix(b.text, "\n"), "\n")
}

// pageBlocks reads the blocks of a page; the main README counts as one.
func pageBlocks(name string) (list []*block, err error) {
	b, err := os.ReadFile(pagePath(name))
	if err != nil {
		return nil, err
	}
	var open *block
	in := bufio.NewScanner(strings.NewReader(string(b)))
	for n := 1; in.Scan(); n++ {
		line := in.Text()
		info, fence := strings.CutPrefix(line, "```")
		switch {
		case !fence && open != nil:
			open.text += line + "\n"
		case !fence && strings.HasPrefix(line, "    "):
			return nil, fmt.Errorf("%s:%d: code stands between fences, which say what it is", name, n)
		case !fence:
		case open == nil && info == "":
			return nil, fmt.Errorf("%s:%d: a fence that does not say what follows", name, n)
		case open == nil:
			open = &block{page: name, line: n, info: info}
		case info != "":
			return nil, fmt.Errorf("%s:%d: a fence within a fence", name, n)
		default:
			list, open = append(list, open), nil
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s: the fence is not closed", open.where())
	}
	return list, in.Err()
}

func pagePath(name string) string {
	if name == "../README.md" {
		return name
	}
	return filepath.Join("../docs", name)
}

// pageNames are all pages, with the main README.
func pageNames(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("../docs/*.md")
	if err != nil || len(list) == 0 {
		t.Fatalf("no pages in docs/: %v", err)
	}
	names := []string{"../README.md"}
	for _, path := range list {
		names = append(names, filepath.Base(path))
	}
	return names
}

// What differs from run to run, and what takes its place before output is compared.
var (
	pageID       = regexp.MustCompile(`\b[A-Z][0-9A-Z]{15}\b`)
	pageTime     = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?`)
	pageDuration = regexp.MustCompile(`\b(\d+(\.\d+)?(ns|µs|ms|s|m|h|d))+\b`)
	pageNumber   = regexp.MustCompile(`\d+(\.\d+)?`)
	pageBlanks   = regexp.MustCompile(`\s+`)
)

// plain is a line without what differs from run to run.
func plain(line string) string {
	line = pageID.ReplaceAllString(line, "ID")
	line = pageTime.ReplaceAllString(line, "TIME")
	line = pageDuration.ReplaceAllString(line, "DURATION")
	line = pageNumber.ReplaceAllString(line, "N")
	return strings.TrimSpace(pageBlanks.ReplaceAllString(line, " "))
}

// sameLines compares the output shown on a page with a real one.
func sameLines(shown, real []string) bool {
	switch {
	case len(shown) == 0:
		return len(real) == 0
	case strings.TrimSpace(shown[0]) == "...":
		return sameLines(shown[1:], real) || len(real) > 0 && sameLines(shown, real[1:])
	case len(real) == 0:
		return false
	}
	return sameLine(plain(shown[0]), plain(real[0])) && sameLines(shown[1:], real[1:])
}

func sameLine(shown, real string) bool {
	parts := strings.Split(shown, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(real)
}

func TestPageOutput(t *testing.T) {
	for _, tt := range []struct {
		shown, real string
		same        bool
	}{
		{"a 12 ms", "a 7 ms", true},
		{"took 91µs", "took 1.2ms", true},
		{"router   running, pid 3", "router running, pid 12345", true},
		{"id CR8HTQ22B6TWNW16", "id CR9ABC22B6TWNW17", true},
		{"msg=routed … to=joe", "msg=routed spoolid=x to=joe", true},
		{"msg=routed … to=joe", "msg=routed spoolid=x to=ann", false},
		{"a\n...\nc", "a\nb\nb\nc", true},
		{"a\n...\nc", "a\nc", true},
		{"a\n...", "a\nb", true},
		{"a", "a\nb", false},
		{"a\nb", "a", false},
	} {
		if got := sameLines(strings.Split(tt.shown, "\n"), strings.Split(tt.real, "\n")); got != tt.same {
			t.Errorf("%q, %q: %v", tt.shown, tt.real, got)
		}
	}
}
