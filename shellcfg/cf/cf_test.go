package cf_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestClean has ShellCheck and shfmt look at the stock policy and its tests.
func TestClean(t *testing.T) {
	policy, err := filepath.Glob("*.cf")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := filepath.Glob("tests/*.test")
	if err != nil {
		t.Fatal(err)
	}
	files := append(policy, tests...)
	for _, tool := range [][]string{
		{"shellcheck", "-s", "bash", "-e", "SC1091"}, // sourced files are found by the mailer
		{"shfmt", "-d"},
	} {
		t.Run(tool[0], func(t *testing.T) {
			path, err := exec.LookPath(tool[0])
			if err != nil {
				t.Skip("not installed")
			}
			if out, err := exec.Command(path, append(tool[1:], files...)...).CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
