package smtp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zmailer/spool"
	"zmailer/testdata/peers"
)

// A peer is mail software of others, as testdata/peers/fetch.sh unpacks it. It
// runs with a configuration of its own, in a namespace of its own.
type peer struct {
	name  string // its folder
	files map[string]string
	argv  []string
	utf8  bool     // knows SMTPUTF8
	wants []string // extensions of which the dialogue must show the use
}

// In the files of a peer, DIR is the scratch directory and PORT the port; joe, ann
// and jöe are known at peer.test, nobody@peer.test is not.
var mailServers = []peer{
	{
		name: "postfix", utf8: true,
		argv:  []string{"sh", "-c", "mkdir -p /var/spool/postfix /var/lib/postfix && chown postfix /var/lib/postfix && postfix -c DIR check; exec postfix -c DIR start-fg"},
		wants: []string{"PIPELINING", "CHUNKING", "DSN", "SMTPUTF8"},
		files: map[string]string{
			"main.cf": `compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = peer.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_cert_file = DIR/cert.pem
smtpd_tls_key_file = DIR/key.pem
smtputf8_enable = yes
alias_maps =
virtual_mailbox_domains = peer.test
virtual_mailbox_maps = inline:{ {joe@peer.test=all/}, {ann@peer.test=all/}, {jöe@peer.test=all/} }
virtual_mailbox_base = DIR/mail
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
`,
			"master.cf": `127.0.0.1:PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`,
		},
	},
	{
		name: "exim", utf8: true,
		argv:  []string{"sh", "-c", "mkdir -p /var/spool/exim4 && chown peer /var/spool/exim4 && install -m 600 -o peer DIR/key.pem /var/spool/exim4/key.pem && exec exim4 -C DIR/exim.conf -bdf"},
		wants: []string{"PIPELINING", "CHUNKING", "DSN", "SMTPUTF8"},
		files: map[string]string{"exim.conf": `exim_user = peer
exim_group = peer
spool_directory = /var/spool/exim4
log_file_path = DIR/mail/exim_%slog
primary_hostname = peer.test
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = PORT
acl_smtp_rcpt = rcpt
tls_advertise_hosts = *
tls_certificate = DIR/cert.pem
tls_privatekey = /var/spool/exim4/key.pem
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_connect_advertise_hosts =
begin acl
rcpt:
  accept domains = peer.test
         local_parts = joe : ann : jöe
  deny message = no such user
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = DIR/mail/all
  create_directory
  user = peer
begin retry
* * F,1h,1m
`},
	},
	{
		// That of Debian 12 (6.8.0p2) answers every handshake, that of openssl
		// s_client too, with "missing private key": its engine for keys does not
		// work with OpenSSL 3. It shows that mail goes on in the clear where the
		// policy allows.
		name: "opensmtpd",
		argv: []string{"sh", "-c", "mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty && chmod 711 /var/spool/smtpd && for d in /var/spool/smtpd/*; do rm -rf $d; done; exec smtpd -d -f DIR/smtpd.conf"},
		files: map[string]string{"smtpd.conf": `pki peer.test cert "DIR/cert.pem"
pki peer.test key "DIR/key.pem"
table users { "joe@peer.test" = "peer", "ann@peer.test" = "peer" }
listen on 127.0.0.1 port PORT tls pki peer.test hostname peer.test
action "all" maildir "DIR/mail/all" virtual <users>
match from any for domain "peer.test" action "all"
`},
		wants: []string{"DSN"},
	},
}

// enter is the script that runs a peer; tests run in the folder of their package.
const enter = "../../testdata/peers/enter.sh"

