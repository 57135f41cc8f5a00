package sm

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/shellcfg/users"
	"zmailer/spool/dsn"
)

func load(t *testing.T, text string) (map[string]*Mailer, error) {
	t.Helper()
	path := t.TempDir() + "/sm.conf"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadMailers(t.Context(), path, map[string]string{"MAILBIN": "/opt/m b"})
}

func TestStock(t *testing.T) {
	m, err := LoadMailers(t.Context(), t.TempDir()+"/none", nil)
	if err != nil || m["procmail"] == nil || m["procmail"].User != "root" {
		t.Errorf("%v %v", m, err)
	}
}

func TestConfErrors(t *testing.T) {
	for text, want := range map[string]string{
		"\nmailer x flags=q command=/bin/cat":            "sm.conf:2:1: mailer: x: flag",
		"mailer x flags=8 command=/bin/cat":              "leave it out",
		"mailer x flags=H command=/bin/cat":              "flag H needs",
		"mailer x flags=bB command=/bin/cat":             "choose one",
		"mailer x flags=nU command=/bin/cat":             "flag U",
		"mailer x":                                       "command= is missing",
		"mailer":                                         "want a name",
		"mailer x command=cat":                           "absolute path",
		"mailer x command='$u'":                          "absolute path",
		"mailer x command='/bin/cat $z'":                 "there are $g",
		"mailer x command='/bin/cat ${NOSUCH}'":          "NOSUCH",
		"mailer x command='/bin/cat \"a'":                "not closed",
		"mailer x command=/bin/cat a":                    "key=value",
		"mailer x limit=1 command=/bin/cat":              "limit",
		"mailer x limit=1ms command=/bin/cat":            "limit",
		"mailer x limits=cpu command=/bin/cat":           "cpu=60s",
		"mailer x color=red command=/bin/cat":            "unknown attribute",
		"mailer x flags=S user=joe command=/bin/cat":     "contradict",
		"mailer x command=/bin/a\nmailer x command=/b/c": "defined at",
		"mialer x": "mialer",
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}

func TestExpand(t *testing.T) {
	f := facts{sender: "s@x", host: "h", users: []string{`"a b"@Y`, "Joe@z"}}
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"/p -a $h $u", []string{"/p", "-a", "h", `"a b"@Y`, "Joe@z"}},
		{"/p -f$g ($U)", []string{"/p", "-fs@x", `("a b"@y)`, "(joe@z)"}},
		{"/p $l $d", []string{"/p", "a b", "Joe", "Y", "z"}},
		{`/p "a  $h" "" ${MAILBIN} $$u`, []string{"/p", "a  h", "", "/opt/m b", "$u"}},
		{"/p  x", []string{"/p", "x"}},
	} {
		words, err := parseCommand(tt.command, map[string]string{"MAILBIN": "/opt/m b"})
		if err != nil {
			t.Errorf("%s: %v", tt.command, err)
			continue
		}
		if got, err := expand(words, f); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q %v, want %q", tt.command, got, err, tt.want)
		}
	}
	f.users, f.strip = []string{`"a b"@Y`}, true
	words, _ := parseCommand("/p $u", nil)
	if got, err := expand(words, f); err != nil || got[1] != "a b@Y" {
		t.Errorf("flag s: %q %v", got, err)
	}
	f.users = []string{"-rf@x"}
	if _, err := expand(words, f); err != errOption {
		t.Errorf("hyphen: %v", err)
	}
	words, _ = parseCommand("/p -u$u", nil)
	if _, err := expand(words, f); err != nil {
		t.Errorf("hyphen within a word: %v", err)
	}
}

// site runs the mailer that text defines as x, with this process's user.
func site(t *testing.T, text string) func(protocoltest.Message) []dsn.Result {
	t.Helper()
	mailers, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	s := protocoltest.NewSpool(t)
	a := &agent{mailer: mailers["x"], hostname: "mx.example.org", users: users.New(users.System("")), jobTime: protocol.JobTime}
	if os.Geteuid() == 0 {
		a.user = "root"
	}
	return func(m protocoltest.Message) []dsn.Result {
		t.Helper()
		return protocoltest.Deliver(t, s, &protocol.Agent{Spool: s, Capacity: 2, Deliver: a.deliver}, m)
	}
}

