package applets

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// mtaScript runs a program in a mount namespace of its own, in which the system's
// sendmail is ours: most programs have its path built in. The namespace also has
// empty directories for the jobs of cron and at, and what else scripts list in
// $WORK/binds as lines "FILE TARGET". The program gets a clean environment.
const mtaScript = `set -e
mta=$1; binds=$2; shift 2
mount -t overlay -o "lowerdir=$mta:/usr/sbin" overlay /usr/sbin
if [ -f "$binds" ]; then
	while read -r file target; do mount --bind "$file" "$target"; done <"$binds"
fi
exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$HOME" WORK="$WORK" PORT="$PORT" TERM=xterm LANG=C.UTF-8 "$@"
`

// namespace is the command that enters a mount namespace, nil where the kernel
// or the rights of the user do not allow one with an overlay in it.
var namespace = sync.OnceValue(func() []string {
	way := []string{"unshare", "-m"}
	if os.Getuid() != 0 {
		way = []string{"unshare", "-r", "-m"}
	}
	dir, err := os.MkdirTemp("", "mta")
	if err != nil {
		return nil
	}
	defer os.Remove(dir)
	try := append(way[1:len(way):len(way)], "sh", "-c", mtaScript, "sh", dir, "", "true")
	if exec.Command(way[0], try...).Run() != nil {
		return nil
	}
	return way
})

// callerCmd runs a program of the system that sends mail: caller PROGRAM ARGS...
// What it calls sendmail with goes to $WORK/calls, a line for each call.
func callerCmd(ts *testscript.TestScript, neg bool, args []string) {
	way := namespace()
	if way == nil {
		ts.Fatalf("no mount namespaces here: the script must ask for [namespace]")
	}
	work := ts.Getenv("WORK")
	mta := filepath.Join(work, "mta")
	if _, err := os.Stat(mta); err != nil {
		ts.Check(os.Mkdir(mta, 0o755))
		text := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s/calls\nexec %s/z/sbin/sendmail \"$@\"\n", work, work)
		ts.Check(os.WriteFile(filepath.Join(mta, "sendmail"), []byte(text), 0o755))
	}
	way = append(way[:len(way):len(way)], "sh", "-c", mtaScript, "sh", mta, filepath.Join(work, "binds"))
	way = append(way, args...)
	err := ts.Exec(way[0], way[1:]...)
	if (err != nil) != neg {
		ts.Fatalf("caller %q: %v", args, err)
	}
}

// sentCmd waits until the sink has a message that the pattern of grep -E matches,
// and shows it: sent PATTERN.
func sentCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sent PATTERN")
	}
	deadline := time.Now().Add(20 * time.Second)
	for ts.Exec("grep", "-rlE", "-e", args[0], filepath.Join(ts.Getenv("WORK"), "sink")) != nil {
		if time.Now().After(deadline) {
			_ = ts.Exec("sh", "-c", "cat calls sink/*; mailq") // for the log of the failure
			ts.Fatalf("nothing like %q was sent", args[0])
		}
		time.Sleep(30 * time.Millisecond)
	}
	file, _, _ := strings.Cut(ts.ReadFile("stdout"), "\n")
	ts.Check(ts.Exec("cat", file))
}

// condition adds to the conditions of scripts: namespace, and the libraries of
// other languages as perl:MODULE, ruby:LIBRARY, node:PACKAGE and file:PATH.
func condition(cond string) (bool, error) {
	kind, name, _ := strings.Cut(cond, ":")
	switch kind {
	case "namespace":
		return namespace() != nil, nil
	case "perl":
		return exec.Command("perl", "-M"+name, "-e", "1").Run() == nil, nil
	case "ruby":
		return exec.Command("ruby", "-r"+name, "-e", "").Run() == nil, nil
	case "node":
		_, err := os.Stat("/usr/share/nodejs/" + name)
		return err == nil, nil
	case "file":
		_, err := os.Stat(name)
		return err == nil, nil
	}
	return false, fmt.Errorf("no condition %q", cond)
}
