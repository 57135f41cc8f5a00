package smtp

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	godkim "github.com/emersion/go-msgauth/dkim"

	"zmailer/agents/dkim"
	"zmailer/agents/serve"
	"zmailer/shellcfg"
	"zmailer/spool"
	"zmailer/testdata/peers"
)

// sharedKeys are made once for all tests: RSA keys take their time.
var sharedKeys = sync.OnceValues(func() (records map[string]string, err error) {
	records = make(map[string]string)
	p := dkim.Place{Dir: filepath.Join(spoolRoot, "test-keys"), UID: os.Getuid(), GID: os.Getgid()}
	for _, kind := range []string{"rsa", "ed25519"} {
		k, _, err := p.Generate("us.test", kind, kind)
		if err != nil {
			return nil, err
		}
		if records[k.Name()], err = k.Record(); err != nil {
			return nil, err
		}
	}
	return records, nil
})

// signers makes a directory with an RSA and an Ed25519 key for us.test, and
// returns it with the DNS records.
func signers(t *testing.T) (dir string, records map[string]string) {
	t.Helper()
	if _, err := sharedSpool(); err != nil {
		t.Fatal(err)
	}
	records, err := sharedKeys()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "dkim")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(spoolRoot, "test-keys"))); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"rsa", "ed25519"} {
		if err := os.Chmod(filepath.Join(dir, "us.test", kind+".pem"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, records
}

// checkSignatures tells what is wrong with the signatures of a message.
func checkSignatures(message string, records map[string]string, want int) error {
	found, err := godkim.VerifyWithOptions(strings.NewReader(message), &godkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		return []string{records[name]}, nil
	}})
	if err != nil {
		return err
	}
	for _, v := range found {
		if v.Err != nil {
			return fmt.Errorf("%s: %w", v.Domain, v.Err)
		}
	}
	if len(found) != want {
		return fmt.Errorf("%d signatures, want %d", len(found), want)
	}
	return nil
}

// signedLetters are texts in which a line end, a dot or a conversion can go wrong.
var signedLetters = []struct{ name, header, body string }{
	{"plain", "From: Ann <ann@us.test>\nTo: a@x.test\nSubject: x\n\n", "hello\n"},
	{"folded", "From: ann@us.test\nSubject: a\n  b\n\tc\nTo: a@x.test,\n b@x.test\n\n", "x\n"},
	{"dots", "From: ann@us.test\n\n", ".\n..\n.x\n...\n"},
	{"no line end", "From: ann@us.test\n\n", "a\n.\nlast"},
	{"empty", "From: ann@us.test\n\n", ""},
	{"empty lines", "From: ann@us.test\n\n", "\n\nx\n\n\n\n"},
	{"CRLF", "From: ann@us.test\n\n", "a\r\n.\r\nb \t \r\n\r\n"},
	{"bare CR", "From: ann@us.test\n\n", "a\rb\r\r\nc\r"},
	{"8-bit", "From: ann@us.test\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n", "Grüße = \n.\nan alle\n"},
	{"8-bit without MIME", "From: ann@us.test\nSubject: x\n\n", "Grüße"},
	{"multipart", "From: ann@us.test\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n",
		"prä\n--b\n\nplain\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nä \n--b--\n"},
	{"mostly not ASCII", "From: ann@us.test\n\n", "Grä" + strings.Repeat("漢字かな交じり文。\n", 300)},
	{"large", "From: ann@us.test\n\n", strings.Repeat(".0123456789 abcdef \n", 20000)},
	{"large, 8-bit", "From: ann@us.test\nContent-Type: text/plain; charset=utf-8\n\n", strings.Repeat(".0123456789 äöü \n", 20000)},
}

// What arrives is signed as it arrives: pipelined, by BDAT, and converted for a
// host without 8BITMIME. The verifier of another project agrees.
func TestSignatures(t *testing.T) {
	dir, records := signers(t)
	var kept []string
	for _, ext := range [][]string{{"PIPELINING", "8BITMIME", "SIZE"}, {"PIPELINING", "CHUNKING", "8BITMIME"}, {"PIPELINING", "SIZE"}} {
		s := newSink(t, ext...)
		d := start(t, func(o *options) {
			quick(o)
			o.keys = &dkim.Keys{Dir: dir}
		})
		for i, tt := range signedLetters {
			l := letterOf(tt.header, tt.body, "a@x.test")
			l.attr.Ours = true
			if res := d.deliver(l, s.host()); outcome(res) != "ok 2.0.0" {
				t.Fatalf("%s: %+v", tt.name, res)
			}
			m := s.received()[i]
			if err := checkSignatures(m.data, records, 2); err != nil {
				t.Errorf("%v: %s: %v: %.1000q", ext, tt.name, err, m.data)
			}
			converted := !strings.Contains(strings.Join(ext, " "), "8BITMIME") && strings.Contains(tt.body, "ä")
			if got := strings.Contains(m.data, "=C3=A4") || strings.Contains(m.data, "Transfer-Encoding: base64"); got != converted {
				t.Errorf("%v: %s: converted: %v", ext, tt.name, got)
			}
			if _, size, ok := strings.Cut(m.from, "SIZE="); ok && !strings.Contains(tt.body, "\r") && !strings.HasPrefix(size, fmt.Sprint(len(m.data))) {
				t.Errorf("%s: announced %s octets, sent %d", tt.name, size, len(m.data))
			}
			kept = append(kept, m.data)
		}
	}
	t.Run("dkimpy", func(t *testing.T) { verifyByPython(t, kept, records) })
}

