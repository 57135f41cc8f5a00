package relations

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// find is the path of a program of a server, wherever Debian puts it. Without
// it the test is skipped.
func find(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/"} {
		if m, _ := filepath.Glob(pattern + name); len(m) > 0 {
			return m[len(m)-1]
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// A daemon is a server that a test runs in a directory of its own.
type daemon struct {
	t    *testing.T
	dir  string
	cred *syscall.Credential
	argv []string
	cmd  *exec.Cmd
	log  string
}

// newDaemon makes the directory, short enough for the name of a socket. Root
// gives it to nobody, as some servers refuse to run as root.
func newDaemon(t *testing.T) *daemon {
	t.Helper()
	dir, err := os.MkdirTemp("", "zm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	d := &daemon{t: t, dir: dir, log: filepath.Join(dir, "log")}
	if os.Getuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Skipf("root without a user nobody: %v", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		d.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return d
}

func (d *daemon) command(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "HOME="+d.dir, "LC_ALL=C", "TMPDIR="+d.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: d.cred, Setpgid: true}
	return cmd
}

func (d *daemon) run(stdin string, argv ...string) string {
	d.t.Helper()
	cmd := d.command(argv...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

func (d *daemon) start(argv ...string) {
	d.t.Helper()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		d.t.Fatal(err)
	}
	defer log.Close()
	d.argv = argv
	d.cmd = d.command(argv...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(d.stop)
}

func (d *daemon) stop() {
	if d.cmd == nil {
		return
	}
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
	d.cmd.Wait()
	d.cmd = nil
}

// freeze stops all processes of the server and waits until they have stopped.
func (d *daemon) freeze() {
	d.t.Helper()
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGSTOP)
	deadline := time.Now().Add(10 * time.Second)
	for {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.cmd.Process.Pid))
		running := 0
		for _, task := range tasks {
			if stat, err := os.ReadFile(task); err == nil && !bytes.Contains(stat, []byte(") T ")) {
				running++
			}
		}
		if err == nil && running == 0 && len(tasks) > 0 {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatal("server does not stop")
		}
	}
}

// ready waits until the server takes connections.
func (d *daemon) ready(network, addr string) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if c, err := net.Dial(network, addr); err == nil {
			c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(d.log)
			d.t.Fatalf("%v does not answer\n%s", d.argv, log)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// hostile are keys that would do harm if they were pasted into a query.
var hostile = []string{
	`' OR '1'='1`, `'; DROP TABLE aliases; --`, `"; x`, "`id`", "$(id)", `\`, `\'`, "*", `*)(uid=*`, `)(|(uid=*`, "joe*", "%", "j_e", "--", "/*",
	":key", "$1", "?", "a\r\nGET joe", "\xff\xfe", "\xbf'", strings.Repeat("x", 60_000), "jöe", "joe@@x", "@", " ", "-n", "\u2019 OR 1=1",
}

// battery is what every table on a server must do. The server has joe ->
// joe@example.org, list -> a@example.org and b@example.org, and o'neil@x.org ->
// quoted@example.org.
func battery(t *testing.T, spec Spec, d *daemon, again func()) {
	t.Helper()
	r := open(t, spec)
	expect(t, r, "joe", "joe@example.org", "list", "a@example.org\nb@example.org", "none", "-", "o'neil@x.org", "quoted@example.org")
	for _, key := range hostile {
		if v, found, err := r.Lookup(t.Context(), key); found || err != nil {
			t.Errorf("Lookup(%.40q) = %q, %v, %v; want a miss", key, v, found, err)
		}
	}
	expect(t, r, "joe", "joe@example.org")
	var wg sync.WaitGroup
	for range 30 { // more than there are connections
		wg.Go(func() { expect(t, r, "joe", "joe@example.org", "none", "-") })
	}
	wg.Wait()
	if d == nil {
		return
	}

	// Down is neither found nor missing, and then it is up again.
	d.stop()
	// Processes of the server that serve a connection may outlive their parent a little.
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, _, err := r.Lookup(t.Context(), "joe"); err != nil {
			break
		}
	}
	for _, key := range []string{"joe", "none"} {
		if _, found, err := r.Lookup(t.Context(), key); found || err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("server is down: %s: %v, %v; want an error on one line", key, found, err)
		}
	}
	again()
	deadline := time.Now().Add(30 * time.Second)
	for {
		_, found, err := r.Lookup(t.Context(), "joe")
		if found && err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("server is up again: %v, %v", found, err)
		}
	}
	expect(t, r, "joe", "joe@example.org", "none", "-")

	// Hanging ends with the time limit.
	short := spec
	short.Options = map[string]string{"timeout": "300ms"}
	for k, v := range spec.Options {
		short.Options[k] = v
	}
	short.Name = "table"
	q, err := Env{}.Declare(short) // without a connection yet: who is asked is the process that stops
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	d.freeze()
	start := time.Now()
	_, found, err := q.Lookup(t.Context(), "joe")
	took := time.Since(start)
	syscall.Kill(-d.cmd.Process.Pid, syscall.SIGCONT)
	if found || err == nil || took > 10*time.Second {
		t.Errorf("server hangs: %v, %v after %v", found, err, took)
	}
}

