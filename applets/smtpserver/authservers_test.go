package smtpserver

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"zmailer/testdata/peers"
)

// A loginTest is one dialogue: what the client says of itself, and the reply.
type loginTest struct{ user, password, reply string }

const (
	welcome   = "235 2.7.0 Authentication successful"
	notHim    = "535 5.7.8 Authentication credentials invalid"
	cannotSay = "454 4.7.0 Temporary authentication failure"
)

// loginTests are for places that know joe, jürgen and o'neil: names and passwords
// that mean something in SQL, in the filters and the binds of LDAP, or to programs.
var loginTests = []loginTest{
	{"joe", "pass word", welcome},
	{"jürgen", "pässwörd€", welcome},
	{"ju\u0308rgen", "pässwörd€", welcome}, // the same name, as some systems spell it
	{"o'neil", `"quo'ted\`, welcome},
	{"joe", "wrong", notHim},
	{"joe", "pass word ", notHim},
	{"joe", "", notHim},
	{"nobody-here", "pass word", notHim},
	{"*", "pass word", notHim},
	{"j*e", "pass word", notHim},
	{"*)(uid=*", "pass word", notHim},
	{"joe)(|(uid=*", "pass word", notHim},
	{"joe' OR '1'='1", "pass word", notHim},
	{"' UNION SELECT hash FROM users -- ", "pass word", notHim},
	{`joe\`, "pass word", notHim},
	{"joe%", "pass word", notHim},
	{"joe\x00", "pass word", notHim},
	{"joe", "pass word\x00x", notHim},
	{"joe\xff", "pass word", notHim},
	{"joe\n", "pass word", notHim},
	{strings.Repeat("x", 1000), "pass word", notHim},
}

// logIn logs in by LOGIN, which can carry anything, and where it can by PLAIN.
func (ts *testServer) logIn(tests []loginTest) {
	ts.t.Helper()
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	var all sync.WaitGroup
	turns := make(chan bool, 8) // the checks of passwords take turns, too
	for _, tt := range tests {
		texts := []string{"AUTH LOGIN\n" + b64(tt.user) + "\n" + b64(tt.password) + "\n"}
		if !strings.ContainsRune(tt.user+tt.password, 0) && tt.password != "" {
			texts = append(texts, "AUTH PLAIN "+b64("\x00"+tt.user+"\x00"+tt.password)+"\n")
		}
		for _, text := range texts {
			turns <- true
			all.Go(func() {
				defer func() { <-turns }()
				if got := ts.converse("EHLO c\n" + text + "QUIT\n"); !strings.Contains(got, "\n"+tt.reply+"\n") {
					ts.t.Errorf("%.40q with %q, %.10s: %s", tt.user, tt.password, text, got[strings.LastIndex(got, "250 "):])
				}
			})
		}
	}
	all.Wait()
}

const authPort = "listen 127.0.0.1:0 submission\nauth_clear 127.0.0.1\nlimit logins=1000 user_logins=1000 per_address=200\n"

// away are the replies while nobody can tell.
var away = []loginTest{{"joe", "pass word", cannotSay}, {"joe", "wrong", cannotSay}, {"nobody-here", "x", cannotSay}}

// hashes are the users of loginTests with hashes of all kinds.
func hashes(t *testing.T) map[string]string {
	t.Helper()
	argon := argon2.IDKey([]byte(`"quo'ted\`), []byte("saltsalt"), 1, 64, 1, 32)
	return map[string]string{
		"joe":    cheapHash(t, "pass word"),
		"jürgen": "{CRYPT}" + shaCrypt(t, "pässwörd€"),
		"o'neil": "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + base64.RawStdEncoding.EncodeToString(argon),
	}
}

// shaCrypt is the hash that crypt(3) makes with SHA-512.
func shaCrypt(t *testing.T, password string) string {
	t.Helper()
	out, err := exec.Command("openssl", "passwd", "-6", "-salt", "abcdefgh", password).Output()
	if err != nil {
		t.Skip(err)
	}
	return strings.TrimSpace(string(out))
}

// TestLoginFile logs in with a password file, and with a table of text.
func TestLoginFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, table := "", ""
	for user, h := range hashes(t) {
		file += user + ":" + h + "\n"
		table += user + " " + h + "\n"
	}
	writeFiles(t, dir, map[string]string{"file": file, "table": table})
	start(t, authPort+"passwords "+dir+"/file\n").logIn(loginTests)
	start(t, authPort+"relation -t text -f "+dir+"/table users\nauth_with table users\n").logIn(loginTests)
	ts := start(t, authPort+"passwords "+dir+"/file\n")
	writeFiles(t, dir, map[string]string{"file": "joe:$1$nothing\n"})
	ts.logIn(away)
}