// verifyByPython has the messages verified by dkimpy, each signature of them.
func verifyByPython(t *testing.T, messages []string, records map[string]string) {
	modules := filepath.Join(peers.Dir(t, "dkimpy"), "usr/lib/python3/dist-packages")
	dir := t.TempDir()
	args := []string{"-c", `
import sys, dkim
records = dict(line.rstrip("\n").split(" ", 1) for line in open(sys.argv[1]))
lookup = lambda name, timeout=5: records[name.decode().rstrip(".")].encode()
for path in sys.argv[2:]:
    message = dkim.DKIM(open(path, "rb").read())
    for i in range(2):
        if not message.verify(idx=i, dnsfunc=lookup):
            print(path, i)
`, filepath.Join(dir, "records")}
	var zone strings.Builder
	for name, text := range records {
		fmt.Fprintf(&zone, "%s %s\n", name, text)
	}
	if err := os.WriteFile(args[2], []byte(zone.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, m := range messages {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(path, []byte(m), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	if out, err := exec.Command("python3", "-c", "pass").CombinedOutput(); err != nil {
		t.Skipf("python3: %v: %s", err, out)
	}
	cmd := exec.Command("python3", args...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+modules)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("dkimpy does not verify (%v): %s", err, out)
	}
}

// Only our own mail is signed, and only with keys of the domain in From.
func TestWhatIsSigned(t *testing.T) {
	dir, records := signers(t)
	s := newSink(t)
	for _, tt := range []struct {
		name, from     string
		ours, all, set bool
		want           int
	}{
		{"ours", "ann@us.test", true, false, true, 2},
		{"a stranger's", "ann@us.test", false, false, true, 0},
		{"a stranger's, when all are signed", "ann@us.test", false, true, true, 2},
		{"another domain", "ann@other.test", true, true, true, 0},
		{"a domain below", "ann@www.us.test", true, true, true, 0},
		{"not configured", "ann@us.test", true, true, false, 0},
	} {
		d := start(t, func(o *options) {
			quick(o)
			if o.signAll = tt.all; tt.set {
				o.keys = &dkim.Keys{Dir: dir}
			}
		})
		l := letterOf("From: "+tt.from+"\n\n", "x\n", "a@x.test")
		l.attr.Ours = tt.ours
		if res := d.deliver(l, s.host()); outcome(res) != "ok 2.0.0" {
			t.Fatalf("%s: %+v", tt.name, res)
		}
		m := s.received()
		if err := checkSignatures(m[len(m)-1].data, records, tt.want); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Groups of a message with headers of their own have signatures of their own;
// transactions of one group share one.
func TestSignedGroups(t *testing.T) {
	dir, records := signers(t)
	s := newSink(t, "PIPELINING", "LIMITS RCPTMAX=1")
	d := start(t, func(o *options) {
		quick(o)
		o.keys = &dkim.Keys{Dir: dir}
	})
	l := letterOf("From: ann@us.test\nSubject: one\n\n", "body\n", "a@x.test", "b@x.test")
	l.groups = append(l.groups, letterOf("From: joe@us.test\nSubject: two\n\n", "", "c@x.test").groups...)
	l.attr = spool.Attributes{Ours: true}
	if got := outcome(d.deliver(l, s.host())); got != "ok 2.0.0, ok 2.0.0, ok 2.0.0" {
		t.Fatal(got)
	}
	m := s.received()
	for i := range m {
		if err := checkSignatures(m[i].data, records, 2); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if len(m) != 3 || m[0].data != m[1].data || m[1].data == m[2].data {
		t.Errorf("%d messages; %q, %q", len(m), m[0].data, m[1].data)
	}
}

// Mail that was to be signed waits for a key that cannot be read.
func TestUnreadableKey(t *testing.T) {
	dir, _ := signers(t)
	if err := os.Chmod(filepath.Join(dir, "us.test/rsa.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := newSink(t)
	d := start(t, func(o *options) {
		quick(o)
		o.keys = &dkim.Keys{Dir: dir}
	})
	l := letterOf("From: ann@us.test\n\n", "x\n", "a@x.test", "b@x.test")
	l.attr.Ours = true
	res := d.deliver(l, s.host())
	if got := outcome(res); got != "deferred 4.7.0, deferred 4.7.0" || len(s.received()) != 0 || !strings.Contains(res[0].Text, "rsa.pem can be read by others") {
		t.Errorf("%+v, %d messages", res, len(s.received()))
	}
}

// The table is read where there is one, and then it decides.
func TestSigningTable(t *testing.T) {
	dir, records := signers(t)
	conf := &shellcfg.Conf{MailVar: t.TempDir()}
	s := newSink(t)
	for i, want := range []int{2, 1} {
		if i == 1 {
			file := conf.Path("db/dkim")
			if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("us.test us.test/ed25519\n"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		table, err := serve.Table(conf, "DKIMTABLE", "dkim")
		if err != nil {
			t.Fatal(err)
		}
		d := start(t, func(o *options) {
			quick(o)
			o.keys = &dkim.Keys{Dir: dir, Table: table}
		})
		l := letterOf("From: ann@us.test\n\n", "x\n", "a@x.test")
		l.attr.Ours = true
		if res := d.deliver(l, s.host()); outcome(res) != "ok 2.0.0" {
			t.Fatalf("%+v", res)
		}
		m := s.received()[i]
		if err := checkSignatures(m.data, records, want); err != nil {
			t.Error(err)
		}
		if want == 1 && !bytes.Contains([]byte(m.data), []byte("s=ed25519")) {
			t.Errorf("%q", m.data)
		}
	}
}
