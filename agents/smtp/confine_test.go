package smtp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg"
)

// TestConfine confines a process as an agent is, which then tries to write.
func TestConfine(t *testing.T) {
	if dir := os.Getenv("ZMAILER_TEST_CONFINE"); dir != "" {
		confinedAgent(dir)
		os.Exit(0)
	}
	dir := t.TempDir()
	for _, name := range []string{"etc/db", "po/run", "po/queue", "po/transport", "po/router", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := "POSTOFFICE=" + dir + "/po\nMAILVAR=" + dir + "/etc\nLANDLOCK_WRITE=" + dir + "/tmp\n"
	for name, text := range map[string]string{"etc/zmailer.conf": conf, "po/queue/message": "x", "etc/pw": "* u p"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestConfine$")
	cmd.Env = append(os.Environ(), "ZMAILER_TEST_CONFINE="+dir, "TMPDIR="+dir+"/tmp") // TMPDIR: for TestMain
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := string(out)
	if strings.Contains(got, "write po/queue/message: true") && !strings.Contains(got, "false") {
		t.Skip("this kernel has no Landlock, or one too old")
	}
	want := `read po/queue/message: true
read etc/pw: true
policy: true
counts: true
transcript: true
write po/queue/message: false
write po/router/new: false
write po/run/smtp.pid: false
write etc/db/aliases: false
write etc/pw: false
write other: false
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func confinedAgent(dir string) {
	at := func(name string) string { return filepath.Join(dir, name) }
	say := func(what string, err error) {
		fmt.Printf("%s: %v\n", what, err == nil)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			fmt.Println(err)
		}
	}
	conf, err := shellcfg.LoadConf(at("etc/zmailer.conf"))
	if err == nil {
		err = confine(conf, []string{"-l", at("log"), "-A", at("etc/pw")})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, name := range []string{"po/queue/message", "etc/pw"} {
		_, err := os.ReadFile(at(name))
		say("read "+name, err)
	}
	sc := &stsCache{dir: at("po/run/mta-sts")}
	say("policy", sc.store("example.org", "1", []byte("x")))
	var failed error
	counts := tlsrpt.NewRecorder(at("po/run/tlsrpt"), func(err error) { failed = err })
	counts.Add(tlsrpt.Fact{Domain: "example.org", Policy: tlsrpt.STS})
	counts.Close()
	say("counts", failed)
	_, err = openTranscript(at("log"))
	say("transcript", err)
	for _, name := range []string{"po/queue/message", "po/router/new", "po/run/smtp.pid", "etc/db/aliases", "etc/pw", "other"} {
		say("write "+name, os.WriteFile(at(name), nil, 0o600))
	}
}
