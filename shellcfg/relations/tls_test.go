package relations

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An authority is a CA made by openssl with a certificate for 127.0.0.1 and
// localhost.
type authority struct{ ca, cert, key string }

// newAuthority makes it in the directory of a server, who can read its key.
func newAuthority(d *daemon, name string) authority {
	d.t.Helper()
	openssl := find(d.t, "openssl")
	p := filepath.Join(d.dir, name)
	a := authority{ca: p + ".ca", cert: p + ".cert", key: p + ".key"}
	if err := os.WriteFile(p+".ext", []byte("subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"), 0o644); err != nil {
		d.t.Fatal(err)
	}
	key := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"}
	d.run("", append([]string{openssl, "req", "-x509", "-days", "2", "-subj", "/CN=" + name + " authority", "-keyout", p + ".cakey", "-out", a.ca}, key...)...)
	d.run("", append([]string{openssl, "req", "-subj", "/CN=localhost", "-keyout", a.key, "-out", p + ".csr"}, key...)...)
	d.run("", openssl, "x509", "-req", "-days", "2", "-in", p+".csr", "-CA", a.ca, "-CAkey", p+".cakey", "-CAcreateserial", "-extfile", p+".ext", "-out", a.cert)
	return a
}

// An attempt is a connection that must work or must not.
type attempt struct {
	name string
	spec Spec
	fail string // what the error says; "" for a table that answers
}

// attempts opens tables. An error is on one line and does not tell the password.
func attempts(t *testing.T, list []attempt) {
	t.Helper()
	for _, a := range list {
		a.spec.Name = "table"
		r, err := Open(a.spec)
		switch {
		case err == nil && a.fail == "":
			expect(t, r, "joe", "joe@example.org", "list", "a@example.org\nb@example.org", "none", "-", "o'neil@x.org", "quoted@example.org")
			for _, key := range hostile {
				if v, found, err := r.Lookup(t.Context(), key); found || err != nil {
					t.Errorf("%s: Lookup(%.40q) = %q, %v, %v; want a miss", a.name, key, v, found, err)
				}
			}
		case err == nil:
			t.Errorf("%s: no error", a.name)
		case a.fail == "" || !strings.Contains(err.Error(), a.fail) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: %v; want %q", a.name, err, a.fail)
		}
		if r != nil {
			r.Close()
		}
	}
}

