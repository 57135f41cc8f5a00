package smtpserver

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zmailer/applets/smtpserver/mailauth"
	"zmailer/shellcfg/resolver"
	"zmailer/testdata/peers"
)

// runPeer runs a daemon of others until the end of the test or until stop, and waits
// until it listens on a socket of dir.
func runPeer(t *testing.T, dir, sock, command string) (stop func()) {
	t.Helper()
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // it may have workers
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	})
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("%s\n%s", command, out.Bytes())
		}
	})
	for range 1200 {
		network := "tcp"
		if filepath.IsAbs(sock) {
			network = "unix"
		}
		if c, err := net.Dial(network, sock); err == nil {
			c.Close()
			return stop
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s: %v\n%s", command, err, out.Bytes())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen\n%s", command, out.Bytes())
	return nil
}

// TestOpenDKIM: opendkim signs what our clients send, and the signature holds: what
// it was shown is what is in the spool.
func TestOpenDKIM(t *testing.T) {
	opendkim := peers.Program(t, "opendkimd", "usr/sbin/opendkim")
	dir := t.TempDir()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	write("hosts", "127.0.0.1\n")
	sock := filepath.Join(dir, "sock")
	write("conf", fmt.Sprintf("Socket local:%s\nMode s\nDomain example.org\nSelector one\nKeyFile %s/key.pem\nInternalHosts %s/hosts\nCanonicalization simple/simple\nPidFile %s/pid\nSyslog no\nRequireSafeKeys no\n", sock, dir, dir, dir))
	runPeer(t, dir, sock, opendkim+" -f -x "+dir+"/conf")

	dns, err := resolver.NewFake(fmt.Sprintf(`one._domainkey.example.org TXT "v=DKIM1; k=rsa; p=%s"`, base64.StdEncoding.EncodeToString(public)))
	if err != nil {
		t.Fatal(err)
	}
	ts := start(t, "milter local:"+sock)
	reply := ts.converse("EHLO c\n" + milterMail + "DATA\nFrom: Joe  <joe@example.org>\nTo: a,\n b\nSubject:no  blank\nX-Odd:  two\n\nbody  \n..dot\n\n\n.\n" +
		milterMail + "DATA\nFrom: x@example.net\n\nnot ours\n.\nQUIT\n")
	list := ts.messages()
	if len(list) != 2 {
		t.Fatal(reply)
	}
	results := mailauth.DKIM(t.Context(), dns, mailauth.CRLF(strings.NewReader(list[0].text)))
	if len(results) != 1 || results[0].Value != "pass" || results[0].Domain != "example.org" {
		t.Errorf("%+v\n%s", results, list[0].text)
	}
	if strings.Contains(list[1].text, "DKIM-Signature") {
		t.Errorf("signed: %s", list[1].text)
	}
}
