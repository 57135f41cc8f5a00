package migrate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadMC(t *testing.T) {
	calls, raw, err := readMC(file(t, "sendmail.mc", "divert(-1)\nHIDDEN(`x')\ndivert(0)dnl\ndnl NOT(`this')\nFEATURE(`a', `b, (c)',\n\t`d `e' f')dnl rest\ndefine(`X', `Y')\nLOCAL_CONFIG\nDxy\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range calls {
		got = append(got, c.where+" "+c.name+"("+strings.Join(c.args, "|")+")")
	}
	want := []string{"sendmail.mc:5 FEATURE(a|b, (c)|d `e' f)", "sendmail.mc:7 define(X|Y)", "sendmail.mc:8 LOCAL_CONFIG()"}
	if !slices.Equal(got, want) || len(raw) != 1 || raw[0].name != "Dxy" {
		t.Errorf("%q, %v", got, raw)
	}
	for _, bad := range []string{"FEATURE(`x'", "FEATURE(" + strings.Repeat("(", 100), "x(" + strings.Repeat("`", 100)} {
		if _, _, err := readMC(file(t, "sendmail.mc", bad)); err == nil {
			t.Errorf("%.20s: no error", bad)
		}
	}
}

func TestReadSmtpd(t *testing.T) {
	st, err := readSmtpd(file(t, "smtpd.conf", "net = \"192.0.2.0/24\" # lan\ntable a { x = \"y z\",\n  w }\nmatch from src $net \\\n for any reject\n"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range st {
		got = append(got, s.where+" "+strings.Join(s.words, "|"))
	}
	if want := []string{"smtpd.conf:2 table|a|{|x|=|y z|,|w|}", "smtpd.conf:4 match|from|src|192.0.2.0/24|for|any|reject"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	for _, bad := range []string{"a \"b", "listen on $x", "include \"/nowhere/at/all\""} {
		if _, err := readSmtpd(file(t, "smtpd.conf", bad+"\n")); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	loop := file(t, "smtpd.conf", "")
	if err := os.WriteFile(loop, []byte("include \""+loop+"\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readSmtpd(loop); err == nil {
		t.Error("a file that includes itself")
	}
}

func TestRefusal(t *testing.T) {
	for in, want := range map[string]string{
		"": "reject 550 5.7.1 'access denied'", "5.7.1 550 it's over": `reject 550 5.7.1 'it'\''s over'`, "451 later": "defer 451 4.7.1 'later'",
		`554 "no"`: "reject 554 5.7.1 'no'",
	} {
		if got := refusal(in); got != want {
			t.Errorf("refusal(%s) = %s", in, got)
		}
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"192.168": "192.168.0.0/16", "10.": "10.0.0.0/8", "192.0.2.7": "192.0.2.7/32", "IPv6:2001:db8::1": "2001:db8::1/128", "192.0.2.9/24": "192.0.2.0/24",
		"example.org": "", "1.2.3.4.5": "", "": "", "300": "",
	} {
		if p, ok := network(in); ok != (want != "") || ok && p.String() != want {
			t.Errorf("network(%s) = %v, %v", in, p, ok)
		}
	}
}

func FuzzReadMC(f *testing.F) {
	f.Add("FEATURE(`a', `b')dnl\ndivert(-1)\n")
	f.Fuzz(func(t *testing.T, text string) {
		calls, _, err := readMC(file(t, "sendmail.mc", text))
		if err == nil && len(calls) > len(text) {
			t.Error("more calls than bytes")
		}
	})
}

func FuzzReadSmtpd(f *testing.F) {
	f.Add("table a { b = \"c\" }\nmatch from src <a> for any action \"x\"\n")
	f.Add("listen on all port 25 tls\naction \"x\" relay host smtp://a\nmatch for any action \"x\"\n")
	stock := stockFiles()
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") || strings.Contains(text, "file:") || strings.Contains(text, "/") {
			return // not the files of this machine
		}
		if _, err := importSmtpd(filepath.Dir(file(t, "smtpd.conf", text)), hostOf, stock); err != nil && !strings.Contains(err.Error(), "smtpd.conf:") {
			t.Errorf("no place in %v", err)
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add("a@b... deliverable: mailer esmtp, host b., user a@b\n", "a@b\n  router = x, transport = y\n  host mx [1.2.3.4] MX=10\n")
	f.Fuzz(func(t *testing.T, verify, routed string) {
		if ways, err := parseVerify(verify); len(ways) == 0 && err == nil {
			t.Error("neither an answer nor an error")
		}
		if ways, err := parseRouted(routed); len(ways) == 0 && err == nil {
			t.Error("neither an answer nor an error")
		}
	})
}
