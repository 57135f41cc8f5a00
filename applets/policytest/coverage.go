package policytest

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"zmailer/shellcfg/shell"
)

// coverage is which lines of the policy have run.
type coverage struct {
	files map[string]map[int]bool // lines with commands: whether one has run
}

// add notes the lines of a loaded policy.
func (c *coverage) add(p *shell.Program) {
	for _, pos := range p.Lines() {
		c.line(pos, false)
	}
}

// ran notes a line that runs.
func (c *coverage) ran(pos shell.Position) { c.line(pos, true) }

func (c *coverage) line(pos shell.Position, ran bool) {
	if c.files == nil {
		c.files = make(map[string]map[int]bool)
	}
	lines := c.files[pos.File]
	if lines == nil {
		lines = make(map[int]bool)
		c.files[pos.File] = lines
	}
	lines[pos.Line] = lines[pos.Line] || ran
}

// print prints a line for each file, with the lines that did not run.
func (c *coverage) print(out io.Writer) error {
	for _, file := range slices.Sorted(maps.Keys(c.files)) {
		lines := c.files[file]
		ran := 0
		var missed []int
		for n, yes := range lines {
			if yes {
				ran++
			} else {
				missed = append(missed, n)
			}
		}
		slices.Sort(missed)
		text := ""
		if len(missed) > 0 {
			text = "  not run: " + strings.Trim(fmt.Sprint(missed), "[]")
		}
		if _, err := fmt.Fprintf(out, "%3d%% of %s%s\n", ran*100/len(lines), file, text); err != nil {
			return err
		}
	}
	return nil
}
