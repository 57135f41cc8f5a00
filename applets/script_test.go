package applets

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes the test binary act as every program of the table, so that the
// scripts start real daemons that talk through real directories and pipes.
func TestMain(m *testing.M) {
	programs := map[string]func(){"zmailer": act}
	for _, row := range Table() {
		programs[row.Name] = act
		for _, alias := range row.Aliases {
			programs[alias] = act
		}
	}
	testscript.Main(m, programs)
}

func act() { os.Exit(Main(os.Args)) }

func TestScripts(t *testing.T) {
	params := scriptParams()
	params.Dir = "../testdata/script"
	if testing.Short() {
		// Under the race detector: one script for each part of the way. The others wait
		// for real programs, which has its limits on a machine that is slowed down.
		params.Dir = ""
		params.Files = []string{"../testdata/script/control.txtar", "../testdata/script/local.txtar", "../testdata/script/relay.txtar"}
	}
	testscript.Run(t, params)
}

// scriptParams is what scripts have to work with.
func scriptParams() testscript.Params {
	return testscript.Params{
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("USER", "joe")
			peers, err := filepath.Abs("../testdata/peers")
			env.Setenv("PEERSCRIPTS", peers)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"instance": instanceCmd,
			"await":    awaitCmd,
			"sink":     sinkCmd,
			"send":     sendCmd,
			"pidkill":  pidkillCmd,
			"hops":     hopsCmd,
			"notary":   notaryCmd,
			"versions": versionsCmd,
			"caller":   callerCmd,
			"sent":     sentCmd,
			"page":     pageCmd,
		},
		Condition: condition,
	}
}

// instanceCmd sets up an instance below $WORK/z with the local users joe and ann,
// whose mail goes to $WORK/home/NAME/Maildir. Arguments are lines for zmailer.conf.
// It sets ZCONFIG, PORT and SINKPORT; the daemons are not started.
func instanceCmd(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	prefix := filepath.Join(work, "z")
	port, sink := freePort(ts), freePort(ts)
	ts.Setenv("PORT", strconv.Itoa(port))
	ts.Setenv("SINKPORT", strconv.Itoa(sink))
	zconfig := filepath.Join(prefix, "etc/zmailer/zmailer.conf")
	ts.Check(ts.Exec("zmailer", "install", "--prefix", prefix, "--port", strconv.Itoa(port), "--hostname", "mx.test"))
	ts.Setenv("ZCONFIG", zconfig)
	ts.Setenv("SPOOL", filepath.Join(prefix, "var/spool/postoffice"))
	ts.Setenv("LOGS", filepath.Join(prefix, "var/log/zmailer"))
	ts.Setenv("ETC", filepath.Join(prefix, "etc/zmailer"))
	for _, user := range []string{"joe", "ann"} {
		home := filepath.Join(work, "home", user)
		ts.Check(os.MkdirAll(home, 0o755))
		line := fmt.Sprintf("%s %d %d %s maildir:%s/Maildir\n", user, os.Getuid(), os.Getgid(), home, home)
		appendFile(ts, filepath.Join(prefix, "etc/zmailer/db/users"), line)
	}
	for _, line := range args {
		appendFile(ts, zconfig, os.Expand(line, ts.Getenv)+"\n")
	}
	ts.Defer(func() {
		// Errors do not matter here: the script may have stopped everything itself.
		_ = ts.Exec("zmailer", "kill")
		logs, _ := filepath.Glob(filepath.Join(prefix, "var/log/zmailer/*"))
		for _, path := range logs { // shown when the script fails
			b, _ := os.ReadFile(path)
			if n := len(b) - 20000; n > 0 {
				b = b[n:]
			}
			ts.Logf("--- %s\n%s", path, b)
		}
	})
}

func appendFile(ts *testscript.TestScript, path, text string) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	ts.Check(err)
	_, err = f.WriteString(text)
	ts.Check(err)
	ts.Check(f.Close())
}

func freePort(ts *testscript.TestScript) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// awaitCmd runs a command again and again until it succeeds (with "!", until it
// fails), for at most 20 seconds.
func awaitCmd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 0 && args[0] == "exec" {
		args = args[1:]
	}
	if len(args) == 0 {
		ts.Fatalf("usage: await [exec] command...")
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := ts.Exec(args[0], args[1:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("await %q: still %v", args, err)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

// pidkillCmd sends SIGKILL to the daemon whose pid file is named.
func pidkillCmd(ts *testscript.TestScript, neg bool, args []string) {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("SPOOL"), "run", args[0]+".pid"))
	ts.Check(err)
	ts.Check(exec.Command("kill", "-9", string(b[:len(b)-1])).Run())
}
