package setup

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool"
)

var update = flag.Bool("update", false, "write packaging/systemd/zmailer.tmpfiles anew")

// TestTmpfiles keeps the directories that systemd-tmpfiles makes the same as those
// of spool.Create.
func TestTmpfiles(t *testing.T) {
	const path = "../../packaging/systemd/zmailer.tmpfiles"
	p := (&options{}).paths()
	var b strings.Builder
	b.WriteString("# The directories of the mailer, as spool.Dirs has them; see tmpfiles.d(5).\n# Made by: go test ./applets/setup -update\n")
	line := func(dir string, mode any, owner string) {
		fmt.Fprintf(&b, "d %-40s %04o %s - -\n", dir, mode, owner)
	}
	line(p.spool, 0o755, "root root")
	for _, d := range spool.Dirs {
		owner := "root root"
		if d.Server {
			owner = "zmailer zmailer"
		}
		dir := filepath.Join(p.spool, d.Name)
		line(dir, int(d.Mode), owner)
		if d.Hashed {
			for _, h := range spool.HashDirs() {
				line(filepath.Join(dir, h), int(d.Mode), owner)
			}
		}
	}
	fmt.Fprintf(&b, "f %-40s 0600 zmailer zmailer - -\n", filepath.Join(p.spool, "run/smtpserver.pid"))
	line(p.logs, 0o755, "root root")
	fmt.Fprintf(&b, "f %-40s 0640 zmailer zmailer - -\n", filepath.Join(p.logs, "smtpserver"))
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what spool.Dirs says (go test -update writes it): %v", path, err)
	}
}
