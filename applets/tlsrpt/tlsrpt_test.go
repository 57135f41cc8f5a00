package tlsrpt

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg"
	"zmailer/shellcfg/resolver"
	"zmailer/spool"
)

var now = time.Date(2026, 11, 25, 1, 0, 0, 0, time.UTC)

func newTest(t *testing.T, dns ...string) (*reporter, *bytes.Buffer) {
	t.Helper()
	dir := t.TempDir()
	post := filepath.Join(dir, "post")
	if err := spool.Create(post, false); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "zmailer.conf")
	if err := os.WriteFile(file, []byte("POSTOFFICE="+post+"\nHOSTNAME=mx.us.test\nMYDOMAIN=us.test\nTLSREPORTS=tls@us.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	conf, err := shellcfg.LoadConf(file)
	if err != nil {
		t.Fatal(err)
	}
	names, err := resolver.NewFake(dns...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, err := newReporter(conf, names, &out)
	if err != nil {
		t.Fatal(err)
	}
	return r, &out
}

// count writes counts of a day.
func count(t *testing.T, r *reporter, day string, lines ...string) {
	t.Helper()
	dir := filepath.Join(r.dir, day)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "1-1"), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mails returns the messages in the spool.
func mails(t *testing.T, r *reporter) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.spool.Root, spool.RouterDir))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(r.spool.Root, spool.RouterDir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

const good = `{"d":"x.test","p":"sts","t":"version: STSv1","h":"mx.x.test","n":5}`

// TestSend sends to those who want it, once, and forgets the day.
func TestSend(t *testing.T) {
	r, _ := newTest(t,
		`_smtp._tls.x.test TXT "v=TLSRPTv1; rua=mailto:t%2Bls@x.test,http://x.test/, mailto:u@x.test?subject=y"`,
		`_smtp._tls.web.test TXT "v=TLSRPTv1; rua=ftp://web.test/"`, "_smtp._tls.down.test SERVFAIL")
	count(t, r, "2026-11-24", good, `{"d":"web.test","p":"no-policy-found","n":1}`, `{"d":"silent.test","p":"no-policy-found","n":1}`)
	count(t, r, "2026-11-25", good)
	for range 2 {
		if err := r.run(context.Background(), now); err != nil {
			t.Fatal(err)
		}
	}
	list := mails(t, r)
	if len(list) != 1 {
		t.Fatalf("%d mails", len(list))
	}
	for _, want := range []string{"from <tls@us.test>\n", "to <t+ls@x.test>", "to <u@x.test>", "\nTLS-Report-Domain: x.test\n", "\nTLS-Required: No\n",
		`report-type="tlsrpt"`, "us.test!x.test!1795478400!1795564799.json.gz"} {
		if !strings.Contains(list[0], want) {
			t.Errorf("no %q in %s", want, list[0])
		}
	}
	if days, err := tlsrpt.Days(r.dir); err != nil || len(days) != 1 {
		t.Errorf("left are %v, %v", days, err)
	}
	readByPython(t, list[0])
}

// readByPython has Python take the mail to pieces.
func readByPython(t *testing.T, file string) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip(err)
	}
	_, message, _ := strings.Cut(file, "env-end\n")
	cmd := exec.Command(python, "-c", `
import sys, email, email.policy, gzip, json
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, data = m.iter_parts()
assert m.get_content_type() == "multipart/report", m.get_content_type()
assert data.get_content_type() == "application/tlsrpt+gzip", data.get_content_type()
r = json.loads(gzip.decompress(data.get_content()))
print(m["Subject"])
print(data.get_filename(), r["policies"][0]["summary"]["total-successful-session-count"], r["report-id"])
`)
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.CombinedOutput()
	const want = "Report Domain: x.test Submitter: us.test Report-ID: <2026-11-24_x.test@us.test>\n" +
		"us.test!x.test!1795478400!1795564799.json.gz 5 2026-11-24_x.test@us.test\n"
	if err != nil || strings.ReplaceAll(string(out), "\t", " ") != want {
		t.Errorf("%v: %s", err, out)
	}
}

// TestWaits keeps a day for a domain that cannot be looked up, and does not send
// the others again.
func TestWaits(t *testing.T) {
	r, _ := newTest(t, `_smtp._tls.x.test TXT "v=TLSRPTv1; rua=mailto:tls@x.test"`, "_smtp._tls.down.test SERVFAIL")
	count(t, r, "2026-11-24", good, `{"d":"down.test","p":"no-policy-found","n":1}`)
	for range 2 {
		if err := r.run(context.Background(), now); err == nil || !strings.Contains(err.Error(), "down.test") {
			t.Errorf("%v", err)
		}
	}
	if n := len(mails(t, r)); n != 1 {
		t.Errorf("%d mails", n)
	}
	if err := r.run(context.Background(), now.Add(keepDays*24*time.Hour)); err == nil {
		t.Error("no word of the domain that is given up")
	}
	if days, err := tlsrpt.Days(r.dir); err != nil || len(days) != 0 {
		t.Errorf("left are %v, %v", days, err)
	}
}

func TestDryRun(t *testing.T) {
	r, out := newTest(t, `_smtp._tls.x.test TXT "v=TLSRPTv1; rua=mailto:tls@x.test"`)
	count(t, r, "2026-11-24", good)
	if err := r.show(context.Background(), now); err != nil || !strings.HasPrefix(out.String(), "# to tls@x.test\n{\n \"organization-name\": \"us.test\"") {
		t.Errorf("%v: %s", err, out)
	}
	if n := len(mails(t, r)); n != 0 {
		t.Errorf("%d mails", n)
	}
}

func TestNotSet(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zmailer.conf")
	for text, want := range map[string]string{"": "TLSREPORTS is not set", "TLSREPORTS=joe\n": "want an address with its domain", "TLSREPORTS='<'\n": "TLSREPORTS=<"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		conf, err := shellcfg.LoadConf(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newReporter(conf, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
