package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestListFiles: a list that others can write, or that cannot be read, waits for
// the administrator; it does not become an unknown address.
func TestListFiles(t *testing.T) {
	files := stockFiles()
	files["lists/open"] = "joe\n"
	files["lists/group"] = "joe\n"
	files["lists/.hidden"] = "joe\n"
	h := newHost(t, files)
	if err := os.Mkdir(filepath.Join(h.dir, "lists/dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(h.dir, "lists/zero")); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"open": 0o666, "group": 0o664} {
		if err := os.Chmod(filepath.Join(h.dir, "lists", name), mode); err != nil {
			t.Fatal(err)
		}
	}
	p := h.load()
	for addr, want := range map[string]string{
		"open":      "defer 4.3.0 open@example.org: list cannot be read: open",
		"group":     "local joe joe@example.org from group-owner@example.org",
		".hidden":   "reject 5.1.1",
		"dir":       "reject 5.1.1",
		"dir-owner": "reject 5.1.1",
		"zero":      "reject 5.1.1",
		"../list":   "reject 5.1.1",
	} {
		if got := route(p, "\""+addr+"\"@example.org"); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

// TestForwardDetail: ~/.forward+detail comes before ~/.forward, under the same checks.
func TestForwardDetail(t *testing.T) {
	files := stockFiles()
	files["home/joe/.forward"] = "joe@far.example\n"
	files["home/joe/.forward+work"] = "joe@work.example\n"
	files["home/joe/.forward+open"] = "joe@open.example\n"
	files["home/joe/.forward+self"] = "joe+self, x@y.example\n"
	h := newHost(t, files)
	if err := os.Chmod(filepath.Join(h.dir, "home/joe/.forward+open"), 0o666); err != nil {
		t.Fatal(err)
	}
	p := h.load()
	for addr, want := range map[string]string{
		"joe":                             "smtp far.example joe@far.example",
		"joe+work":                        "smtp work.example joe@work.example",
		"joe+other":                       "smtp far.example joe@far.example",
		"joe+open":                        "smtp far.example joe@far.example",
		"joe+self":                        "smtp far.example joe@far.example; smtp y.example x@y.example",
		"joe+../x":                        "smtp far.example joe@far.example",
		"joe+a/work":                      "smtp far.example joe@far.example",
		"joe+" + strings.Repeat("x", 250): "smtp far.example joe@far.example", // no name of a file
	} {
		if got := strings.Join(route(p, addr+"@example.org"), "; "); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
}

// TestFilesOfFunctions: what functions read while mail is routed is whole and as it is
// now, and no part of the version.
func TestFilesOfFunctions(t *testing.T) {
	files := stockFiles()
	files["router.cf"] = `. cf/router.cf
elsewhere() {
	local all
	mapfile -t all < big
	. late.cf
	discard "${#all[@]} ${all[-1]} $late"
}
`
	const lines = 40_000
	files["big"] = strings.Repeat("line\n", lines) + "last\n"
	files["late.cf"] = "late=1\n"
	h := newHost(t, files)
	p := h.load()
	want := fmt.Sprintf("discard %d last ", lines+1)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 5 {
				if got := route(p, "x@far.example"); len(got) != 1 || got[0] != want+"1" {
					t.Errorf("got %q, want %s1", got, want)
				}
			}
		})
	}
	wg.Wait()
	h.write("late.cf", "late=2\n")
	if p.Changed() {
		t.Error("a file that only functions read is part of the version")
	}
	if got := route(p, "x@far.example"); len(got) != 1 || got[0] != want+"2" {
		t.Errorf("got %q, want %s2", got, want)
	}
}
