package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestConfine confines a process of its own, which then tries what it may not do;
// this test runs as root, too, whom permissions do not stop.
func TestConfine(t *testing.T) {
	if dir := os.Getenv("ZMAILER_TEST_CONFINE"); dir != "" {
		confinedChild(dir)
		os.Exit(0)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w/a", "w/b", "h/ok", "h/secret", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "file"), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestConfine$")
	cmd.Env = append(os.Environ(), "ZMAILER_TEST_CONFINE="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := string(out)
	if !strings.Contains(got, "NoNewPrivs:\t1\n") {
		t.Errorf("new rights can be gained: %s", got)
	}
	if strings.Contains(got, "landlock false") {
		t.Skip("this kernel has no Landlock, or one too old")
	}
	want := `landlock true
read other: true
write other: false
remove other: false
read w/a: true
write w/a: true
rename: true
read h/ok: true
read h/secret: false
children: false
`
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func confinedChild(dir string) {
	landlock, err := Confine(Confinement{
		Write: []string{filepath.Join(dir, "w"), "/dev", filepath.Join(dir, "missing")},
		Hide:  []string{filepath.Join(dir, "h")},
		Read:  []string{filepath.Join(dir, "h/ok")},
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	at := func(name string) string { return filepath.Join(dir, name, "file") }
	say := func(what string, err error) {
		fmt.Printf("%s: %v\n", what, err == nil)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			fmt.Println(err)
		}
	}
	reading := func(name string) {
		_, err := os.ReadFile(at(name))
		say("read "+name, err)
	}
	writing := func(name string) {
		f, err := os.OpenFile(at(name), os.O_WRONLY, 0)
		f.Close()
		say("write "+name, err)
	}
	fmt.Println("landlock", landlock)
	reading("other")
	writing("other")
	say("remove other", os.Remove(at("other")))
	reading("w/a")
	writing("w/a")
	say("rename", os.Rename(at("w/a"), filepath.Join(dir, "w/b/new")))
	reading("h/ok")
	reading("h/secret")
	err = exec.Command("/bin/sh", "-c", "cat "+at("h/secret")).Run()
	if err != nil {
		err = fs.ErrPermission
	}
	say("children", err)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(string(status))
}
