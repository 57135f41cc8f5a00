package migrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/tools/txtar"

	"zmailer/shellcfg"
	"zmailer/shellcfg/cf"
	"zmailer/shellcfg/policy"
	"zmailer/spool/proc"
	"zmailer/testdata/peers"
)

var update = flag.Bool("update", false, "write the results to the files of testdata")

// TestMain lets the test binary be "zmailer import", for the namespace of a peer.
func TestMain(m *testing.M) {
	if os.Getenv("ZMAILER_MIGRATE") == "" {
		os.Exit(m.Run())
	}
	cmd := Command(stockFiles())
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	var exit *proc.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Err != nil) {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(proc.Code(err))
}

func stockFiles() map[string]string {
	stock := make(map[string]string)
	for name, path := range map[string]string{"scheduler.conf": "../scheduler/scheduler.conf", "smtpserver.conf": "../smtpserver/smtpserver.conf", "sm.conf": "../../agents/sm/sm.conf"} {
		b, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		stock[name] = string(b)
	}
	b, err := cf.Files.ReadFile("router.cf")
	if err != nil {
		panic(err)
	}
	stock["router.cf"] = string(b)
	return stock
}

// hostOf is the name of the host whose configuration a file of testdata is.
const hostOf = "mx.example.org"

// confDir is where a mailer's files of a test are, below its directory "etc".
var confDir = map[string]string{"postfix": "postfix", "sendmail": "mail", "exim": "exim4", "opensmtpd": "."}

// unpack writes the files of a test, and returns the directory etc.
func unpack(t *testing.T, a *txtar.Archive, port string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "import") // a place that is not covered in the namespaces
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range a.Files {
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, bytes.ReplaceAll(f.Data, []byte("PORT"), []byte(port)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "etc")
}

func section(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// each runs fn on every configuration in testdata.
func each(t *testing.T, fn func(t *testing.T, m mailer, path string, a *txtar.Archive)) {
	for _, m := range mailers() {
		files, err := filepath.Glob("testdata/" + m.name + "/*.txtar")
		if err != nil || len(files) < 6 {
			t.Fatalf("%s: %d configurations, %v", m.name, len(files), err)
		}
		for _, path := range files {
			t.Run(m.name+"/"+strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
				t.Parallel()
				a, err := txtar.ParseFile(path)
				if err != nil {
					t.Fatal(err)
				}
				fn(t, m, path, a)
			})
		}
	}
}

// TestConfigurations imports each configuration and looks at what it becomes: the text,
// what is said, and where mail for its addresses goes.
func TestConfigurations(t *testing.T) {
	stock := stockFiles()
	each(t, func(t *testing.T, m mailer, path string, a *txtar.Archive) {
		etc := unpack(t, a, "2525")
		r, err := m.read(filepath.Join(etc, confDir[m.name]), hostOf, stock)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(filepath.Dir(etc), "new")
		if err := r.finish(t.Context(), io.Discard, dir); err != nil && proc.Code(err) != 1 {
			t.Fatal(err)
		}
		got := r.golden() + ways(t, dir, section(a, "addresses"))
		got = strings.ReplaceAll(got, filepath.Dir(etc), "DIR")
		if strings.Contains(got, "has errors") {
			t.Error("the result has errors")
		}
		if want := section(a, "result"); got != want {
			if !*update {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
			replaceSection(t, path, "result", got)
		}
	})
}

func replaceSection(t *testing.T, path, name, text string) {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(text)
			name = ""
		}
	}
	if name != "" {
		a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
	}
	if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

// golden is what was made of a configuration, without what stands in every one.
func (r *result) golden() string {
	var b strings.Builder
	names := make(map[string]string)
	for name, text := range r.files {
		names[name] = text.String()
	}
	names["db/aliases"] = r.aliasText.String()
	for name, text := range r.replaced {
		was := strings.Split(r.stock[name], "\n")
		for _, line := range strings.Split(text, "\n") {
			found := false
			for _, w := range was {
				found = found || w == line
			}
			if !found {
				names[name] = line + "\n" + names[name]
			}
		}
	}
	for _, name := range sortedKeys(names) {
		if names[name] != "" {
			fmt.Fprintf(&b, "== %s\n%s", name, names[name])
		}
	}
	for _, s := range r.notes {
		fmt.Fprintf(&b, "note %s\n", s)
	}
	for _, s := range r.skipped {
		fmt.Fprintf(&b, "skip %s\n", s)
	}
	return b.String()
}

