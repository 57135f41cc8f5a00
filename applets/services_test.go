package applets

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An ownInstance is a mailer below a directory, for tests that are no scripts.
type ownInstance struct {
	t       *testing.T
	prefix  string
	zconfig string
	port    string
}

func newInstance(t *testing.T, conf ...string) *ownInstance {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	in := &ownInstance{t: t, prefix: t.TempDir(), port: port}
	in.zconfig = filepath.Join(in.prefix, "etc/zmailer/zmailer.conf")
	in.run("zmailer", "install", "--prefix", in.prefix, "--port", port, "--hostname", "mx.test")
	in.append("etc/zmailer/zmailer.conf", strings.Join(conf, "\n")+"\n")
	in.append("etc/zmailer/db/users", fmt.Sprintf("joe %d %d %s maildir:%[3]s/joe\n", os.Getuid(), os.Getgid(), in.prefix))
	t.Cleanup(func() { in.command("zmailer", "kill").Run() })
	return in
}

func (in *ownInstance) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "ZCONFIG="+in.zconfig)
	return cmd
}

func (in *ownInstance) run(name string, args ...string) string {
	in.t.Helper()
	out, err := in.command(name, args...).CombinedOutput()
	if err != nil {
		in.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func (in *ownInstance) path(name string) string { return filepath.Join(in.prefix, name) }

func (in *ownInstance) append(name, text string) {
	in.t.Helper()
	f, err := os.OpenFile(in.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		in.t.Fatal(err)
	}
}

// until waits for something to be true.
func until(t *testing.T, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !fn(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

// greets says whether the SMTP server answers at an address, and as what.
func greets(addr string) bool {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "220 mx.test ")
}

// datagrams is a socket that a service manager or a journal reads.
func datagrams(t *testing.T, path string) <-chan string {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	list := make(chan string, 10_000)
	go func() {
		defer close(list)
		buf := make([]byte, 256<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			list <- string(buf[:n])
		}
	}()
	return list
}

// awaitDatagram returns the first one with all of the texts in it.
func awaitDatagram(t *testing.T, list <-chan string, texts ...string) string {
	t.Helper()
	timeout := time.After(20 * time.Second)
next:
	for {
		select {
		case got := <-list:
			for _, text := range texts {
				if !strings.Contains(got, text) {
					continue next
				}
			}
			return got
		case <-timeout:
			t.Fatalf("no datagram with %q", texts)
		}
	}
}

// TestService runs the mailer as a service manager does: with sockets that it has
// opened, telling it when the mailer is ready, and giving signs of life. The sockets
// outlive the SMTP server.
func TestService(t *testing.T) {
	in := newInstance(t)
	in.append("etc/zmailer/smtpserver.conf", "listen 127.0.0.1:"+in.port+"\n")
	notices := datagrams(t, in.path("notify"))
	var files []*os.File
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, l.Addr().String())
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		files = append(files, f)
	}
	cmd := in.command("sh", "-c", "LISTEN_PID=$$ exec zmailer run")
	cmd.Env = append(cmd.Env, "LISTEN_FDS=2", "LISTEN_FDNAMES=smtp:submission", "NOTIFY_SOCKET="+in.path("notify"), "WATCHDOG_USEC=200000")
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}()
	for _, f := range files {
		f.Close()
	}
	awaitDatagram(t, notices, "READY=1", "STATUS=all daemons run")
	awaitDatagram(t, notices, "WATCHDOG=1")
	for _, addr := range append(addrs, "127.0.0.1:"+in.port) {
		if !greets(addr) {
			t.Errorf("nobody answers at %s", addr)
		}
	}
	in.run("zmailer", "reload")
	awaitDatagram(t, notices, "WATCHDOG=1")
	pid := strings.TrimSpace(read(t, in.path("var/spool/postoffice/run/smtpserver.pid")))
	exec.Command("kill", "-9", pid).Run()
	if !greets(addrs[0]) || !greets(addrs[1]) {
		t.Error("the sockets did not outlive the server")
	}
	until(t, "the server's own socket", func() bool { return greets("127.0.0.1:" + in.port) })
	cmd.Process.Signal(syscall.SIGHUP)
	awaitDatagram(t, notices, "RELOADING=1", "MONOTONIC_USEC=")
	awaitDatagram(t, notices, "READY=1")
}

// TestJournal follows a message by its id through the records that all daemons send
// to the journal.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	records, messages := datagrams(t, filepath.Join(dir, "journal")), datagrams(t, filepath.Join(dir, "log"))
	in := newInstance(t, "LOG='journal:"+dir+"/journal syslog:"+dir+"/log'")
	in.run("zmailer")
	cmd := in.command("sendmail", "joe")
	cmd.Stdin = strings.NewReader("Subject: x\n\nx\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	got := awaitDatagram(t, records, "ZMAILER_EVENT=routed\n", "ZMAILER_TO=joe\n", "SYSLOG_IDENTIFIER=zmailer/router\n")
	id := regexp.MustCompile(`(?m)^ZMAILER_ID=(\w+)$`).FindString(got)
	awaitDatagram(t, records, "ZMAILER_EVENT=delivered\n", id+"\n", "SYSLOG_IDENTIFIER=zmailer/scheduler\n", "PRIORITY=6\n")
	awaitDatagram(t, records, "ZMAILER_EVENT=done\n", id+"\n")
	awaitDatagram(t, messages, "<22>", " zmailer/scheduler[", ": done spoolid="+strings.TrimPrefix(id, "ZMAILER_ID="))
	if files, _ := filepath.Glob(in.path("var/log/zmailer/*")); len(files) > 0 {
		t.Errorf("there are files: %q", files)
	}
}

