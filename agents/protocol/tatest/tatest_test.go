package tatest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// The test binary is also the agent under test.
func TestMain(m *testing.M) {
	if kind := os.Getenv("TATEST_AGENT"); kind != "" {
		if err := actAs(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func actAs(kind string) error {
	s, err := spool.Open(mustGetwd())
	if err != nil {
		return err
	}
	a := &protocol.Agent{Spool: s, Capacity: 5, Deliver: func(_ context.Context, d *protocol.Delivery) {
		d.ReportAll(dsn.Success("2.0.0", "a text\twith \\ odd\ncharacters"))
	}}
	var out io.Writer = os.Stdout
	if edit := edits[kind]; edit != nil {
		out = &editor{edit}
	}
	switch kind {
	case "mute":
		time.Sleep(time.Hour)
	case "chatty":
		fmt.Println("Hello, I am an agent")
	case "status":
		defer os.Exit(1)
	}
	return protocol.Serve(context.Background(), a, os.Stdin, out)
}

func mustGetwd() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}

// edits make a good agent bad.
var edits = map[string]func(string) string{
	"twice": func(line string) string {
		if strings.HasPrefix(line, "result") {
			return line + line
		}
		return line
	},
	"forgets": func(line string) string {
		if strings.HasPrefix(line, "result") && strings.Contains(line, "\t1\tok") {
			return ""
		}
		return line
	},
	"greedy": func(line string) string {
		if line == "#hungry\n" {
			return "#hungry\n#hungry\n"
		}
		return line
	},
	"full": func(line string) string {
		if line == "#hungry\n" {
			return ""
		}
		return line
	},
	"loses": func(line string) string { return strings.Replace(line, "\tdeferred\t4", "\terror\t5", 1) },
}

type editor struct{ edit func(string) string }

func (e *editor) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		if _, err := io.WriteString(os.Stdout, e.edit(line)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func try(t *testing.T, limit time.Duration, argv ...string) (string, error) {
	t.Helper()
	t.Setenv("ZCONFIG", filepath.Join(t.TempDir(), "none"))
	o := &options{channel: "test", host: "h.example", users: []string{"joe"}, sender: "s@example.org", jobs: 30, limit: limit}
	var out bytes.Buffer
	err := run(t.Context(), o, argv, &out)
	return out.String(), err
}

func TestGoodAgent(t *testing.T) {
	t.Setenv("TATEST_AGENT", "good")
	if out, err := try(t, 20*time.Second, self(t)); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestBadAgents(t *testing.T) {
	for kind, want := range map[string]string{
		"chatty":  "not a line of the protocol",
		"twice":   "not outstanding",
		"forgets": "FAIL  answers each recipient of a job once",
		"greedy":  "#hungry for",
		"full":    "FAIL  works through many jobs",
		"loses":   "want it deferred",
		"status":  "exited with: exit status 1",
		"mute":    "no #hungry after the start",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv("TATEST_AGENT", kind)
			limit := 20 * time.Second
			if kind == "forgets" || kind == "full" || kind == "mute" { // waited for in vain
				limit = 400 * time.Millisecond
			}
			out, err := try(t, limit, self(t))
			if err == nil || !strings.Contains(out, want) {
				t.Errorf("%v, want %q in\n%s", err, want, out)
			}
		})
	}
}

// TestPython runs the agent that PROTOCOL.md gives as an example.
func TestPython(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	agent, err := filepath.Abs("testdata/agent.py")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := try(t, 20*time.Second, agent, t.TempDir()); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
