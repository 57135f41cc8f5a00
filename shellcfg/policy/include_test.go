package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIncludePrivilege: in whose name a list runs programs that another list names
// by :include:.
func TestIncludePrivilege(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files of several owners need root")
	}
	files := map[string]string{
		"zmailer.conf": "POSTOFFICE=/nonexistent\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nDEFAULTUSER=daemon\n",
		"db/users":     "daemon 1 1 /nonexistent\njoe 1234 1234 %d/home/joe\nann 4321 4321 %d/home/ann\n",
		"db/aliases": "joes: :include:%d/joes\nroots: :include:%d/roots\nopen: :include:%d/open\n" +
			"chain: :include:%d/chain\nstrangers: :include:%d/strangers\n",
		"joes":              "|prog\n",
		"roots":             "|prog\n",
		"open":              "|prog, x@far.example\n",                // anybody may write it
		"chain":             ":include:%d/joes, :include:%d/roots\n", // ann's: not in joe's name
		"strangers":         "|prog\n",
		"home/joe/.forward": ":include:%d/joes, :include:%d/anns, :include:%d/roots\n",
		"anns":              "|prog\n",
		"lists/rootlist":    "|prog, :include:%d/joes\n",
		"lists/annlist":     "|prog, :include:%d/joes\n",
	}
	h := newHost(t, files)
	for dir := h.dir; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, uid := range map[string]int{"joes": 1234, "anns": 4321, "chain": 4321, "strangers": 77777, "home/joe": 1234, "home/joe/.forward": 1234, "lists/annlist": 4321} {
		if err := os.Chown(filepath.Join(h.dir, name), uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(h.dir, "open"), 0o666); err != nil {
		t.Fatal(err)
	}
	p := h.load()
	const runs, refused = "local pipe.prog |prog", "reject 5.7.1"
	for addr, want := range map[string][]string{
		"joes":      {runs + " as 1234"},
		"strangers": {runs + " as 77777"},
		"roots":     {runs + " as 1"},
		"open":      {refused, "smtp far.example x@far.example as 65534"},
		"rootlist":  {runs + " from rootlist-owner@example.org as 1", runs + " from rootlist-owner@example.org as 1234"},
		"annlist":   {runs + " from annlist-owner@example.org as 4321", refused},
		"chain":     {refused, runs + " as 4321"},
		"joe":       {runs + " as 1234", refused, ""}, // root's is the same program in joe's name again
	} {
		got := routePrivileges(p, addr)
		ok := true
		for i, w := range want {
			if i < len(got) && !strings.HasPrefix(got[i], w) || i >= len(got) && w != "" {
				ok = false
			}
		}
		if !ok || len(got) > len(want) {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}

	// A table that others can write speaks in nobody's name, and nobody's list is
	// not the owner's.
	if err := os.Chmod(filepath.Join(h.dir, "db/aliases"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got := routePrivileges(h.load(), "joes"); len(got) != 1 || !strings.HasPrefix(got[0], refused) {
		t.Errorf("table of anybody: %q", got)
	}
}