// startPeer runs a peer and returns its scratch directory; ready tells that it
// answers.
func startPeer(t *testing.T, p *peer, port int, ready func(dir string) bool) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts other mail software")
	}
	root := peers.Dir(t, p.name)
	if os.Getuid() != 0 {
		t.Skipf("%s needs root, to have a namespace of its own", p.name)
	}
	if out, err := exec.Command(enter, root, "true").CombinedOutput(); err != nil {
		t.Skipf("no namespace for %s: %v: %s", p.name, err, out)
	}
	dir, err := os.MkdirTemp("", "peer") // a short name: sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	fill := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port))
	for name, text := range p.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	writeCert(t, dir)
	mail := filepath.Join(dir, "mail")
	if err := os.Mkdir(mail, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{dir: 0o755, mail: 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{root}
	for _, a := range p.argv {
		args = append(args, fill.Replace(a))
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(enter, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // unshare takes all of the namespace along
		cmd.Wait()                                      // killed: an error is what is wanted
		if t.Failed() {
			text, err := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("%s said (%v):\n%s", p.name, err, text[max(0, len(text)-8000):])
		}
	})
	if !eventually(func() bool { return ready(dir) }) {
		t.Fatalf("%s does not answer", p.name)
	}
	return dir
}

// eventually waits for cond, which other processes bring about.
func eventually(cond func() bool) bool {
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if cond() {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// writeCert makes the certificate of a peer. Its key is RSA, which all can use.
func writeCert(t *testing.T, dir string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"peer.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "cert.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// arrived returns the message below dir that holds the marker.
func arrived(dir, marker string) string {
	paths, _ := filepath.Glob(filepath.Join(dir, "mail/*/new/*"))
	for _, path := range paths {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(marker)) {
			return string(b)
		}
	}
	return ""
}

// A peerMail is a message for the peers and what must become of it.
type peerMail struct {
	name   string
	letter letter
	want   string // results
	noUTF8 string // results of a peer without SMTPUTF8; "" is want
	dialog string // a part of the dialogue
}

func peerMails() []peerMail {
	const header = "From: from@us.test\nTo: joe@peer.test\nSubject: test\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
	dsnLetter := letterOf(header, "asks for a report\n", "joe@peer.test")
	dsnLetter.attr = spool.Attributes{EnvID: "QQ314159", Ret: "HDRS"}
	dsnLetter.groups[0].Rcpts[0].Notify = "FAILURE,DELAY"
	dsnLetter.groups[0].Rcpts[0].ORcpt = "rfc822;joe@peer.test"
	utf8Letter := letterOf("From: from@us.test\nTo: jöe@peer.test\nSubject: Grüße\n\n", "an jöe\n", "jöe@peer.test")
	utf8Letter.attr.SMTPUTF8 = true
	return []peerMail{
		{name: "plain", letter: letterOf(header, ".\n..\n.dots\nand no end of line", "joe@peer.test"), want: "ok"},
		{name: "refused", letter: letterOf(header, "for two of three\n", "joe@peer.test", "nobody@peer.test", "ann@peer.test"), want: "ok, error, ok"},
		{name: "8-bit", letter: letterOf(header, "Grüße: 8 bit\n", "joe@peer.test"), want: "ok", dialog: "BODY=8BITMIME"},
		{name: "large", letter: letterOf(header, strings.Repeat(strings.Repeat("y", 70)+"\n", 10000), "joe@peer.test"), want: "ok"},
		{name: "utf-8", letter: utf8Letter, want: "ok", noUTF8: "error", dialog: "SMTPUTF8"},
		{name: "dsn", letter: dsnLetter, want: "ok", dialog: "NOTIFY=FAILURE,DELAY ORCPT=rfc822;joe@peer.test"},
	}
}

// What we say is taken by the mail servers of others, in the clear and encrypted,
// pipelined and one by one, with and without BDAT, and arrives as it was.
func TestPeers(t *testing.T) {
	for i := range mailServers {
		p := &mailServers[i]
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			port := freePort(t)
			dir := startPeer(t, p, port, func(string) bool {
				nc, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
				if err == nil {
					nc.Close()
				}
				return err == nil
			})
			brokenTLS := !opensslCan(t, port)
			if brokenTLS && p.name != "opensmtpd" {
				t.Error("openssl cannot speak TLS with it")
			}
			for _, tt := range []struct {
				name string
				set  func(*options)
			}{
				{"clear", func(o *options) { o.tls.mode = tlsOff }},
				{"tls", func(o *options) { o.tls.mode = tlsMust }},
				{"data", func(o *options) { o.chunking = false }},
				{"one-by-one", func(o *options) { o.pipelining = false }},
			} {
				t.Run(tt.name, func(t *testing.T) {
					if tt.name == "tls" && brokenTLS {
						t.Skip("openssl cannot speak TLS with it either")
					}
					exchangeWithPeer(t, p, dir, port, brokenTLS, tt.set)
				})
			}
		})
	}
}

// opensslCan tells whether another TLS library gets through a handshake with a peer.
func opensslCan(t *testing.T, port int) bool {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", "s_client", "-starttls", "smtp", "-connect", fmt.Sprintf("127.0.0.1:%d", port))
	cmd.Stdin = strings.NewReader("QUIT\r\n")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	return err == nil && !bytes.Contains(out, []byte("Cipher is (NONE)"))
}

func exchangeWithPeer(t *testing.T, p *peer, dir string, port int, brokenTLS bool, set func(*options)) {
	transcript := filepath.Join(t.TempDir(), "dialogue")
	d := start(t, func(o *options) {
		set(o)
		var err error
		if o.transcript, err = openTranscript(transcript); err != nil {
			t.Fatal(err)
		}
	})
	text := ""
	for _, m := range peerMails() {
		marker := fmt.Sprintf("X-Test: %s/%s.\n", t.Name(), m.name)
		g := &m.letter.groups[0]
		g.Header = append([]byte(marker), g.Header...)
		results := d.deliver(m.letter, fmt.Sprintf("[127.0.0.1]:%d", port))
		want := m.want
		if m.noUTF8 != "" && !p.utf8 {
			want = m.noUTF8
		}
		var actions []string
		for _, r := range results {
			actions = append(actions, r.Action.String())
		}
		if got := strings.Join(actions, ", "); got != want {
			t.Errorf("%s: %s, want %s: %+v", m.name, got, want, results)
			continue
		}
		if b, err := os.ReadFile(transcript); err == nil {
			text = string(b)
		}
		if strings.HasPrefix(want, "ok") {
			if m.dialog != "" && !strings.Contains(text, m.dialog) {
				t.Errorf("%s: no %q in the dialogue", m.name, m.dialog)
			}
			checkArrival(t, dir, marker, &m)
		}
	}
	for _, ext := range p.wants {
		if !strings.Contains(text, ext) {
			t.Errorf("the peer does not offer %s", ext)
		}
	}
	want := 1
	if brokenTLS && d.c.opt.tls.mode == tlsMay {
		want = 3 // two are lost, with a handshake each
	}
	if n := strings.Count(text, "connected to "); n != want {
		t.Errorf("%d connections for %d messages", n, len(peerMails()))
	}
}

// checkArrival waits for the message and compares its body.
func checkArrival(t *testing.T, dir, marker string, m *peerMail) {
	t.Helper()
	var got string
	if !eventually(func() bool { got = arrived(dir, strings.TrimSuffix(marker, "\n")); return got != "" }) {
		t.Errorf("%s: did not arrive", m.name)
		return
	}
	got = strings.ReplaceAll(got, "\r\n", "\n")
	_, body, _ := strings.Cut(got, "\n\n")
	if want := strings.TrimSuffix(m.letter.body, "\n") + "\n"; body != want {
		t.Errorf("%s: arrived as %.200q, want %.200q", m.name, body, want)
	}
}

// Dovecot takes LMTP over a socket, and answers for each recipient: one is not
// known, one is over quota when the content has gone out.
func TestDovecot(t *testing.T) {
	p := peer{
		name: "dovecot",
		argv: []string{"dovecot", "-F", "-c", "DIR/dovecot.conf"},
		files: map[string]string{
			"dovecot.conf": `protocols = lmtp
ssl = no
log_path = DIR/log
mail_location = maildir:DIR/mail/%n
mail_plugins = quota
first_valid_uid = 1
default_internal_user = dovecot
default_login_user = dovenull
passdb {
  driver = passwd-file
  args = DIR/users
}
userdb {
  driver = passwd-file
  args = DIR/users
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=100M
  quota_grace = 0
}
service lmtp {
  unix_listener DIR/lmtp {
    mode = 0666
  }
}
`,
			"users": `joe@peer.test:{PLAIN}x:65534:65534::DIR/mail/joe::
ann@peer.test:{PLAIN}x:65534:65534::DIR/mail/ann::
full@peer.test:{PLAIN}x:65534:65534::DIR/mail/full::userdb_quota_rule=*:bytes=10
`,
		},
	}
	dir := startPeer(t, &p, 0, func(dir string) bool {
		nc, err := net.Dial("unix", dir+"/lmtp")
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	d := start(t, func(o *options) { o.lmtp = true })
	l := letterOf("X-Test: lmtp.\nFrom: from@us.test\n\n", "for all\n", "joe@peer.test", "nobody@peer.test", "full@peer.test", "ann@peer.test")
	res := d.deliver(l, dir+"/lmtp")
	if got := outcome(res); got != "ok 2.0.0, error 5.1.1, error 5.2.2, ok 2.0.0" {
		t.Errorf("got %s: %+v", got, res)
	}
	for _, user := range []string{"joe", "ann"} {
		if files, _ := filepath.Glob(filepath.Join(dir, "mail", user, "new/*")); len(files) != 1 {
			t.Errorf("%s has %d messages", user, len(files))
		}
	}
}