// TestLoginYescrypt: a hash that cannot be checked is no wrong password, and the log
// says what to do.
func TestLoginYescrypt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"shadow": "joe:" + cheapHash(t, "pass word") + ":19000:0:99999:7:::\n" +
		"ann:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7:19000:0:99999:7:::\nbob:!:19000::::::\neve::19000::::::\n"})
	ts := start(t, authPort+"auth_with shadow "+dir+"/shadow\n")
	ts.logIn([]loginTest{{"joe", "pass word", welcome}, {"ann", "pass word", cannotSay}, {"bob", "!", notHim}, {"eve", "", notHim}, {"eve", "x", notHim}})
	if log := ts.log.String(); !strings.Contains(log, "yescrypt") || !strings.Contains(log, "auth_with saslauthd") {
		t.Errorf("log: %s", log)
	}
}

// usersTable is the SQL that makes the table of the users.
func usersTable(t *testing.T) string {
	sql := "CREATE TABLE users (name TEXT PRIMARY KEY, hash TEXT);\n"
	for user, h := range hashes(t) {
		sql += fmt.Sprintf("INSERT INTO users VALUES ('%s', '%s');\n", strings.ReplaceAll(user, "'", "''"), h)
	}
	return sql
}

const usersQuery = ` -o 'query=SELECT hash FROM users WHERE name = :key' users` + "\nauth_with table users\n"

// TestLoginSQLite logs in with a table of a file in SQLite.
func TestLoginSQLite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "users.db")
	makeSQLite(t, file, usersTable(t))
	ts := start(t, authPort+"relation -t sqlite -f "+file+usersQuery)
	ts.logIn(loginTests)
	makeSQLite(t, file, "DROP TABLE users;\n")
	ts.logIn(away)
}

// makeSQLite runs SQL on a file.
func makeSQLite(t *testing.T, file, text string) {
	t.Helper()
	cmd := exec.Command("python3", "-c", "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript(sys.stdin.read())\nc.close()", file)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
}

