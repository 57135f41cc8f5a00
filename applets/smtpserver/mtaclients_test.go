package smtpserver

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"zmailer/testdata/peers"
)

// A mailClient is somebody else's mail server that sends all its mail to ours. In its
// script PORT is where it takes mail, SMARTHOST our port; TLS is true or false, for
// STARTTLS and the login of joe.
type mailClient struct {
	name   string
	modern bool // knows SMTPUTF8, and pipelines
	body   bool // says BODY=8BITMIME
	bdat   bool
	script string
}

var mailClients = []mailClient{
	{name: "postfix", modern: true, body: true, script: `
mkdir -p /var/spool/postfix /var/lib/postfix DIR/conf
chown postfix /var/lib/postfix
cat >DIR/conf/main.cf <<'END'
compatibility_level = 3.6
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = peer.test
mydestination =
alias_maps =
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:SMARTHOST
END
if TLS; then
cat >>DIR/conf/main.cf <<'END'
smtp_tls_security_level = encrypt
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = inline:{ {[127.0.0.1]:SMARTHOST=joe:secret} }
END
fi
cat >DIR/conf/master.cf <<'END'
127.0.0.1:PORT inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
END
postfix -c DIR/conf check || true
exec postfix -c DIR/conf start-fg`},
	{name: "exim", modern: true, bdat: true, script: `
mkdir -p /var/spool/exim4
chown peer /var/spool/exim4
must=
if TLS; then must='*'; fi
cat >DIR/exim.conf <<END
exim_user = peer
exim_group = peer
spool_directory = /var/spool/exim4
log_file_path = /var/spool/exim4/%slog
primary_hostname = peer.test
local_interfaces = <; 127.0.0.1
daemon_smtp_ports = PORT
acl_smtp_rcpt = rcpt
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
begin acl
rcpt:
  accept
begin routers
all:
  driver = manualroute
  route_list = * 127.0.0.1::SMARTHOST byname
  self = send
  transport = out
begin transports
out:
  driver = smtp
  hosts_require_tls = $must
  hosts_require_auth = $must
  tls_try_verify_hosts =
  tls_verify_hosts =
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^joe^secret
begin retry
* * F,1h,1m
END
touch /var/spool/exim4/mainlog
chown -R peer /var/spool/exim4
tail -F /var/spool/exim4/mainlog &
exec exim4 -C DIR/exim.conf -bdf`},
	{name: "opensmtpd", script: `
mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 /var/spool/smtpd
for d in /var/spool/smtpd/*; do rm -rf $d; done
to='host smtp+notls://127.0.0.1:SMARTHOST'
if TLS; then to='host smtp+tls://us@127.0.0.1:SMARTHOST auth <logins> tls no-verify'; fi
cat >DIR/smtpd.conf <<END
table logins { "us" = "joe:secret" }
listen on 127.0.0.1 port PORT hostname peer.test
action "all" relay $to
match from any for any action "all"
END
chmod 600 DIR/smtpd.conf
exec smtpd -d -f DIR/smtpd.conf`},
}

// A wiretap keeps what clients send to a server.
type wiretap struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *wiretap) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// Write keeps a piece; the sign between two shows what came in one.
func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	w.text.WriteString("|")
	return len(p), nil
}

// tap listens in the place of a server and returns its own port.
func tap(t *testing.T, addr string) (*wiretap, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := new(wiretap)
	var tasks sync.WaitGroup
	t.Cleanup(func() { l.Close(); tasks.Wait() })
	tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() {
				defer client.Close()
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer server.Close()
				go func() {
					io.Copy(io.MultiWriter(server, w), client)
					server.(*net.TCPConn).CloseWrite() // Exim waits for its replies after that
				}()
				io.Copy(client, server)
			})
		}
	})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return w, port
}

// A clientLetter is what the mail servers are given, and what comes of it.
type clientLetter struct {
	name, from, body string
	to               []string
	opts             smtp.MailOptions
	rcpt             smtp.RcptOptions
	env              string // a pattern of a line of our envelope
	dialogue         string // what the client says, in the clear
	utf8             bool
}

var clientLetters = []clientLetter{
	{name: "plain", from: "ann@peer.test", to: []string{"joe@example.org"}, body: ".\r\n..\r\n.dots\r\n" + strings.Repeat("x", 900) + "\r\n", env: "from <ann@peer.test>"},
	{name: "many", from: "ann@peer.test", to: []string{"joe@example.org", "far@elsewhere.example", "ann@example.org"}, body: "three\r\n", env: "*far@elsewhere.example*"},
	{name: "8-bit", from: "ann@peer.test", to: []string{"joe@example.org"}, body: "Grüße\r\n", opts: smtp.MailOptions{Body: smtp.Body8BitMIME}, env: "bodytype 8BITMIME", dialogue: "BODY=8BITMIME"},
	{name: "large", from: "ann@peer.test", to: []string{"joe@example.org"}, body: strings.Repeat(strings.Repeat("y", 70)+"\r\n", 10_000), env: "from <ann@peer.test>"},
	{
		name: "dsn", from: "ann@peer.test", to: []string{"joe@example.org"}, body: "with a report\r\n",
		opts: smtp.MailOptions{Return: smtp.DSNReturnHeaders, EnvelopeID: "QQ314159"},
		rcpt: smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure, smtp.DSNNotifyDelayed}, OriginalRecipientType: smtp.DSNAddressTypeRFC822, OriginalRecipient: "joe@example.org"},
		env:  "envid QQ314159", dialogue: "NOTIFY=FAILURE,DELAY",
	},
	{name: "utf-8", utf8: true, from: "änn@peer.test", to: []string{"jöe@example.org"}, body: "an jöe\r\n", opts: smtp.MailOptions{UTF8: true}, env: "from <änn@peer.test>", dialogue: "SMTPUTF8"},
	// The report about it comes back the same way.
	{name: "refused", from: "ann@peer.test", to: []string{"nobody@example.org"}, body: "for nobody\r\n", env: "from <>"},
}

