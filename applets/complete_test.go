package applets

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletions has each shell read the scripts that are installed for it, and bash
// complete with them.
func TestCompletions(t *testing.T) {
	files, err := completions()
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.Text), 0o644); err != nil {
			t.Fatal(err)
		}
		shell := strings.Split(f.Name, "/")[1]
		shell, _, _ = strings.Cut(shell, "-")
		if _, err := exec.LookPath(shell); err != nil {
			t.Logf("no %s", shell)
			continue
		}
		if out, err := exec.Command(shell, "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", f.Name, err, out)
		}
	}
	const lib = "/usr/share/bash-completion/bash_completion"
	if _, err := os.Stat(lib); err != nil {
		t.Skip("no bash-completion")
	}
	for line, want := range map[string]string{"zmailer upgra": "upgrade-check", "zmailer import queue --dr": "--dry-run", "zmailer rel": "release", "mailq --sen": "--sender"} {
		words := strings.Fields(line)
		script := `. ` + lib + `; . ` + filepath.Join(dir, "share/bash-completion/completions", words[0]) + `
COMP_WORDS=(` + line + `); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); COMP_LINE='` + line + `'; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9
compopt() { :; }
__start_` + words[0] + `; printf '%s\n' "${COMPREPLY[@]}"`
		out, err := exec.Command("bash", "-c", script).CombinedOutput()
		if first, _, _ := strings.Cut(string(out), " "); err != nil || !strings.HasPrefix(strings.TrimSpace(first), want) {
			t.Errorf("%s: %v: %q, want %s", line, err, out, want)
		}
	}
}
