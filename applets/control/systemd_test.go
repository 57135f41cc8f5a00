package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManager(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", root)
	file := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const system = "/etc/zmailer/zmailer.conf"
	file("systemctl", "#!/bin/sh\necho \"$@\" >>"+root+"/calls\ncase $2 in zmailer-router.service) echo masked; exit 1 ;; esac\n")
	file("usr/lib/systemd/system/zmailer-router.service", "")
	if findManager(root, system) != nil {
		t.Error("found a systemd that does not run")
	}
	file("run/systemd/system/x", "")
	if findManager(root, "/home/joe/z/etc/zmailer/zmailer.conf") != nil {
		t.Error("an instance of a user has no units")
	}
	m := findManager(root, system)
	if m == nil {
		t.Fatal("found no systemd")
	}
	if err := m.do("start", nil); err != nil {
		t.Error(err)
	}
	if err := m.do("stop", []string{"router"}); err == nil || !strings.Contains(err.Error(), "masked") {
		t.Errorf("error: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(root, "calls"))
	want := "start zmailer.service zmailer-router.service zmailer-scheduler.service zmailer-smtpserver.service\nstop zmailer-router.service\n"
	if string(b) != want {
		t.Errorf("%q %v, want %q", b, err, want)
	}
}
