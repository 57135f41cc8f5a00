package saslauth

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/testdata/peers"
)

// asks puts a right and wrong passwords to a checker.
func asks(t *testing.T, c Checker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, tt := range []struct {
		user, password string
		want           bool
	}{{"joe", "pass word", true}, {"joe", "wrong", false}, {"nobody-here", "x", false}, {"joe", "", false}, {strings.Repeat("x", 2000), "x", false}} {
		if ok, err := c.Check(ctx, tt.user, tt.password); ok != tt.want || err != nil {
			t.Errorf("%.20s %s: %v, %v", tt.user, tt.password, ok, err)
		}
	}
}

// TestSaslauthd asks PAM through the daemon of Cyrus SASL.
func TestSaslauthd(t *testing.T) {
	h, err := exec.Command("openssl", "passwd", "-6", "pass word").Output()
	if err != nil {
		t.Skip(err)
	}
	path, _ := peers.Start(t, "sasl", `
mkdir -p /etc/pam.d
printf 'auth required pam_unix.so nodelay\naccount required pam_unix.so\n' >/etc/pam.d/smtp
echo 'joe:x:60999:60999::/nowhere:/bin/false' >>/etc/passwd
echo 'joe:`+strings.TrimSpace(string(h))+`:19000:0:99999:7:::' >>/etc/shadow
exec saslauthd -d -a pam -n 2 -m DIR`, "mux")
	asks(t, &Saslauthd{Socket: path})
	if ok, err := (&Saslauthd{Socket: path + "x"}).Check(t.Context(), "joe", "x"); ok || err == nil {
		t.Errorf("no daemon: %v, %v", ok, err)
	}
}

const dovecotConf = `
base_dir = DIR/run
log_path = DIR/dovecot.log
state_dir = DIR/state
ssl = no
protocols =
auth_mechanisms = plain login scram-sha-256
auth_verbose = yes
auth_failure_delay = 0 secs
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u DIR/users
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=/nowhere
}
service auth {
  unix_listener DIR/auth {
    mode = 0666
  }
}
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
`

// TestDovecot has Dovecot judge, by every mechanism that passes through.
func TestDovecot(t *testing.T) {
	path, _ := peers.Start(t, "dovecot", `
mkdir -p DIR/run DIR/state
echo 'joe:pass word' >DIR/users
cat >DIR/conf <<'END'
`+dovecotConf+`
END
exec dovecot -F -c DIR/conf`, "auth")
	d := &Dovecot{Socket: path}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	names, err := d.Mechanisms(ctx)
	if err != nil || strings.Join(names, " ") != "SCRAM-SHA-256 PLAIN LOGIN" {
		t.Fatalf("mechanisms %q, %v", names, err)
	}
	peer := Peer{Client: netip.MustParseAddr("192.0.2.1"), Secured: true}
	for _, tt := range []struct {
		name      string
		responses []string
		user      string
		ok        bool
	}{
		{"PLAIN", []string{"\x00joe\x00pass word"}, "joe", true},
		{"PLAIN", []string{"<none>", "\x00joe\x00pass word"}, "joe", true},
		{"PLAIN", []string{"\x00joe\x00wrong"}, "joe", false},
		{"PLAIN", []string{"\x00ann\x00x"}, "ann", false},
		{"LOGIN", []string{"<none>", "joe", "pass word"}, "joe", true},
		{"LOGIN", []string{"<none>", "joe", "x"}, "joe", false},
		{"SCRAM-SHA-256", []string{"n,,n=joe,r=abc", "c=biws,r=abc,p=AAAA"}, "joe", false},
	} {
		_, end := talk(d.New(tt.name, peer, nil), tt.responses...)
		if end == nil || end.User != tt.user || (end.Err == nil) != tt.ok || !tt.ok && end.Err != ErrDenied {
			t.Errorf("%s %q: %+v", tt.name, tt.responses, end)
		}
	}
	// Many at once: each has a process id of its own.
	ends := make(chan *Outcome)
	const many = 20
	for range many {
		go func() {
			_, end := talk(d.New("PLAIN", peer, nil), "\x00joe\x00pass word")
			ends <- end
		}()
	}
	for range many {
		if end := <-ends; end == nil || end.Err != nil {
			t.Errorf("one of many: %+v", end)
		}
	}
	refused := func(user string) error { return fmt.Errorf("not %s", user) }
	if _, end := talk(d.New("PLAIN", peer, refused), "\x00joe\x00pass word"); end == nil || end.Err == nil {
		t.Errorf("not allowed: %+v", end)
	}
	if _, end := talk((&Dovecot{Socket: path + "x"}).New("PLAIN", peer, nil), "x"); end == nil || end.Err == nil || end.Err == ErrDenied {
		t.Errorf("no server: %+v", end)
	}
}

// TestCheckPassword asks a program by the interface of checkpassword.
func TestCheckPassword(t *testing.T) {
	prog := filepath.Join(t.TempDir(), "checkpassword")
	text := "#!/bin/sh\n[ \"$1\" = arg ] || exit 111\ntr '\\0' '\\n' <&3 | {\nread -r user\nread -r password\n[ \"$user\" != crash ] || exit 111\n[ \"$user:$password\" = 'joe:pass word' ] || exit 1\n}\nstatus=$?\n[ $status = 0 ] || exit $status\nshift\nexec \"$@\"\n"
	if err := os.WriteFile(prog, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	c := NewCheckPassword(prog, "arg")
	asks(t, c)
	if ok, err := c.Check(t.Context(), "crash", "x"); ok || err == nil {
		t.Errorf("crash: %v, %v", ok, err)
	}
	if ok, err := NewCheckPassword(prog+"x").Check(t.Context(), "joe", "x"); ok || err == nil {
		t.Errorf("no program: %v, %v", ok, err)
	}
}
