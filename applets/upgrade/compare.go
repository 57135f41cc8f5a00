package upgrade

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"zmailer/applets/policydiff"
)

// tests runs the tests of the policy with this program.
func (c *checker) tests(ctx context.Context) {
	files, err := filepath.Glob(c.conf.Path("tests/*.test"))
	if err != nil || len(files) == 0 {
		c.say(Fine, "policy tests", "there are none in %s", c.conf.Path("tests"))
		return
	}
	out, status, err := c.program(ctx, c.self, "test")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	switch last := lines[len(lines)-1]; {
	case err != nil:
		c.say(Note, "policy tests", "%v", err)
	case status != 0:
		c.say(Note, "policy tests", "%s: see zmailer test", last)
	default:
		c.say(Fine, "policy tests", "%s", last)
	}
}

// Bounds of the comparison with the old program.
const (
	maxCompared = 10_000
	atOnce      = 100 // addresses in one call
	maxShown    = 10
)

// routes asks the old program and this one about the same addresses.
func (c *checker) routes(ctx context.Context) {
	if c.old == "" {
		c.say(Fine, "routes", "not compared: no other program is running, and --old names none")
		return
	}
	addrs, err := policydiff.Addresses(c.conf, c.addresses)
	if err != nil {
		c.say(Note, "routes", "%v", err)
		return
	}
	addrs = slices.DeleteFunc(addrs, func(a string) bool { return strings.HasPrefix(a, "-") }) // no options
	if len(addrs) > maxCompared {
		addrs = addrs[:maxCompared]
	}
	different := 0
	for chunk := range slices.Chunk(addrs, atOnce) {
		was, err := c.explain(ctx, c.old, chunk)
		if err != nil {
			c.say(Note, "routes", "%s: %v", c.old, err)
			return
		}
		is, err := c.explain(ctx, c.self, chunk)
		if err != nil {
			c.say(Note, "routes", "%v", err)
			return
		}
		for _, addr := range chunk {
			if was[addr] == is[addr] {
				continue
			}
			if different++; different <= maxShown {
				c.say(Note, "routes", "%s: was %s, is %s", addr, was[addr], is[addr])
			}
		}
	}
	if different > 0 {
		c.say(Note, "routes", "%d of %d addresses go elsewhere", different, len(addrs))
	} else {
		c.say(Fine, "routes", "%d addresses go where they went", len(addrs))
	}
}

// explain asks a program of ours where addresses go.
func (c *checker) explain(ctx context.Context, program string, addrs []string) (map[string]string, error) {
	out, status, err := c.program(ctx, program, append([]string{"explain", "--json"}, addrs...)...)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Address   string `json:"address"`
		Decisions []struct {
			Text string `json:"text"`
		} `json:"decisions"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("explain, status %d: %w", status, err)
	}
	all := make(map[string]string)
	for _, e := range list {
		var texts []string
		for _, d := range e.Decisions {
			texts = append(texts, d.Text)
		}
		slices.Sort(texts)
		all[e.Address] = strings.Join(texts, "; ")
		if len(texts) == 0 {
			all[e.Address] = "nobody"
		}
	}
	return all, nil
}

// maxOutput bounds what a program may say.
const maxOutput = 64 << 20

// program runs a program of ours as "zmailer ARGS" on this instance. What it says on
// standard error is its output where it says nothing else.
func (c *checker) program(ctx context.Context, path string, args ...string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Args[0] = "zmailer"
	cmd.Env = append(os.Environ(), "ZCONFIG="+c.conf.File)
	cmd.WaitDelay = time.Second
	var out, errs limited
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		err = nil
	}
	if err == nil && out.cut {
		err = fmt.Errorf("%s says more than %d bytes", path, maxOutput)
	}
	text := out.String()
	if strings.TrimSpace(text) == "" {
		text = errs.String()
	}
	status := -1
	if cmd.ProcessState != nil {
		status = cmd.ProcessState.ExitCode()
	}
	return text, status, err
}

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	cut bool
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), maxOutput-l.Len())
	l.cut = l.cut || n < len(p)
	l.Buffer.Write(p[:n])
	return len(p), nil
}

func firstLine(s string) string {
	sc := bufio.NewScanner(strings.NewReader(s))
	for sc.Scan() {
		if line := strings.TrimSpace(sc.Text()); line != "" {
			return line
		}
	}
	return "it says nothing"
}
