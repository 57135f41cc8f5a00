package smtpserver

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zmailer/spool"
)

func TestKeeper(t *testing.T) {
	certFile, keyFile := certificate(t, "a.example.org")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pairs := []keyPair{{certFile, keyFile}, {certFile, keyFile + ".none"}, {"/dev/null", keyFile}}
	k, err := startKeeper(exec.Command(exe, "smtpserver", "--keep-keys"), pairs)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cert, key, err := k.read(pairs[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			t.Error(err)
		}
	}
	for _, p := range pairs[1:] {
		if _, _, err := k.read(p); err == nil {
			t.Errorf("%v is read", p)
		}
	}
	if k.knows(keyPair{keyFile, keyFile}) || !k.knows(pairs[1]) || (*keyKeeper)(nil).knows(pairs[0]) {
		t.Error("knows other pairs")
	}
	if err := k.close(); err != nil {
		t.Error(err)
	}
	if _, _, err := k.read(pairs[0]); err == nil {
		t.Error("reads after its end")
	}
}

// The child does not read what it was not told to at the start.
func FuzzKeepKeys(f *testing.F) {
	f.Add(`[{"Cert":"/nowhere/a","Key":"/nowhere/b"}] 0 1`)
	f.Add(`[] -1`)
	f.Fuzz(func(t *testing.T, in string) {
		if strings.Contains(in, "dev") || strings.Contains(in, "proc") {
			return // a file that does not end, or is another one each time
		}
		var out bytes.Buffer
		if err := keepKeys(strings.NewReader(in), &out); err == nil && strings.Contains(out.String(), "root:") {
			t.Error("reads accounts")
		}
	})
}

// TestRenewedAsRoot runs the daemon as root, which becomes another user, and renews
// a key that only root can read, in a directory that only root can enter.
func TestRenewedAsRoot(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "keeper")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	post, secret := filepath.Join(dir, "post"), filepath.Join(dir, "secret")
	for _, d := range []string{dir, secret} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := spool.Create(post, true); err != nil {
		t.Fatal(err)
	}
	renew := func(name string) {
		t.Helper()
		cert, key := certificate(t, name)
		for from, to := range map[string]string{key: "key.pem", cert: "cert.pem"} {
			text := readFile(t, from)
			tmp := filepath.Join(secret, ".new")
			if err := os.WriteFile(tmp, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(tmp, filepath.Join(secret, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	renew("old.example.org")
	if err := os.Chmod(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	conf := filepath.Join(dir, "zmailer.conf")
	for path, text := range map[string]string{
		conf:                                  fmt.Sprintf("POSTOFFICE=%s\nLOGDIR=%s\nHOSTNAME=mx.example.org\nMYDOMAIN=example.org\nSPOOLSYNC=none\nTRUSTEDUSER=nobody\n", post, dir),
		filepath.Join(dir, "smtpserver.conf"): "listen " + addr + " tls\ntls " + secret + "/cert.pem " + secret + "/key.pem\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ZMAILER_TEST_DAEMON="+conf)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil || t.Failed() {
			t.Errorf("daemon: %v\n%s", err, out.String())
		}
	}()
	name := func() string {
		c, err := tls.Dial("tcp", addr, trusting)
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 3)); err != nil {
			return err.Error()
		}
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	await := func(want string, limit time.Duration) {
		t.Helper()
		for end := time.Now().Add(limit); name() != want; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("certificate of %s, want %s", name(), want)
			}
		}
	}
	await("old.example.org", 20*time.Second)
	if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid)); err != nil || !strings.Contains(string(status), "\nUid:\t65534") {
		t.Errorf("the daemon is root: %v\n%s", err, status)
	}
	renew("new.example.org")
	await("new.example.org", 60*time.Second)
	// The keeper works for a new configuration, too.
	renew("newer.example.org")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	await("newer.example.org", 60*time.Second)
}