const schema = `CREATE TABLE aliases (address VARCHAR(200), target VARCHAR(200));
INSERT INTO aliases VALUES ('joe', 'joe@example.org'), ('list', 'a@example.org'), ('list', 'b@example.org'),
	('o''neil@x.org', 'quoted@example.org'), ('nothing', NULL);
`

const selectTarget = "SELECT target FROM aliases WHERE address = :key ORDER BY target -- :ok"

func sqlOptions() map[string]string { return map[string]string{"query": selectTarget} }

// brokenQuery makes sure that an error of the server is no miss.
func brokenQuery(t *testing.T, spec Spec) {
	t.Helper()
	spec.Name = "table"
	for _, q := range []string{"SELECT target FROM missing WHERE address = :key", "SELEKT :key"} {
		spec.Options = map[string]string{"query": q}
		if _, err := Open(spec); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want an error on one line", q, err)
		}
	}
	spec.Options = map[string]string{"query": "SELECT target FROM aliases WHERE address = :local AND ':domain' <> :domain"}
	expect(t, open(t, spec), "joe@example.org", "joe@example.org", "nobody@example.org", "-", "nothing@x", "-")
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	initdb, server, psql := find(t, "initdb"), find(t, "postgres"), find(t, "psql")
	d.run("", initdb, "-D", d.dir+"/db", "-U", "mail", "--auth=trust", "-E", "UTF8", "--no-sync")
	port := freePort(t)
	up := func() {
		d.start(server, "-D", d.dir+"/db", "-k", d.dir, "-h", "127.0.0.1", "-p", port, "-F")
		d.ready("tcp", "127.0.0.1:"+port)
		for range 200 { // it takes connections before it answers
			if d.command(psql, "-h", d.dir, "-p", port, "-U", "mail", "-c", "SELECT 1", "postgres").Run() == nil {
				return
			}
		}
		t.Fatal("postgres does not answer")
	}
	up()
	d.run(schema, psql, "-q", "-h", d.dir, "-p", port, "-U", "mail", "-v", "ON_ERROR_STOP=1", "postgres")
	spec := Spec{Type: "postgres", File: fmt.Sprintf("host=%s port=%s user=mail dbname=postgres sslmode=disable", d.dir, port)}
	brokenQuery(t, spec)
	spec.Options = sqlOptions()
	battery(t, spec, d, up)
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server := find(t, "mariadbd")
	sock := d.dir + "/sock"
	boot := "CREATE DATABASE mysql;\nCREATE DATABASE mail;\nUSE mail;\n"
	common := []string{server, "--no-defaults", "--datadir=" + d.dir + "/db", "--socket=" + sock, "--skip-networking", "--skip-grant-tables",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--lc-messages-dir=/usr/share/mysql",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-doublewrite=0", "--pid-file=" + d.dir + "/pid"}
	if err := os.Mkdir(d.dir+"/db", 0o755); err != nil {
		t.Fatal(err)
	}
	if d.cred != nil {
		if err := os.Chown(d.dir+"/db", int(d.cred.Uid), int(d.cred.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	// A bootstrap takes a statement a line.
	d.run(boot+strings.ReplaceAll(schema, "\n\t", " "), append(common, "--bootstrap")...)
	up := func() {
		d.start(common...)
		d.ready("unix", sock)
	}
	up()
	spec := Spec{Type: "mysql", File: "mail@unix(" + sock + ")/mail"}
	brokenQuery(t, spec)
	spec.Options = sqlOptions()
	battery(t, spec, d, up)
}

const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
database mdb
maxsize 10485760
suffix "dc=example"
directory %[1]s
rootdn "cn=admin,dc=example"
rootpw secret
`

const ldif = `dn: dc=example
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: uid=joe,dc=example
objectClass: inetOrgPerson
uid: joe
cn: joe
sn: joe
mail: joe@example.org

dn: uid=list,dc=example
objectClass: inetOrgPerson
uid: list
cn: list
sn: list
mail: a@example.org
mail: b@example.org

dn: cn=oneil,dc=example
objectClass: inetOrgPerson
uid: o'neil@x.org
cn: oneil
sn: oneil
mail: quoted@example.org

dn: uid=empty,dc=example
objectClass: inetOrgPerson
uid: empty
cn: empty
sn: empty
`

func TestLDAP(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server, add := find(t, "slapd"), find(t, "slapadd")
	conf, pw := d.dir+"/conf", d.dir+"/pw"
	for path, text := range map[string]string{conf: fmt.Sprintf(slapdConf, d.dir), pw: "secret\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d.run(ldif, add, "-f", conf)
	sock := d.dir + "/sock"
	escaped := strings.ReplaceAll(sock, "/", "%2F")
	port := freePort(t)
	up := func() {
		os.Remove(sock)
		d.start(server, "-d", "0", "-f", conf, "-h", "ldapi://"+escaped+" ldap://127.0.0.1:"+port)
		d.ready("unix", sock)
	}
	up()
	options := func() map[string]string {
		return map[string]string{"filter": "(uid=:key)", "attribute": "mail"}
	}
	bound := options()
	bound["user"], bound["password-file"] = "cn=admin,dc=example", pw
	r := open(t, Spec{Type: "ldap", File: "ldapi://" + escaped + "/dc=example", Options: bound})
	expect(t, r, "joe", "joe@example.org", "none", "-", "empty", "-")
	for name, change := range map[string]func(s *Spec){
		"no such base":   func(s *Spec) { s.File = "ldapi://" + escaped + "/dc=elsewhere" },
		"wrong password": func(s *Spec) { s.Options["user"], s.Options["password-file"] = "cn=admin,dc=example", conf },
		"no password":    func(s *Spec) { s.Options["user"] = "cn=admin,dc=example" },
		"no TLS":         func(s *Spec) { s.Options["starttls"] = "yes" },
	} {
		s := Spec{Name: "t", Type: "ldap", File: "ldap://127.0.0.1:" + port + "/dc=example", Options: options()}
		change(&s)
		if _, err := Open(s); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	battery(t, Spec{Type: "ldap", File: "ldap://127.0.0.1:" + port + "/dc=example", Options: options()}, d, up)
}

func TestRedis(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server := find(t, "redis-server")
	port, pw := freePort(t), d.dir+"/pw"
	if err := os.WriteFile(pw, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	var fill []reply
	sock := d.dir + "/sock"
	up := func() {
		d.start(server, "--port", port, "--bind", "127.0.0.1", "--unixsocket", sock, "--requirepass", "secret", "--save", "", "--dir", d.dir)
		d.ready("tcp", "127.0.0.1:"+port)
		srv, err := parseRedis("redis://127.0.0.1:" + port + "/3")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := srv.dial(ctx, &opening{Spec: Spec{Options: map[string]string{"password-file": pw}}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, cmd := range [][]string{
			{"SET", "alias:joe", "joe@example.org"}, {"SET", "alias:o'neil@x.org", "quoted@example.org"},
			{"SET", "alias:list", "a@example.org\nb@example.org"}, {"SET", "alias:blank", ""},
			{"HSET", "h", "joe", "joe@example.org", "two words", "x"},
			{"RPUSH", "l:list", "b", "a"}, {"SADD", "s:list", "only"},
		} {
			r, err := c.command(ctx, cmd...)
			if err != nil {
				t.Fatal(cmd, err)
			}
			fill = append(fill, r)
		}
	}
	up()
	with := func(sub, name string) Spec {
		return Spec{Name: "t", Type: "redis", Sub: sub, File: "redis://127.0.0.1:" + port + "/3",
			Options: map[string]string{"password-file": pw, "name": name}}
	}
	expect(t, open(t, with("hash", "h")), "joe", "joe@example.org", "two words", "x", "none", "-")
	expect(t, open(t, with("list", "l:")), "list", "b\na", "none", "-")
	expect(t, open(t, with("set", "s:")), "list", "only", "none", "-")
	expect(t, open(t, with("", "alias:")), "blank", "")
	if _, _, err := open(t, with("", "l:")).Lookup(t.Context(), "list"); err == nil {
		t.Error("GET of a list is no error")
	}
	s := with("", "alias:")
	delete(s.Options, "password-file")
	if _, err := Open(s); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("no password: %v", err)
	}
	battery(t, with("", "alias:"), d, up)
}

func TestRedisAnswers(t *testing.T) {
	for in, want := range map[string]string{
		"$3\r\na\nb\r\n": "a\nb", "$-1\r\n": "-", "*0\r\n": "-", "*-1\r\n": "-", "*2\r\n$1\r\na\r\n$1\r\nb\r\n": "a\nb",
		"+OK\r\n": "OK", ":7\r\n": "7", "$0\r\n\r\n": "",
		"": "err", "-ERR x\r\n": "err", "$3\r\nabcde": "err", "$99999999999\r\n": "err", "$5\r\nab": "err", "?\r\n": "err",
		"*1\r\n*1\r\n$1\r\na\r\n": "err", "\r\n": "err", "+OK\n": "err", "$-2\r\n": "err", "*999999999\r\n": "err",
	} {
		r, err := readRedis(bufio.NewReader(strings.NewReader(in)))
		got := r.value
		if !r.found {
			got = "-"
		}
		if err != nil {
			got = "err"
		}
		if got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
}

func FuzzRedis(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n$-1\r\n"))
	f.Add([]byte("-ERR\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := readRedis(bufio.NewReader(bytes.NewReader(data))); err == nil && len(r.value) > len(data) {
			t.Error("more than was sent")
		}
	})
}

func TestParseSQL(t *testing.T) {
	for in, want := range map[string]string{
		"SELECT a FROM t WHERE k = :key":                     "SELECT a FROM t WHERE k = $1",
		"SELECT a::text FROM t WHERE l=:local AND d=:domain": "SELECT a::text FROM t WHERE l=$1 AND d=$2",
		"SELECT ':key', \":key\", `:key` -- :key\n, :key":    "SELECT ':key', \":key\", `:key` -- :key\n, $1",
		"SELECT /* :key ? */ :key":                           "SELECT /* :key ? */ $1",
		"SELECT 'it''s ?$' || :key":                          "SELECT 'it''s ?$' || $1",
	} {
		q, err := parseSQL(in)
		if got := q.numbered(); err != nil || got != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "SELECT 1", "SELECT :keys", "SELECT :", "SELECT ?", "SELECT $1, :key", "SELECT ':key", `SELECT '\' || :key`, "-- :key", "/* :key"} {
		if q, err := parseSQL(in); err == nil {
			t.Errorf("%q was taken as %q", in, q.numbered())
		}
	}
}

func FuzzParseSQL(f *testing.F) {
	f.Add("SELECT ':key' -- x\n :key /* ")
	f.Fuzz(func(t *testing.T, s string) {
		if q, err := parseSQL(s); err == nil && len(q.text) != len(q.params)+1 {
			t.Error("pieces do not fit")
		}
		parseFilter(s)
	})
}