// TestMailServersAsClients has the mail servers of others use ours as their smarthost:
// as strangers who are allowed to, in the clear, and with STARTTLS and a login.
func TestMailServersAsClients(t *testing.T) {
	if testing.Short() {
		t.Skip("starts other mail software")
	}
	for i := range mailClients {
		c := &mailClients[i]
		for _, tls := range []string{"false", "true"} {
			t.Run(c.name+"/tls="+tls, func(t *testing.T) {
				config := "relay_for 127.0.0.1\n"
				if tls == "true" {
					config = withUsers(t)
				}
				ts := start(t, config)
				dialogue, smarthost := tap(t, ts.addr)
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				addr := l.Addr().String()
				l.Close()
				_, port, _ := net.SplitHostPort(addr)
				peers.Start(t, c.name, strings.NewReplacer("PORT", port, "SMARTHOST", smarthost, "TLS", tls).Replace(c.script), addr)
				for i := range clientLetters {
					if l := &clientLetters[i]; !l.utf8 || c.modern {
						ts.sendVia(addr, l.name, i)
					}
				}
				ts.checkClient(c, tls == "true", dialogue)
			})
		}
	}
}

// sendVia gives a letter to the mail server at addr.
func (ts *testServer) sendVia(addr, name string, i int) {
	l, t := &clientLetters[i], ts.t
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	opts := l.opts
	if ok, _ := c.Extension("DSN"); !ok {
		opts.Return, opts.EnvelopeID = "", ""
	}
	if err := c.Mail(l.from, &opts); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for _, to := range l.to {
		rcpt := l.rcpt
		if opts.Return == "" {
			rcpt = smtp.RcptOptions{}
		}
		if err := c.Rcpt(to, &rcpt); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	fmt.Fprintf(w, "From: <%s>\r\nTo: <%s>\r\nSubject: letter %s\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s", l.from, l.to[0], name, l.body)
	if err := w.Close(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// checkClient waits for all letters and compares them.
func (ts *testServer) checkClient(c *mailClient, secure bool, dialogue *wiretap) {
	t := ts.t
	for i := range clientLetters {
		l := &clientLetters[i]
		if l.utf8 && !c.modern {
			continue
		}
		m := ts.awaitLetter(l.name)
		env, err := m.env.Append(nil)
		if err != nil || c.knows(l) && !matchLine(string(env), l.env) {
			t.Errorf("%s: no %s in the envelope: %v\n%s", l.name, l.env, err, env)
		}
		if !strings.Contains(m.text, strings.ReplaceAll(l.body, "\r\n", "\n")) && l.name != "refused" {
			t.Errorf("%s: arrives as %.300q", l.name, m.text)
		}
		with := "ESMTP"
		if l.utf8 {
			with = "UTF8SMTP"
		}
		user := ""
		if secure {
			with, user = with+"SA", "joe"
		}
		if m.env.With != with || m.env.AuthUser != user {
			t.Errorf("%s: with %s, user %q", l.name, m.env.With, m.env.AuthUser)
		}
		if c.knows(l) && !secure && !strings.Contains(dialogue.String(), l.dialogue) {
			t.Errorf("%s: the client does not say %s", l.name, l.dialogue)
		}
	}
	if secure {
		return
	}
	text := dialogue.String()
	if strings.Contains(text, "\r\nBDAT ") != c.bdat && strings.Contains(text, "|BDAT ") != c.bdat {
		t.Errorf("BDAT: want %v", c.bdat)
	}
	if c.modern && !strings.Contains(text, "\r\nRCPT TO:") {
		t.Error("nothing is pipelined")
	}
}

// knows tells whether the client passes on what a letter asks for.
func (c *mailClient) knows(l *clientLetter) bool {
	if l.opts.Body != "" {
		return c.body
	}
	return c.modern || l.opts == (smtp.MailOptions{})
}

// awaitLetter returns a letter, or the report about one, when it has come.
func (ts *testServer) awaitLetter(name string) stored {
	ts.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, m := range submitted(ts.t, ts.spool) {
			if strings.Contains(m.text, "Subject: letter "+name+"\n") {
				return m
			}
		}
	}
	ts.t.Fatalf("letter %s does not come", name)
	return stored{}
}