// TestLogrotate has logrotate rotate the logs of a running mailer by the packaged
// rules.
func TestLogrotate(t *testing.T) {
	logrotate := program(t, "logrotate", "/usr/sbin/logrotate")
	in := newInstance(t)
	in.run("zmailer")
	rules := read(t, "../packaging/etc/logrotate")
	rules = strings.ReplaceAll(rules, "/var/log/zmailer", in.path("var/log/zmailer"))
	rules = strings.ReplaceAll(rules, "/usr/bin/zmailer", "ZCONFIG="+in.zconfig+" "+in.path("bin/zmailer"))
	rules = regexp.MustCompile(`create 0640 \w+ \w+`).ReplaceAllString(rules, "create 0640")
	in.append("rules", rules)
	if out := in.run(logrotate, "-d", "-s", in.path("state"), in.path("rules")); strings.Contains(out, "error") {
		t.Fatalf("logrotate -d: %s", out)
	}
	names := []string{"router", "scheduler", "smtpserver", "zmailer"}
	for _, name := range names { // an empty one is not rotated
		until(t, name+" says something", func() bool {
			st, err := os.Stat(in.path("var/log/zmailer/" + name))
			return err == nil && st.Size() > 0
		})
	}
	in.run(logrotate, "-f", "-s", in.path("state"), in.path("rules"))
	in.run("zmailer", "reload")
	for _, name := range names {
		log := in.path("var/log/zmailer/" + name)
		if st, err := os.Stat(log + ".1"); err != nil || st.Size() == 0 {
			t.Errorf("%s was not rotated: %v", name, err)
		}
		if name == "zmailer" {
			continue
		}
		until(t, name+" writes to the new file", func() bool {
			return regexp.MustCompile(`msg=("configuration loaded"|reloaded)`).MatchString(read(t, log))
		})
	}
}

// program finds one that may not be installed.
func program(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", names[0])
	return ""
}

// TestFail2ban checks the filter against lines that the server writes, and against
// ones that a client tries to forge.
func TestFail2ban(t *testing.T) {
	f2b := program(t, "fail2ban-regex")
	const file, syslog = "time=2026-11-25T03:58:09.021Z ", "Nov 25 03:58:09 mx zmailer/smtpserver[17]: "
	lines := []struct {
		modes string // in which it counts
		text  string
	}{
		{"normal aggressive", file + `level=WARN msg="login failed" applet=smtpserver client=192.0.2.1 user=joe`},
		{"normal aggressive", file + `level=WARN msg="login failed" applet=smtpserver client=2001:db8::1 user="a b"`},
		{"normal aggressive", syslog + `login failed client=192.0.2.1 user=joe`},
		{"aggressive", file + `level=INFO msg=rejected applet=smtpserver spoolid="" action=rcpt client=192.0.2.2 helo=x from=a@b to=c@d code=550 dsn=5.1.1 reason="no such user"`},
		{"aggressive", syslog + `rejected spoolid=CR8HTQ22B6TWNW16 action=data client=192.0.2.2 helo=x from=a@b`},
		{"aggressive", file + `level=WARN msg="turned away" applet=smtpserver client=192.0.2.3 reason="too many"`},
		{"aggressive", syslog + `turned away client=192.0.2.3 reason="too many"`},
		{"", file + `level=INFO msg=accepted applet=smtpserver spoolid=CR8HTQ22B6TWNW16 client=192.0.2.4 helo="msg=\"login failed\" applet=smtpserver client=192.0.2.66"`},
		{"", file + `level=INFO msg="session ended" applet=smtpserver client=192.0.2.5 helo="level=WARN msg=\"login failed\" applet=smtpserver client=192.0.2.66 "`},
		{"", syslog + `session ended client=192.0.2.5 helo="login failed client=192.0.2.66 "`},
	}
	// The filter stands beside those of fail2ban, which it includes.
	dir := t.TempDir()
	log, filter := filepath.Join(dir, "log"), filepath.Join(dir, "zmailer.conf")
	for from, to := range map[string]string{"/etc/fail2ban/filter.d/common.conf": "common.conf", "../packaging/etc/fail2ban-filter.conf": "zmailer.conf"} {
		if err := os.WriteFile(filepath.Join(dir, to), []byte(read(t, from)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(line.text + "\n")
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"normal", "aggressive"} {
		// Its status is that of the last match.
		out, _ := exec.Command(f2b, "--print-all-matched", "--print-all-missed", log, filter+"[mode="+mode+"]").CombinedOutput()
		matched, missed, ok := strings.Cut(string(out), "|- Missed line(s):")
		if !ok {
			t.Fatalf("fail2ban-regex: %s", out)
		}
		for _, line := range lines {
			want := strings.Contains(line.modes, mode)
			if strings.Contains(matched, line.text) != want || strings.Contains(missed, line.text) == want {
				t.Errorf("%s: counted %v, want %v: %s", mode, !want, want, line.text)
			}
		}
	}
}
