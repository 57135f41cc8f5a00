package mailbox

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
)

func TestParseQuota(t *testing.T) {
	for text, want := range map[string]quota{
		"0": {}, "100": {100, 0}, "100S,5C": {100, 5}, "5C": {0, 5}, "2K": {2048, 0}, "1G,1000C": {1 << 30, 1000}, "3M": {3 << 20, 0},
	} {
		if got, err := parseQuota(text); err != nil || got != want {
			t.Errorf("%s: %v %v", text, got, err)
		} else if again, err := parseQuota(got.String()); err != nil || again != want {
			t.Errorf("%s: %s %v", text, got, err)
		}
	}
	for _, text := range []string{"", "M", "-1", "1,", "1X", "1KC", "99999999999G", "1 ", "1MM"} {
		if q, err := parseQuota(text); err == nil {
			t.Errorf("%q: %v", text, q)
		}
	}
}

func FuzzSizeFile(f *testing.F) {
	f.Add([]byte("100S,5C\n10 1\n-10 -1\n"))
	f.Add([]byte("1C\n         10            1\n"))
	f.Add([]byte("x\n1 1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, used, count, lines, ok := parseSizeFile(b)
		if ok && (q.bytes < 0 || q.count < 0 || lines > len(b) || count > int64(len(b))<<31 || used > int64(len(b))<<48) {
			t.Errorf("%v %d %d %d", q, used, count, lines)
		}
	})
}

// users of a table have their own quotas; the rest has the one of "*".
func quotaSite(t *testing.T, mailbox string) *site {
	s := newSite(t, mailbox, nil)
	s.table(map[string]string{"joe": "quota=1S\tover-quota=bounce", "ann": "quota=3C", "*": "quota=100M", "eve": "qota=1"})
	return s
}

func TestQuotaMaildir(t *testing.T) {
	s := quotaSite(t, "maildir:%h/Maildir")
	box := s.dir + "/ann/Maildir"
	got := s.deliver(protocoltest.To("s@example.net", to("joe"), to("bob"), to("ann"), to("ann"), to("ann"), to("ann")))
	want(t, got[0], dsn.Failed, "5.2.2")
	want(t, got[1], dsn.OK, "2.1.5")
	ok, full := 0, 0
	for _, r := range got[2:] {
		if r.Action == dsn.OK {
			ok++
		} else if want(t, r, dsn.Deferred, "4.2.2"); strings.Contains(r.Text, "3C") {
			full++
		}
	}
	if ok != 3 || full != 1 || len(maildirFiles(t, box)) != 3 {
		t.Errorf("%d delivered, %d refused, %d there", ok, full, len(maildirFiles(t, box)))
	}
	if text := read(t, box+"/maildirsize"); !regexp.MustCompile(`^3C\n(\d+ \d\n)+$`).MatchString(text) {
		t.Errorf("maildirsize:\n%s", text)
	}
	// One is moved to cur/, one is thrown away by a program that tells nobody: after
	// a count there is room for one.
	names, err := os.ReadDir(box + "/new")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Rename(box+"/new/"+names[0].Name(), box+"/cur/"+names[0].Name()+":2,S"), os.Remove(box + "/new/" + names[1].Name()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour) // a fresh count is believed; there is one if the letters came in two batches
	if err := os.Chtimes(box+"/maildirsize", old, old); err != nil {
		t.Fatal(err)
	}
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.OK, "2.1.5")
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.Deferred, "4.2.2")
	// What is in the trash does not count, folders do.
	if err := os.MkdirAll(box+"/.work/cur", 0o700); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"cur/" + names[0].Name() + ":2,S": "cur/x:2,ST", "new/" + names[2].Name(): ".work/cur/x:2,S"} {
		if err := os.Rename(box+"/"+from, box+"/"+to); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(box+"/maildirsize", old, old); err != nil {
		t.Fatal(err)
	}
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann+work")))[0], dsn.OK, "2.1.5")
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.Deferred, "4.2.2")
	if e, err := os.ReadDir(box + "/tmp"); err != nil || len(e) != 0 {
		t.Errorf("tmp: %v %v", e, err)
	}
}