// ways is where mail goes by the configuration in dir.
func ways(t *testing.T, dir, addresses string) string {
	t.Helper()
	conf, err := shellcfg.LoadConf(filepath.Join(dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Load(t.Context(), policy.Config{Conf: conf, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var b strings.Builder
	for _, addr := range strings.Fields(addresses) {
		list, err := ourWays(t.Context(), p, addr)
		fmt.Fprintf(&b, "%s => %s", addr, strings.Join(tidy(list), "; "))
		if err != nil {
			fmt.Fprintf(&b, " (%v)", err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// prepare is what is done with the files in ETC before the other mailer can be asked.
var prepare = map[string]string{
	"postfix": `for f in ETC/postfix/*; do case $f in *.cf) ;; *alias*) postalias -c ETC/postfix hash:$f ;; *) postmap -c ETC/postfix hash:$f ;; esac; done`,
	"sendmail": `cp -r ETC/mail/. /etc/mail/; cd /etc/mail; PATH=$PATH:/usr/libexec/sendmail
[ ! -e sendmail.mc ] || m4 sendmail.mc >sendmail.cf
for f in virtusertable mailertable access genericstable authinfo; do if [ -e $f ]; then makemap hash $f <$f; fi; done
mkdir -p /var/spool/mqueue /var/mail; touch aliases; /usr/libexec/sendmail/sendmail -C /etc/mail/sendmail.cf -bi; cd - >/dev/null`,
	"exim": `cp -r ETC/. /etc/; mkdir -p /var/lib/exim4 /var/spool/exim4 /var/log/exim4; touch /etc/email-addresses; update-exim4.conf`,
	"opensmtpd": `cp -r ETC/. /etc/; mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty; chmod 711 /var/spool/smtpd; for d in /var/spool/smtpd/*; do rm -rf $d; done
smtpd -d -f /etc/smtpd.conf & n=0; while [ $n -lt 100 ] && ! (exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null; do sleep 0.1; n=$((n+1)); done`,
}

// TestCompare asks the real programs about the addresses of each configuration. Where
// they and we differ, the file says so, and why.
func TestCompare(t *testing.T) {
	if testing.Short() {
		t.Skip("runs other mail software")
	}
	server := nameServer(t)
	each(t, func(t *testing.T, m mailer, path string, a *txtar.Archive) {
		port := freePort(t)
		etc := unpack(t, a, port)
		conf := filepath.Join("/etc", confDir[m.name])
		script := prepare[m.name]
		argv := []string{"bash", "-c"}
		_, absent := findProgram("", "postconf", "/usr/sbin/postconf")
		if m.name == "postfix" {
			conf = filepath.Join(etc, "postfix")
		}
		if m.name != "postfix" || absent != nil {
			root := peers.Dir(t, m.name)
			if os.Getuid() != 0 {
				t.Skip("needs root, for a namespace of its own")
			}
			script = "hostname " + hostOf + "; printf 'nameserver " + server + "\\noptions timeout:1 attempts:1\\n' >/etc/resolv.conf; printf '127.0.0.1 localhost\\n192.0.2.10 " + hostOf + " mx\\n' >/etc/hosts\n" + script
			argv = append([]string{"../../testdata/peers/enter.sh", root, "unshare", "--uts"}, argv...)
		}
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		script = "export PATH=$PATH:/usr/sbin:/sbin; (" + script + ") >ETC/log 2>&1 </dev/null\n" +
			"exec env ZMAILER_MIGRATE=1 " + exe + " " + m.name + " --from " + conf + " --hostname " + hostOf + " --json --compare ETC/../addresses ETC/../new"
		argv = append(argv, strings.NewReplacer("ETC", etc, "PORT", port).Replace(script))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.WaitDelay = time.Second
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err = cmd.Run()
		var c comparisons
		if e := json.Unmarshal(out.Bytes(), &c); e != nil {
			log, _ := os.ReadFile(filepath.Join(etc, "log"))
			t.Fatalf("%v, %v: %s\n%s\n%s", err, e, out.Bytes(), errs.Bytes(), log)
		}
		if n := len(strings.Fields(section(a, "addresses"))); c.Addresses != n || len(c.Results) != n {
			t.Errorf("%d addresses, %d results of %d", c.Addresses, len(c.Results), n)
		}
		var b strings.Builder
		for _, r := range c.Results {
			switch {
			case r.Error != "":
				fmt.Fprintf(&b, "%s: %s\n", r.Address, r.Error)
			case !r.Same:
				fmt.Fprintf(&b, "%s: %s | %s\n", r.Address, strings.Join(r.Old, "; "), strings.Join(r.New, "; "))
			}
		}
		if want := section(a, "different"); b.String() != want {
			if !*update {
				log, _ := os.ReadFile(filepath.Join(etc, "log"))
				t.Fatalf("different:\n%swant\n%s\n%s", b.String(), want, log)
			}
			replaceSection(t, path, "different", b.String())
		}
	})
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// nameServer answers for every domain: an exchanger mx.DOMAIN, except for names that
// are hosts, and an address. It needs port 53, on an address of its own.
func nameServer(t *testing.T) string {
	t.Helper()
	const addr = "127.83.90.5"
	conn, err := net.ListenPacket("udp", addr+":53")
	if err != nil {
		t.Skip(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		name := q.Question[0].Name
		host := strings.HasPrefix(name, "mx.") || strings.HasPrefix(name, "smtp.") || strings.HasPrefix(name, "gate.")
		record := ""
		switch q.Question[0].Qtype {
		case dns.TypeMX:
			if !host {
				record = name + " 60 IN MX 10 mx." + name
			}
		case dns.TypeA:
			record = name + " 60 IN A 192.0.2.25"
		}
		if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
			m.Rcode = dns.RcodeNameError
		} else if rr, err := dns.NewRR(record); err == nil && rr != nil {
			m.Answer = append(m.Answer, rr)
		}
		w.WriteMsg(m) // the client asks again
	})}
	done := make(chan struct{})
	go func() { defer close(done); server.ActivateAndServe() }()
	// After the parallel tests below t.
	t.Cleanup(func() { server.Shutdown(); <-done })
	return addr
}