// A job that has taken all its time begins no further program.
func TestJobTime(t *testing.T) {
	mailers, err := load(t, "mailer x command=/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	s := protocoltest.NewSpool(t)
	a := &agent{mailer: mailers["x"], users: users.New(users.System("")), jobTime: -time.Second}
	if os.Geteuid() == 0 {
		a.user = "root"
	}
	for _, r := range protocoltest.Deliver(t, s, &protocol.Agent{Spool: s, Capacity: 1, Deliver: a.deliver}, rcpts("joe", "ann")) {
		if r.Action != dsn.Deferred || r.Status != "4.4.7" {
			t.Errorf("%+v", r)
		}
	}
}

func rcpts(names ...string) protocoltest.Message {
	m := protocoltest.To("s@example.net")
	for _, n := range names {
		m.Groups[0].Rcpts = append(m.Groups[0].Rcpts, protocoltest.Rcpt("x", "host", n))
	}
	return m
}

const argsScript = `#!/bin/sh
{ printf '<%s>' "$@"; echo; cat; } >>"$0.out"
`

// record makes a program that writes down its arguments and its input.
func record(t *testing.T) (path string, out func() string) {
	path = t.TempDir() + "/prog"
	if err := os.WriteFile(path, []byte(argsScript), 0o700); err != nil {
		t.Fatal(err)
	}
	return path, func() string {
		b, err := os.ReadFile(path + ".out")
		if err != nil {
			t.Fatal(err)
		}
		os.Remove(path + ".out")
		return string(b)
	}
}

func TestDeliver(t *testing.T) {
	prog, out := record(t)
	m := rcpts("a`$x@y", "b'c@z")
	m.Body = "From x\n.dot\nend"
	deliver := site(t, "mailer x flags=mfnEPe command='"+prog+" -a $h -- $u'")
	for _, r := range deliver(m) {
		if r.Action != dsn.OK {
			t.Errorf("%+v", r)
		}
	}
	want := "<-f><s@example.net><-a><host><--><a`$x@y><b'c@z>\nX-Envelope-From: <s@example.net>\nX-Envelope-To: <a`$x@y>\nX-Envelope-To: <b'c@z>\n" +
		"Return-Path: <s@example.net>\n" + m.Header + ">From x\n.dot\nend\n"
	if got := out(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	deliver = site(t, "mailer x flags=lU command='"+prog+" $l'")
	deliver(m)
	got := out()
	if n := strings.Count(got, "Delivered-To: "); n != 2 || !strings.Contains(got, "<a`$x>\nFrom s@example.net ") || !strings.Contains(got, " remote from mx.example.org\n") {
		t.Errorf("got:\n%s", got)
	}
	m.Header = "Delivered-To: b'c@z\n" + m.Header
	if r := deliver(m); r[0].Action != dsn.OK || r[1].Status != "5.4.6" {
		t.Errorf("loop: %+v", r)
	}
	if r := deliver(rcpts("-oops")); r[0].Status != "5.1.3" {
		t.Errorf("hyphen: %+v", r)
	}
	m = rcpts("joe@y")
	m.Groups[0].Sender.User = "-oops@x"
	if r := site(t, "mailer x flags=f command='"+prog+" $u'")(m); r[0].Status != "5.1.3" {
		t.Errorf("hyphen of the sender: %+v", r)
	}
}

func TestBSMTP(t *testing.T) {
	prog, out := record(t)
	m := rcpts("joe@y", "ann@y")
	m.Body, m.Attr.EnvID, m.Attr.BodyType, m.Groups[0].Rcpts[0].Notify = ".dot\nend", "e1", "8BITMIME", "NEVER"
	site(t, "mailer x flags=mBBHR command='"+prog+"'")(m)
	got := out()
	want := "EHLO mx.example.org\r\nMAIL FROM:<s@example.net> SIZE=91 BODY=8BITMIME ENVID=e1\r\nRCPT TO:<joe@y> NOTIFY=NEVER\r\nRCPT TO:<ann@y>\r\nDATA\r\n" +
		strings.ReplaceAll(m.Header, "\n", "\r\n") + "..dot\r\nend\r\n.\r\nQUIT\r\n"
	want = strings.Replace(want, "SIZE=91", "SIZE="+strconv.Itoa(len(m.Header)+len(m.Body)), 1)
	if _, got, _ = strings.Cut(got, "\n"); got != want {
		t.Errorf("got:\n%q\nwant:\n%q", got, want)
	}
	site(t, "mailer x flags=b command='"+prog+"'")(rcpts("joe@y"))
	if _, got, _ := strings.Cut(out(), "\n"); !strings.HasPrefix(got, "MAIL FROM:<s@example.net>\nRCPT TO:<joe@y>\nDATA\nFrom: ") {
		t.Errorf("got:\n%s", got)
	}
}

func TestMissingFields(t *testing.T) {
	prog, out := record(t)
	m := rcpts("joe@y")
	m.Header = "Subject: x\n\n"
	m.Groups[0].Sender.User = ""
	site(t, "mailer x flags=DFn command='"+prog+" $g'")(m)
	if got := out(); !strings.HasPrefix(got, "<<>>\nDate: ") || !strings.Contains(got, "\nFrom: <MAILER-DAEMON@mx.example.org>\nSubject: x\n\n") {
		t.Errorf("got:\n%s", got)
	}
}

func TestFailures(t *testing.T) {
	for command, want := range map[string]dsn.Action{
		"mailer x command='/bin/sh -c \"exit 67\"'":                           dsn.Failed,
		"mailer x command='/bin/sh -c \"exit 1\"'":                            dsn.Deferred,
		"mailer x command=/nonexistent/prog":                                  dsn.Deferred,
		"mailer x limits=cpu=1s command='/bin/sh -c \"while :; do :; done\"'": dsn.Deferred,
		"mailer x limit=1s command='/bin/sh -c \"exec sleep 60\"'":            dsn.Deferred,
	} {
		if r := site(t, command)(rcpts("joe")); r[0].Action != want {
			t.Errorf("%s: %+v", command, r)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add(`/p -f$g "$u" ${X} $$`, "joe@x")
	f.Fuzz(func(t *testing.T, command, user string) {
		words, err := parseCommand(command, map[string]string{"X": "y"})
		if err != nil || len(words) == 0 {
			return
		}
		argv, err := expand(words, facts{users: []string{user}})
		if err == nil && len(argv) != len(words) {
			t.Errorf("%d words became %d arguments", len(words), len(argv))
		}
	})
}