// secrets writes files with the right password and a wrong one.
func secrets(d *daemon) (right, wrong string) {
	d.t.Helper()
	right, wrong = d.dir+"/pw", d.dir+"/wrongpw"
	for path, text := range map[string]string{right: "secret\n", wrong: "wrong\n"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
	return right, wrong
}

const badAuthority = "certificate signed by unknown authority"

func with(options map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for k, v := range options {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestPostgresTLS(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	initdb, server, psql := find(t, "initdb"), find(t, "postgres"), find(t, "psql")
	d.run("", initdb, "-D", d.dir+"/db", "-U", "mail", "--auth=trust", "-E", "UTF8", "--no-sync")
	a, other := newAuthority(d, "right"), newAuthority(d, "other")
	pw, wrong := secrets(d)
	if err := os.WriteFile(d.dir+"/db/pg_hba.conf", []byte("local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	d.start(server, "-D", d.dir+"/db", "-k", d.dir, "-h", "127.0.0.1", "-p", port, "-F", "-c", "ssl=on", "-c", "ssl_cert_file="+a.cert, "-c", "ssl_key_file="+a.key)
	for deadline := 0; d.command(psql, "-h", d.dir, "-p", port, "-U", "mail", "-c", "SELECT 1", "postgres").Run() != nil; deadline++ {
		if deadline > 500 {
			log, _ := os.ReadFile(d.log)
			t.Fatalf("postgres does not answer\n%s", log)
		}
	}
	d.run(schema+"ALTER USER mail PASSWORD 'secret';", psql, "-q", "-h", d.dir, "-p", port, "-U", "mail", "-v", "ON_ERROR_STOP=1", "postgres")
	at := func(host, tls string) Spec {
		return Spec{Type: "postgres", File: fmt.Sprintf("host=%s port=%s user=mail dbname=postgres %s", host, port, tls)}
	}
	spec := func(s Spec, password string) Spec {
		s.Options = with(sqlOptions(), "password-file", password)
		return s
	}
	verify := "sslmode=verify-full sslrootcert="
	attempts(t, []attempt{
		{"verified", spec(at("127.0.0.1", verify+a.ca), pw), ""},
		{"verified by name", spec(at("localhost", verify+a.ca), pw), ""},
		{"wrong authority", spec(at("127.0.0.1", verify+other.ca), pw), badAuthority},
		{"authority of the system", spec(at("127.0.0.1", "sslmode=verify-full"), pw), badAuthority},
		{"in clear", spec(at("127.0.0.1", "sslmode=disable"), pw), "no encryption"},
		{"wrong password", spec(at("127.0.0.1", verify+a.ca), wrong), "password authentication failed"},
		{"password file is missing", spec(at("127.0.0.1", verify+a.ca), d.dir+"/none"), "no such file"},
	})
}

func TestMySQLTLS(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server, install := find(t, "mariadbd"), find(t, "mariadb-install-db")
	a, other := newAuthority(d, "right"), newAuthority(d, "other")
	pw, wrong := secrets(d)
	argv := []string{install, "--no-defaults", "--datadir=" + d.dir + "/db", "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=4M", "--innodb-doublewrite=0"}
	d.run("", argv...)
	init := "CREATE DATABASE mail;\nUSE mail;\n" + strings.ReplaceAll(schema, "\n\t", " ") +
		"CREATE USER mail@'%' IDENTIFIED BY 'secret' REQUIRE SSL;\nGRANT SELECT ON mail.* TO mail@'%';\nCREATE USER plain@'%' IDENTIFIED BY 'secret';\nGRANT SELECT ON mail.* TO plain@'%';\n"
	if err := os.WriteFile(d.dir+"/init", []byte(init), 0o644); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	d.start(server, "--no-defaults", "--datadir="+d.dir+"/db", "--socket="+d.dir+"/sock", "--port="+port, "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--ssl-cert="+a.cert, "--ssl-key="+a.key, "--ssl-ca="+a.ca, "--init-file="+d.dir+"/init",
		"--character-set-server=utf8mb4", "--collation-server=utf8mb4_bin", "--lc-messages-dir=/usr/share/mysql",
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-doublewrite=0", "--pid-file="+d.dir+"/pid")
	d.ready("tcp", "127.0.0.1:"+port)
	at := func(user, host, query string, options ...string) Spec {
		return Spec{Type: "mysql", File: user + "@tcp(" + host + ":" + port + ")/mail" + query, Options: with(sqlOptions(), options...)}
	}
	attempts(t, []attempt{
		{"verified", at("mail", "127.0.0.1", "", "password-file", pw, "ca", a.ca), ""},
		{"verified by name", at("mail", "localhost", "?tls=true", "password-file", pw, "ca", a.ca), ""},
		{"in clear where the server allows it", at("plain", "127.0.0.1", "", "password-file", pw), ""},
		{"wrong authority", at("mail", "127.0.0.1", "", "password-file", pw, "ca", other.ca), badAuthority},
		{"authority of the system", at("mail", "127.0.0.1", "?tls=true", "password-file", pw), badAuthority},
		{"in clear", at("mail", "127.0.0.1", "", "password-file", pw), "Access denied"},
		{"wrong password", at("mail", "127.0.0.1", "", "password-file", wrong, "ca", a.ca), "Access denied"},
		{"not verified", at("mail", "127.0.0.1", "?tls=skip-verify", "password-file", pw, "ca", a.ca), "would not be verified"},
		{"no certificate", at("mail", "127.0.0.1", "", "password-file", pw, "ca", pw), "has no certificate"},
		{"socket", Spec{Type: "mysql", File: "mail@unix(/x)/mail", Options: with(sqlOptions(), "ca", a.ca)}, "-o ca is for"},
	})
}

func TestLDAPTLS(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server, add := find(t, "slapd"), find(t, "slapadd")
	a, other := newAuthority(d, "right"), newAuthority(d, "other")
	pw, wrong := secrets(d)
	conf := d.dir + "/conf"
	text := strings.Replace(fmt.Sprintf(slapdConf, d.dir), "database mdb",
		"TLSCertificateFile "+a.cert+"\nTLSCertificateKeyFile "+a.key+"\nTLSCACertificateFile "+a.ca+"\nsecurity tls=1\ndisallow bind_anon\nrequire authc\ndatabase mdb", 1)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	d.run(ldif, add, "-f", conf)
	plain, secure := freePort(t), freePort(t)
	d.start(server, "-d", "0", "-f", conf, "-h", "ldap://127.0.0.1:"+plain+" ldaps://127.0.0.1:"+secure)
	d.ready("tcp", "127.0.0.1:"+plain)
	d.ready("tcp", "127.0.0.1:"+secure)
	at := func(url string, options ...string) Spec {
		base := map[string]string{"filter": "(uid=:key)", "attribute": "mail", "user": "cn=admin,dc=example"}
		return Spec{Type: "ldap", File: url + "/dc=example", Options: with(base, options...)}
	}
	ldaps, start, byName := "ldaps://127.0.0.1:"+secure, "ldap://127.0.0.1:"+plain, "ldaps://localhost:"+secure
	attempts(t, []attempt{
		{"ldaps", at(ldaps, "password-file", pw, "ca", a.ca), ""},
		{"ldaps by name", at(byName, "password-file", pw, "ca", a.ca), ""},
		{"StartTLS", at(start, "starttls", "yes", "password-file", pw, "ca", a.ca), ""},
		{"ldaps, wrong authority", at(ldaps, "password-file", pw, "ca", other.ca), badAuthority},
		{"ldaps, authority of the system", at(ldaps, "password-file", pw), badAuthority},
		{"StartTLS, wrong authority", at(start, "starttls", "yes", "password-file", pw, "ca", other.ca), badAuthority},
		{"StartTLS, authority of the system", at(start, "starttls", "yes", "password-file", pw), badAuthority},
		{"in clear", at(start, "password-file", pw), "onfidentiality"},
		{"ldaps, wrong password", at(ldaps, "password-file", wrong, "ca", a.ca), "Invalid Credentials"},
		{"StartTLS, wrong password", at(start, "starttls", "yes", "password-file", wrong, "ca", a.ca), "Invalid Credentials"},
		{"StartTLS over ldaps", at(ldaps, "starttls", "yes", "password-file", pw, "ca", a.ca), "-o starttls=yes is for"},
		{"TLS at a port without", at("ldaps://127.0.0.1:"+plain, "password-file", pw, "ca", a.ca), "ldap 127.0.0.1"},
	})
}

func TestRedisTLS(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	server, cli := find(t, "redis-server"), find(t, "redis-cli")
	a, other := newAuthority(d, "right"), newAuthority(d, "other")
	pw, wrong := secrets(d)
	port := freePort(t)
	d.start(server, "--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--tls-cert-file", a.cert, "--tls-key-file", a.key, "--tls-ca-cert-file", a.ca,
		"--tls-auth-clients", "no", "--unixsocket", d.dir+"/sock", "--save", "", "--dir", d.dir, "--user", "mail", "on", ">secret", "~alias:*", "+get", "+select")
	d.ready("unix", d.dir+"/sock")
	d.run("SET alias:joe joe@example.org\nSET alias:list \"a@example.org\\nb@example.org\"\nSET \"alias:o'neil@x.org\" quoted@example.org\nACL SETUSER default off\n", cli, "-s", d.dir+"/sock")
	at := func(url string, options ...string) Spec {
		return Spec{Type: "redis", File: url, Options: with(map[string]string{"name": "alias:"}, options...)}
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	attempts(t, []attempt{
		{"verified", at("rediss://mail@"+addr, "password-file", pw, "ca", a.ca), ""},
		{"verified by name", at("rediss://mail@localhost:"+port+"/0", "password-file", pw, "ca", a.ca), ""},
		{"wrong authority", at("rediss://mail@"+addr, "password-file", pw, "ca", other.ca), badAuthority},
		{"authority of the system", at("rediss://mail@"+addr, "password-file", pw), badAuthority},
		{"wrong password", at("rediss://mail@"+addr, "password-file", wrong, "ca", a.ca), "WRONGPASS"},
		{"no password", at("rediss://"+addr, "ca", a.ca), "NOAUTH"},
		{"in clear", at("redis://mail@"+addr, "password-file", pw), "redis 127.0.0.1"},
		{"needs TLS", at("redis://mail@"+addr, "password-file", pw, "ca", a.ca), "-o ca is for rediss://"},
		{"not allowed to", Spec{Type: "redis", Sub: "set", File: "rediss://mail@" + addr, Options: map[string]string{"name": "alias:", "password-file": pw, "ca": a.ca}}, "NOPERM"},
	})
}