// A maildirsize of somebody else's counts, and a bad one is made anew.
func TestMaildirSize(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	box := s.dir + "/ann/Maildir"
	ann := func() dsn.Result { return s.deliver(protocoltest.To("s@example.net", to("ann")))[0] }
	want(t, ann(), dsn.OK, "2.1.5")
	file := box + "/maildirsize"
	if _, err := os.Stat(file); err == nil {
		t.Error("there is a maildirsize without a quota")
	}
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1000000S,1C\n0 1\n")
	want(t, ann(), dsn.Deferred, "4.2.2")
	write("1000000S,2C\n0 1\n")
	want(t, ann(), dsn.OK, "2.1.5")
	if text := read(t, file); !regexp.MustCompile(`^1000000S,2C\n0 1\n\d+ 1\n$`).MatchString(text) {
		t.Errorf("maildirsize:\n%s", text)
	}
	s.table(map[string]string{"*": "quota=4C"})
	for _, text := range []string{"nonsense", "4C\n1 x\n", "4C\n-5 -5\n", "1C\n0 1\n", strings.Repeat("4C\n1 1\n", 1000)} {
		write(text)
		if len(maildirFiles(t, box)) < 4 {
			want(t, ann(), dsn.OK, "2.1.5")
		} else {
			want(t, ann(), dsn.Deferred, "4.2.2")
		}
		if got := read(t, file); !strings.HasPrefix(got, "4C\n") || len(got) > 100 {
			t.Errorf("after %.20q: %q", text, got)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	victim := s.dir + "/victim"
	write("x")
	if err := os.Rename(file, victim); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, file); err != nil {
		t.Fatal(err)
	}
	want(t, ann(), dsn.Deferred, "4.3.0")
	if read(t, victim) != "x" {
		t.Error("a symbolic link was followed")
	}
}

func TestQuotaMbox(t *testing.T) {
	s := quotaSite(t, "mbox:$/mail-%u")
	s.table(map[string]string{"ann": "quota=1K", "joe": "quota=1S over-quota=bounce"})
	m := protocoltest.To("s@example.net", to("ann"))
	m.Body = strings.Repeat("x", 400) + "\n"
	want(t, s.deliver(m)[0], dsn.OK, "2.1.5")
	before := read(t, s.dir+"/mail-ann")
	want(t, s.deliver(m)[0], dsn.Deferred, "4.2.2")
	if read(t, s.dir+"/mail-ann") != before {
		t.Error("a mailbox over quota was changed")
	}
	m = protocoltest.To("s@example.net", to("ann"), to("joe"))
	got := s.deliver(m)
	want(t, got[0], dsn.OK, "2.1.5") // small enough
	want(t, got[1], dsn.Failed, "5.2.2")
}

func TestSettings(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	s.table(map[string]string{"ann": "mailbox=mbox:" + s.dir + "/ann/box", "bob": "mailbox=imap:x", "*": "quota=x"})
	got := s.deliver(protocoltest.To("s@example.net", to("ann"), to("bob"), to("joe")))
	want(t, got[0], dsn.OK, "2.1.5")
	want(t, got[1], dsn.Deferred, "4.3.5")
	want(t, got[2], dsn.Deferred, "4.3.5")
	if !strings.Contains(read(t, s.dir+"/ann/box"), "hello") {
		t.Error("not delivered")
	}
	s.failTable(fmt.Errorf("server down"))
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.Deferred, "4.3.5")
}

// Directories of a hash are made when they are needed.
func TestHashDirs(t *testing.T) {
	for _, tt := range []struct{ mailbox, joe, u string }{
		{"mbox:$/box/%1/%2/%u", "/box/j/o/joe", "/box/u/_/u"},
		{"maildir:$/box/%x/%y/%d/%u", "/box/5b/75/example.org/joe", ""},
	} {
		s := newSite(t, tt.mailbox, nil)
		if err := os.Mkdir(s.dir+"/box", 0o700); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			want(t, s.deliver(protocoltest.To("s@example.net", to("joe")))[0], dsn.OK, "2.1.5")
		}
		if _, err := os.Stat(s.dir + tt.joe); err != nil {
			t.Error(err)
		}
		if e, _ := os.ReadDir(s.dir + "/box"); len(e) != 1 {
			t.Errorf("%v", e)
		}
	}
	s := newSite(t, "mbox:$/box/%1/%u", nil)
	for _, err := range []error{os.Mkdir(s.dir+"/box", 0o700), os.Mkdir(s.dir+"/elsewhere", 0o700), os.Symlink(s.dir+"/elsewhere", s.dir+"/box/j")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.OK, "2.1.5")
	if letterDir("Ab", 0) != "a" || letterDir("a/", 1) != "_" || letterDir("x", 1) != "_" || letterDir("äx", 0) != "_" {
		t.Error("letterDir")
	}
}

// A hook runs after the delivery and cannot harm it.
func TestHook(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	s.table(map[string]string{
		"joe": "hook=echo $RECIPIENT $SENDER $MAILBOX $(ls $MAILBOX/new | wc -l) >hooked; cat >>hooked",
		"ann": "hook=/nonexistent/program x", "bob": "quota=1S hook=touch " + s.dir + "/never",
	})
	got := s.deliver(protocoltest.To("s@example.net", to("joe"), to("ann"), to("bob")))
	want(t, got[0], dsn.OK, "2.1.5")
	want(t, got[1], dsn.OK, "2.1.5")
	want(t, got[2], dsn.Deferred, "4.2.2")
	s.agent.hooks.wait()
	if text := read(t, s.dir+"/joe/hooked"); text != "joe@example.org s@example.net "+s.dir+"/joe/Maildir 1\n" {
		t.Errorf("%q", text)
	}
	if _, err := os.Stat(s.dir + "/never"); err == nil {
		t.Error("a hook ran without a delivery")
	}
	// All places taken: the mail goes on.
	for range hooksTotal {
		s.agent.hooks.places <- struct{}{}
	}
	want(t, s.deliver(protocoltest.To("s@example.net", to("joe")))[0], dsn.OK, "2.1.5")
}
