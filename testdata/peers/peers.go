// Package peers finds the mail software of others that fetch.sh unpacked, for
// tests that run its programs where they lie.
package peers

import (
	"os"
	"path/filepath"
	"testing"
)

// Dir is the folder of a peer; without it the test is skipped.
func Dir(t testing.TB, name string) string {
	t.Helper()
	root := os.Getenv("ZMAILER_PEERS")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Skip(err)
		}
		root = filepath.Join(home, ".cache/zmailer-peers")
	}
	dir := filepath.Join(root, name)
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("%s is not there: run testdata/peers/fetch.sh", name)
	}
	return dir
}

// Program is the command that runs a program of a peer, with the libraries that
// came along: words without blanks or anything else that a shell would see.
func Program(t testing.TB, name, program string) string {
	t.Helper()
	dir := Dir(t, name)
	libs := "LD_LIBRARY_PATH="
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/" + name, "usr/lib"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, lib := range found {
			libs += lib + ":"
		}
	}
	return "/usr/bin/env " + libs + "/usr/lib " + filepath.Join(dir, program)
}
