package peers

import (
	_ "embed"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

//go:embed enter.sh
var enter string

// Start runs a shell script where a peer is installed, as enter.sh has it, with DIR
// for a directory that both sides see, and waits for the socket there, or for one of
// the network if socket is an address with a port. What it runs ends with stop, or
// else with the test.
func Start(t testing.TB, name, script, socket string) (path string, stop func()) {
	t.Helper()
	root := Dir(t, name)
	if os.Getuid() != 0 {
		t.Skip("needs root, to have a namespace of its own")
	}
	dir, err := os.MkdirTemp("", "peer") // a short name: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "enter.sh")
	if err := os.WriteFile(program, []byte(enter), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program, root, "true").CombinedOutput(); err != nil {
		t.Skipf("no namespace: %v: %s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(program, root, "sh", "-ec", strings.ReplaceAll(script, "DIR", dir))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // unshare takes all of the namespace along
		cmd.Wait()                                      // killed: an error is what is wanted
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			text, err := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s said (%v):\n%s", name, err, text[max(0, len(text)-4000):])
		}
	})
	network, path := "tcp", socket
	if !strings.Contains(socket, ":") {
		network, path = "unix", filepath.Join(dir, socket)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial(network, path)
		if err == nil {
			c.Close()
			return path, stop
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
