package smtpserver

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const loggedIn = 100

// loggedInClients is a process of clients that have logged in under TLS and wait.
func loggedInClients(addr string) {
	var clients []*smtp.Client // a connection that is forgotten is closed
	for range loggedIn {
		c, err := smtp.DialStartTLS(addr, trusting)
		if err == nil {
			err = c.Auth(sasl.NewPlainClient("", "joe", "secret"))
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		clients = append(clients, c)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(clients)
	os.Exit(0)
}

// TestIdleMemoryTLS measures what a session costs that has logged in under TLS and
// does nothing.
func TestIdleMemoryTLS(t *testing.T) {
	ts := start(t, withUsers(t)+"limit sessions=1000 per_address=1000\n")
	before := memory()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ZMAILER_TEST_CLIENTS="+ts.addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if n := ts.active.Load(); n != loggedIn {
		t.Fatalf("%d sessions", n)
	}
	per := (memory() - before) / loggedIn
	t.Logf("%d octets a session", per)
	if per > 48<<10 {
		t.Errorf("%d octets a session", per)
	}
}
