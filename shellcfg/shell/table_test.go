package shell

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/scripts.txt from what bash does")

// scriptCase is one snippet of testdata/scripts.txt:
//
//	=== name
//	script
//	--- status
//	expected standard output
type scriptCase struct {
	name, script, out string
	status            int
}

const tableFile = "testdata/scripts.txt"

func readTable(tb testing.TB) []scriptCase {
	tb.Helper()
	text, err := os.ReadFile(tableFile)
	if err != nil {
		tb.Fatal(err)
	}
	var cases []scriptCase
	for _, block := range strings.Split("\n"+string(text), "\n=== ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		script, want, _ := strings.Cut(rest, "\n--- ")
		status, out, _ := strings.Cut(want, "\n")
		n, _ := strconv.Atoi(status)
		cases = append(cases, scriptCase{name, strings.TrimSuffix(script, "\n") + "\n", out, n})
	}
	return cases
}

// writeTable keeps one newline between the output and the next header, so that
// output without a newline at the end stays as it is.
func writeTable(tb testing.TB, cases []scriptCase) {
	var b bytes.Buffer
	for i, c := range cases {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "=== %s\n%s--- %d\n%s", c.name, c.script, c.status, c.out)
	}
	if err := os.WriteFile(tableFile, b.Bytes(), 0o644); err != nil {
		tb.Fatal(err)
	}
}

// runScript evaluates a script like a program of its own.
func runScript(opts Options, script string) (out string, status int, err error) {
	var b bytes.Buffer
	opts.Stdout = &b
	in, err := newLoader(context.Background(), opts, "script")
	if err != nil {
		return "", 0, err
	}
	err = in.loadFile("script", strings.NewReader(script))
	if in.err == nil && in.flow == flowExit {
		err = nil
	}
	return b.String(), in.status, err
}

func tableOptions() Options {
	return Options{Vars: map[string]string{"HOME": "/home/u"}, Open: FileOpener}
}

func runBash(tb testing.TB, bash, script string) (string, int) {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), []byte(script), 0o644); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(bash, "+O", "patsub_replacement", "-f", "script")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "HOME=/home/u", "LC_ALL=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout = &out
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tb.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestTable runs every snippet here and compares with the recorded result.
func TestTable(t *testing.T) {
	cases := readTable(t)
	if len(cases) < 200 {
		t.Errorf("only %d snippets in the table", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, status, err := runScript(tableOptions(), c.script)
			if err != nil {
				t.Fatalf("%v\n%s", err, c.script)
			}
			if out != c.out || status != c.status {
				t.Errorf("script:\n%s\ngot status %d:\n%s\nwant status %d:\n%s", c.script, status, out, c.status, c.out)
			}
		})
	}
}

// TestTableBash runs the same snippets by bash: the recorded results are what
// plain shell does, not what we happen to do.
func TestTableBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to compare with")
	}
	cases := readTable(t)
	for i := range cases {
		c := &cases[i]
		t.Run(c.name, func(t *testing.T) {
			out, status := runBash(t, bash, c.script)
			if *update {
				c.out, c.status = out, status
				return
			}
			if out != c.out || status != c.status {
				t.Errorf("script:\n%s\nbash has status %d:\n%s\nrecorded status %d:\n%s", c.script, status, out, c.status, c.out)
			}
		})
	}
	if *update {
		writeTable(t, cases)
	}
}

// compareBash runs one script both ways and shows the first line that differs.
func compareBash(t *testing.T, script string) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to compare with")
	}
	want, wantStatus := runBash(t, bash, script)
	got, status, err := runScript(tableOptions(), script)
	if err != nil {
		t.Error(err)
	}
	if status != wantStatus {
		t.Errorf("status %d, bash %d", status, wantStatus)
	}
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	shown, context, vars := 0, "", "" // what a line "## ..." says about those that follow
	for i := 0; i < max(len(a), len(b)) && shown < 10; i++ {
		x, y := "(end)", "(end)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if strings.HasPrefix(x, "## ") {
			context = x
			if strings.HasPrefix(x, "## '") {
				vars = x
			}
		}
		if x != y {
			t.Errorf("line %d:\n%s\n%s\n got %q\nbash %q", i+1, vars, context, x, y)
			shown++
		}
	}
}
