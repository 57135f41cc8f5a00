package proc

import (
	"os/exec"
	"strings"
	"testing"
)

func TestStartDaemon(t *testing.T) {
	read := func(start func(*exec.Cmd) error) string {
		var out strings.Builder
		cmd := exec.Command("cat", "/proc/self/timerslack_ns")
		cmd.Stdout = &out
		if err := start(cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Skip("no timer slack to be read: ", err)
		}
		return strings.TrimSpace(out.String())
	}
	before := read((*exec.Cmd).Start)
	if got := read(StartDaemon); got != "1000000" {
		t.Errorf("slack of a daemon is %q ns", got)
	}
	if got := read((*exec.Cmd).Start); got != before {
		t.Errorf("slack of others is %q ns, was %q", got, before)
	}
}
