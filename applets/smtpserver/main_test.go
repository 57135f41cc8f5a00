package smtpserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg"
	"zmailer/spool"
)

// The test binary is also the router that the server asks, and other processes of
// the server.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "router":
			fakeRouter(os.Stdin, os.Stdout)
			os.Exit(0)
		case "smtpserver": // --keep-keys
			if err := keepKeys(os.Stdin, os.Stdout); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	if addr := os.Getenv("ZMAILER_TEST_CLIENTS"); addr != "" {
		loggedInClients(addr)
	}
	if conf := os.Getenv("ZMAILER_TEST_DAEMON"); conf != "" {
		runDaemon(conf)
	}
	if os.Getenv("ZMAILER_TEST_ROUTER") != "" {
		fakeRouter(os.Stdin, os.Stdout)
		os.Exit(0)
	}
	if os.Getenv("ZMAILER_TEST_INHERIT") != "" {
		showInherited()
	}
	os.Exit(m.Run())
}

// runDaemon is the daemon of an instance, until its input ends.
func runDaemon(file string) {
	os.Unsetenv("ZMAILER_TEST_DAEMON")
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	conf, err := shellcfg.LoadConf(file)
	if err == nil {
		err = Run(ctx, conf, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// showInherited says what was inherited, as the child of a service manager.
func showInherited() {
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	list, err := inherited()
	for _, l := range list {
		fmt.Println(adopt(l, l.name, []listenSpec{{network: "tcp4", addr: l.Addr().String(), role: roleSubmission}}))
	}
	fmt.Println(err, os.Getenv("LISTEN_FDS"))
	os.Exit(0)
}

// fakeRouter knows the domain example.org, in which some names are special.
func fakeRouter(in io.Reader, out io.Writer) {
	r := bufio.NewScanner(in)
	for r.Scan() {
		f, err := spool.SplitLine(r.Text(), 10)
		if err != nil || len(f) < 3 {
			fmt.Fprintln(os.Stderr, "bad question:", r.Text())
			os.Exit(1)
		}
		reply := func(words ...string) { out.Write(spool.AppendLine(nil, append(f[:1:1], words...)...)) }
		addr, relay := f[2], f[len(f)-2] == "relay"
		local, domain, _ := strings.Cut(addr, "@")
		switch {
		case local == "dumb":
		case local == "die":
			os.Exit(3)
		case local == "nonsense":
			fmt.Fprintln(out, "what?")
		case local == "whisper":
			fmt.Fprintln(os.Stderr, "psst")
			reply("ok", "", "", "")
		case f[1] == "mail" && local == "spammer":
			reply("reject", "550", "5.7.1", "Not you")
		case f[1] == "mail":
			reply("ok", "250", "2.1.0", "Ok")
		case f[1] == "expn":
			reply("ok", "250", "2.1.5", "<joe@example.org>\n<ann@example.org>")
		case domain != "" && domain != "example.org" && !relay:
			reply("reject", "554", "5.7.1", "Relay access denied")
		case local == "nobody":
			reply("reject", "550", "5.1.1", "User unknown")
		case local == "later":
			reply("defer", "450", "4.2.1", "Mailbox busy")
		case local == "liar":
			reply("reject", "250", "2.0.0", "I am no refusal")
		case local == "frozen":
			reply("freeze", "", "", "")
		default:
			reply("ok", "250", "2.1.5", "Ok")
		}
	}
}

func fakeRouterCommand() *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ZMAILER_TEST_ROUTER=1")
	return cmd
}

// A testServer is a server on a loopback port with a spool of its own.
type testServer struct {
	*server
	t    testing.TB
	addr string
	log  *logBuffer
}

func testConf(t testing.TB) *shellcfg.Conf {
	dir := t.TempDir()
	file := filepath.Join(dir, "zmailer.conf")
	post := filepath.Join(dir, "postoffice")
	if err := spool.Create(post, false); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("POSTOFFICE=%s\nLOGDIR=%s\nHOSTNAME=mx.example.org\nMYDOMAIN=example.org\nSMTPLISTEN=127.0.0.1:0\nSPOOLSYNC=none\nTRUSTEDUSER=root\n", post, dir)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := shellcfg.LoadConf(file)
	if err != nil {
		t.Fatal(err)
	}
	return conf
}

// start runs a server whose smtpserver.conf is config.
func start(t testing.TB, config string) *testServer {
	t.Helper()
	conf := testConf(t)
	buf := &logBuffer{}
	log := slog.New(slog.NewTextHandler(buf, nil))
	cfg, err := runConfig(context.Background(), conf, log, "test.conf", strings.NewReader(config))
	if err != nil {
		t.Fatal(err)
	}
	sp, err := conf.OpenSpool()
	if err != nil {
		t.Fatal(err)
	}
	srv := newServer(log, sp, cfg)
	srv.asker.Store(newAsker(log, source{command: fakeRouterCommand}, 1, cfg.limits.router))
	ctx, cancel := context.WithCancel(context.Background())
	l, err := cfg.listens[0].open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.accept(ctx, l) }()
	t.Cleanup(func() {
		l.Close()
		<-done
		srv.close(time.Second)
		srv.asker.Load().close()
		cancel()
		if t.Failed() {
			t.Logf("server's log:\n%s", buf)
		}
	})
	return &testServer{server: srv, t: t, addr: l.Addr().String(), log: buf}
}

// dial connects to the server.
func (ts *testServer) dial() net.Conn {
	ts.t.Helper()
	c, err := net.Dial("tcp", ts.addr)
	if err != nil {
		ts.t.Fatal(err)
	}
	ts.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// A stored is a message in the spool.
type stored struct {
	env  *spool.Envelope
	text string // header and body
}

// messages returns what has been submitted, in order.
func (ts *testServer) messages() []stored { return messages(ts.t, ts.spool) }

func messages(t testing.TB, sp *spool.Spool) []stored {
	t.Helper()
	list := submitted(t, sp)
	if rest, err := os.ReadDir(filepath.Join(sp.Root, spool.PublicDir)); err != nil || len(rest) > 0 && !t.Failed() {
		t.Errorf("public/ holds %d files, error %v", len(rest), err)
	}
	return list
}

// submitted is what messages returns while others may be on their way.
func submitted(t testing.TB, sp *spool.Spool) []stored {
	t.Helper()
	dir := filepath.Join(sp.Root, spool.RouterDir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name() < entries[j].Name() })
	var list []stored
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		env, off, err := spool.ParseEnvelope(b)
		if err != nil {
			t.Fatalf("%s: %v", e.Name(), err)
		}
		list = append(list, stored{env, string(b[off:])})
	}
	return list
}
