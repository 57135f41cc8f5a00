package migrate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func load(t testing.TB, text string) (*mainCF, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.cf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return readMainCF(path)
}

func TestMainCF(t *testing.T) {
	m, err := load(t, `# comment
a = 1
list = x,
	y # not a comment
# between

  z
host = mx.$domain
domain=example.org
both = ${host}, $(a) $$ ${none?no}${a?yes}${none:default}
a = 2
loop = $loop
`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "2", "list": "x, y # not a comment z", "host": "mx.example.org", "both": "mx.example.org, 2 $ yesdefault", "none": "", "loop": "",
	} {
		got, where := m.get(name)
		if name == "loop" {
			continue // it ends, that is all
		}
		if got != want || (where == "") != (name == "none") {
			t.Errorf("%s = %q (%s), want %q", name, got, where, want)
		}
	}
	if _, err := load(t, "nonsense\n"); err == nil || !strings.Contains(err.Error(), ":1:") {
		t.Errorf("a line without =: %v", err)
	}
}

func TestNexthop(t *testing.T) {
	for in, want := range map[string]string{
		"smtp:[192.0.2.1]:25": "smtp![192.0.2.1]:25", "relay:": "smtp!", "smtp": "smtp!", ":[mx.example.org]": "smtp![mx.example.org]",
		"lmtp:unix:private/x": "lmtp!/var/spool/postfix/private/x", "lmtp:unix:/run/x": "lmtp!/run/x", "lmtp:inet:localhost:24": "lmtp!localhost:24",
		"error:5.1.1 gone": "error!5.1.1 gone", ":": "", "local:": "", "maildrop:x": "",
	} {
		got, err := nexthop(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("nexthop(%s) = %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestPlace(t *testing.T) {
	plain, wrap, port := smtpClient{}, smtpClient{wrap: true}, smtpClient{port: "submission"}
	for _, tt := range []struct {
		client smtpClient
		in     string
		want   string
	}{
		{plain, "example.org", "example.org"}, {plain, "[mx.example.org]:submission", "[mx.example.org]:587"}, {plain, "mx.example.org:smtps", "mx.example.org:465"},
		{plain, "[192.0.2.1]:25", "[192.0.2.1]:25"}, {plain, "[2001:db8::1]:587", "[IPv6:2001:db8::1]:587"}, {plain, "[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"},
		{plain, "a.example, b.example:26", "a.example,b.example:26"}, {plain, "[a.example", ""}, {plain, "[a]x", ""}, {plain, ":25", ""}, {plain, "a:", "a"}, {plain, "a:0", ""}, {plain, "a:no-such-port", ""},
		{wrap, "[a.example]:465", "[a.example]:465"}, {wrap, "[a.example]:submissions", "[a.example]:465"}, {wrap, "a.example:2465", "smtps://a.example:2465"}, {wrap, "a.example", "smtps://a.example:25"},
		{port, "a.example", "a.example:587"}, {port, "a.example:25", "a.example:25"}, {smtpClient{port: "smtp"}, "a.example", "a.example"}, {smtpClient{wrap: true, port: "465"}, "[a.example]", "[a.example]:465"},
	} {
		got, err := tt.client.place(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %s = %q, %v, want %q", tt.client, tt.in, got, err, tt.want)
		}
	}
}

func TestSetAttribute(t *testing.T) {
	const conf = "# x\nmatch '*/*' interval=1m skew=10 \\\n\texpiry=5d maxta=100 \\\n\tdeadline=40m\n\nmatch 'local/*' expiry=3d\n"
	for text, want := range map[string]string{
		"expiry=2d":   "match '*/*' interval=1m skew=10 \\\n\texpiry=2d maxta=100 \\\n\tdeadline=40m\n\nmatch 'local/*' expiry=3d\n",
		"deadline=9m": "match '*/*' interval=1m skew=10 \\\n\texpiry=5d maxta=100 \\\n\tdeadline=9m\n\nmatch 'local/*' expiry=3d\n",
		"idlemax=1m":  "match '*/*' idlemax=1m interval=1m skew=10 \\\n\texpiry=5d maxta=100 \\\n\tdeadline=40m\n\nmatch 'local/*' expiry=3d\n",
	} {
		if got := setAttribute(conf, text); got != "# x\n"+want {
			t.Errorf("%s:\n%s", text, got)
		}
	}
}

func TestRestrictions(t *testing.T) {
	got := restrictionsOf("permit_mynetworks, check_client_access hash:/x reject_rbl_client rbl.example,permit")
	if want := []string{"permit_mynetworks", "check_client_access hash:/x", "reject_rbl_client rbl.example", "permit"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestEximByHand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "exim4.conf"), []byte("domainlist local_domains = @\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := importExim(dir, hostOf, nil); err == nil || !strings.Contains(err.Error(), "relay_to_domains db/relays") {
		t.Errorf("%v", err)
	}
}

func FuzzMainCF(f *testing.F) {
	f.Add("a = $b\nb = ${a}\n c\n")
	f.Add("x=${y?{z}}\ny=$(x)\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := load(t, text)
		if err != nil {
			return
		}
		for _, p := range m.params {
			m.get(p.name)
			if strings.ContainsAny(p.name, "\n=") {
				t.Errorf("name %q", p.name)
			}
		}
	})
}