// installed finds a program of a server that this machine has.
func installed(t *testing.T, name string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/bin/"} {
		if m, _ := filepath.Glob(pattern + name); len(m) > 0 {
			return m[len(m)-1]
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// TestLoginPostgres logs in with a table of PostgreSQL.
func TestLoginPostgres(t *testing.T) {
	t.Parallel()
	initdb, postgres, psql := installed(t, "initdb"), installed(t, "postgres"), installed(t, "psql")
	dir, as := t.TempDir(), ""
	if os.Getuid() == 0 { // as whom it does not run
		as = installed(t, "setpriv") + " --reuid=65534 --regid=65534 --clear-groups "
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run := func(stdin, command string) error {
		words := strings.Fields(as + command)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir, cmd.Stdin, cmd.Env = dir, strings.NewReader(stdin), append(os.Environ(), "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", command, err, out)
		}
		return err
	}
	if err := run("", initdb+" -D db -U mail --auth=trust -E UTF8 --no-sync"); err != nil {
		t.Fatal(err)
	}
	sock := dir + "/.s.PGSQL.5432"
	stop := runPeer(t, dir, sock, as+postgres+" -D "+dir+"/db -k "+dir+" -F -c listen_addresses=")
	var err error
	for range 200 { // it takes connections before it answers
		if err = run(usersTable(t), psql+" -q -h "+dir+" -U mail -v ON_ERROR_STOP=1 postgres"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	ts := start(t, authPort+"relation -t postgres -f 'host="+dir+" user=mail dbname=postgres sslmode=disable'"+usersQuery)
	ts.logIn(loginTests)
	stop()
	ts.logIn(away)
}

const slapdTest = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile DIR/pid
allow bind_anon_dn bind_anon_cred
database mdb
maxsize 10485760
suffix "dc=example"
directory DIR
`

// TestLoginLDAP logs in where an LDAP server judges, which lets everybody in who has
// no password at all.
func TestLoginLDAP(t *testing.T) {
	t.Parallel()
	slapd, slapadd := installed(t, "slapd"), installed(t, "slapadd")
	dir := t.TempDir()
	ldif := "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: example\n"
	for user, password := range map[string]string{"joe": "pass word", "jürgen": "pässwörd€", "o'neil": `"quo'ted\`} {
		b64 := base64.StdEncoding.EncodeToString
		ldif += fmt.Sprintf("\ndn:: %s\nobjectClass: inetOrgPerson\nuid:: %[2]s\ncn:: %[2]s\nsn: x\nuserPassword:: %[3]s\n",
			b64([]byte("uid="+user+",dc=example")), b64([]byte(user)), b64([]byte(password)))
	}
	writeFiles(t, dir, map[string]string{"conf": slapdTest, "ldif": ldif})
	if out, err := exec.Command(slapadd, "-f", dir+"/conf", "-l", dir+"/ldif").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	url := "ldapi://" + strings.ReplaceAll(dir, "/", "%2F") + "%2Fsock"
	stop := runPeer(t, dir, dir+"/sock", slapd+" -d 0 -f "+dir+"/conf -h "+url)
	ts := start(t, authPort+"relation -t ldap -f "+url+"/dc=example -o 'filter=(uid=:key)' -o attribute=uid users\nauth_with ldap users\n")
	ts.logIn(loginTests)
	stop()
	ts.logIn(away)
}

// TestLoginSilent: servers that never answer keep a client waiting no longer than
// was said.
func TestLoginSilent(t *testing.T) {
	t.Parallel()
	sock := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody accepts
	for _, conf := range []string{
		"relation -t ldap -f ldapi://" + strings.ReplaceAll(sock, "/", "%2F") + "/dc=example -o 'filter=(uid=:key)' -o attribute=uid -o timeout=1s users\nauth_with ldap users\n",
		"auth_with saslauthd " + sock + "\n",
	} {
		start(t, authPort+conf).logIn(away)
	}
}

// TestLoginPAM logs in with accounts of the system, which PAM judges.
func TestLoginPAM(t *testing.T) {
	t.Parallel()
	shadow, passwd := "", ""
	for user, password := range map[string]string{"joe": "pass word", "juergen": "pässwörd€"} {
		shadow += user + ":" + shaCrypt(t, password) + ":19000:0:99999:7:::\n"
		passwd += user + ":x:60999:60999::/nowhere:/bin/false\n"
	}
	path, stop := peers.Start(t, "sasl", `
mkdir -p /etc/pam.d
printf 'auth required pam_unix.so nodelay\naccount required pam_unix.so\n' >/etc/pam.d/smtp
cat >>/etc/passwd <<'END'
`+passwd+`END
cat >>/etc/shadow <<'END'
`+shadow+`END
exec saslauthd -d -a pam -n 5 -m DIR`, "mux")
	ts := start(t, authPort+"auth_with saslauthd "+path+"\n")
	ts.logIn(append([]loginTest{{"juergen", "pässwörd€", welcome}}, unless(loginTests, "jürgen", "ju\u0308rgen", "o'neil")...))
	stop()
	ts.logIn(away)
}

// unless are the tests of others than these users.
func unless(tests []loginTest, users ...string) (out []loginTest) {
	for _, tt := range tests {
		if !strings.Contains("\t"+strings.Join(users, "\t")+"\t", "\t"+tt.user+"\t") {
			out = append(out, tt)
		}
	}
	return out
}

// TestLoginDovecot logs in where Dovecot judges, with passwords of its own. It asks its
// file for a name with every quote escaped.
func TestLoginDovecot(t *testing.T) {
	t.Parallel()
	path, stop := peers.Start(t, "dovecot", `
mkdir -p DIR/run DIR/state
cat >DIR/users <<'END'
joe:{PLAIN}pass word
jürgen:{PLAIN}pässwörd€
o\'neil:{PLAIN.B64}InF1byd0ZWRc
END
cat >DIR/conf <<'END'
`+dovecotAuth+`
END
exec dovecot -F -c DIR/conf`, "auth")
	ts := start(t, authPort+"auth_with dovecot "+path+"\n")
	ts.logIn(unless(loginTests, "ju\u0308rgen"))
	stop()
	ts.logIn(away)
}

const dovecotAuth = `
base_dir = DIR/run
log_path = DIR/dovecot.log
state_dir = DIR/state
ssl = no
protocols =
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0 secs
auth_username_chars =
passdb {
  driver = passwd-file
  args = username_format=%u DIR/users
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
