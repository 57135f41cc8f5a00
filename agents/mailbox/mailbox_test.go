package mailbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/protocol"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/shellcfg/users"
	"zmailer/spool"
	"zmailer/spool/dsn"
)

// A site is an instance for one test.
type site struct {
	t     testing.TB
	dir   string
	spool *spool.Spool
	agent *agent
}

// newSite has the users joe, ann and bob, all with this process's uid. change may
// be nil.
func newSite(t testing.TB, mailbox string, change func(*Options)) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), spool: protocoltest.NewSpool(t)}
	var list strings.Builder
	for _, name := range []string{"joe", "ann", "bob"} {
		home := filepath.Join(s.dir, name)
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&list, "%s %d %d %s\n", name, os.Getuid(), os.Getgid(), home)
	}
	if err := os.WriteFile(s.dir+"/users", []byte(list.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Mailbox: strings.ReplaceAll(mailbox, "$", s.dir), Hostname: "mx.example.org", Domain: "example.org",
		Locks: "dotlock,fcntl,flock", Limit: time.Minute, DefaultUser: "joe"}
	if change != nil {
		change(&o)
	}
	a, err := newAgent(o, users.New(users.Sources{Virtual: s.dir + "/users"}))
	if err != nil {
		t.Fatal(err)
	}
	s.agent = a
	return s
}

func (s *site) protocol() *protocol.Agent {
	return &protocol.Agent{Spool: s.spool, Capacity: capacity, Deliver: s.agent.deliver}
}

func (s *site) deliver(m protocoltest.Message) []dsn.Result {
	s.t.Helper()
	return protocoltest.Deliver(s.t, s.spool, s.protocol(), m)
}

func to(user string) spool.Rcpt { return protocoltest.Rcpt("local", "-", user) }

func want(t testing.TB, r dsn.Result, action dsn.Action, status string) {
	t.Helper()
	if r.Action != action || r.FullStatus() != status {
		t.Errorf("result %v %s %q, want %v %s", r.Action, r.FullStatus(), r.Text, action, status)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// maildirFiles returns the contents of new/.
func maildirFiles(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir + "/new")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, read(t, dir+"/new/"+e.Name()))
	}
	return all
}

func TestMbox(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	m := protocoltest.To("s@example.net", to("joe"), to("JOE"), to("ann@example.org"), to("nobody-here"))
	m.Groups[0].Rcpts[2].ORcpt = "rfc822;list@example.org"
	m.Body = "hello\nFrom here\n\x00\xff"
	got := s.deliver(m)
	want(t, got[0], dsn.OK, "2.1.5")
	want(t, got[1], dsn.OK, "2.1.5")
	want(t, got[2], dsn.OK, "2.1.5")
	want(t, got[3], dsn.Failed, "5.1.1")
	joe := read(t, s.dir+"/mail-joe")
	if n := strings.Count(joe, "\nhello\n>From here\n\x00\xff\n\n"); n != 2 || !strings.HasPrefix(joe, "From s@example.net ") {
		t.Errorf("mbox:\n%s", joe)
	}
	if !strings.Contains(joe, "\nReturn-Path: <s@example.net>\nDelivered-To: joe@example.org\nFrom: ") {
		t.Errorf("mbox:\n%s", joe)
	}
	if ann := read(t, s.dir+"/mail-ann"); !strings.Contains(ann, "\nX-Original-To: list@example.org\nDelivered-To: ann@example.org\n") {
		t.Errorf("mbox:\n%s", ann)
	}
	if st, err := os.Stat(s.dir + "/mail-joe"); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
	if _, err := os.Lstat(s.dir + "/mail-joe.lock"); err == nil {
		t.Error("the lock file is still there")
	}
}

func TestMaildir(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	m := protocoltest.To("", to("joe"), to("ann"), to("joe+work"), to("joe+none"))
	m.Body = "From x\nno line end"
	if err := os.MkdirAll(s.dir+"/joe/Maildir/.work", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.deliver(m) {
		want(t, r, dsn.OK, "2.1.5")
	}
	joe, work := maildirFiles(t, s.dir+"/joe/Maildir"), maildirFiles(t, s.dir+"/joe/Maildir/.work")
	if len(joe) != 2 || len(work) != 1 || len(maildirFiles(t, s.dir+"/ann/Maildir")) != 1 {
		t.Fatalf("%d in the inbox, %d in the folder", len(joe), len(work))
	}
	if !strings.HasPrefix(work[0], "Return-Path: <>\nDelivered-To: joe+work@example.org\n") || !strings.HasSuffix(work[0], "\n\nFrom x\nno line end") {
		t.Errorf("message:\n%s", work[0])
	}
	for _, part := range []string{"cur", "tmp"} {
		if e, err := os.ReadDir(s.dir + "/ann/Maildir/" + part); err != nil || len(e) != 0 {
			t.Errorf("%s: %v %v", part, e, err)
		}
	}
}

// A report that was lost leads to a second delivery, which must not show.
func TestMaildirTwice(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	id := protocoltest.Route(t, s.spool, protocoltest.To("s@example.net", to("joe")))
	for range 3 {
		protocoltest.Run(t, s.protocol(), protocoltest.Jobs(t, s.spool, id, 1)...)
	}
	if n := len(maildirFiles(t, s.dir+"/joe/Maildir")); n != 1 {
		t.Errorf("%d copies", n)
	}
}

func TestOwnMailboxOfUser(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	f, err := os.OpenFile(s.dir+"/users", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "eve %d %d %s/ann maildir:%%h/M-%%u\nbad %d %d /x imap:/x\n", os.Getuid(), os.Getgid(), s.dir, os.Getuid(), os.Getgid())
	f.Close()
	got := s.deliver(protocoltest.To("s@example.net", to("eve"), to("bad")))
	want(t, got[0], dsn.OK, "2.1.5")
	want(t, got[1], dsn.Deferred, "4.3.5")
	if len(maildirFiles(t, s.dir+"/ann/M-eve")) != 1 {
		t.Error("not delivered")
	}
}

func TestLoop(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	m := protocoltest.To("s@example.net", to("joe"), to("ann"), to("|cat >/dev/null"))
	m.Groups[0].Rcpts[2].ORcpt = "rfc822;joe@example.org"
	m.Header = "Delivered-To: joe@example.org\n" + m.Header
	got := s.deliver(m)
	want(t, got[0], dsn.Failed, "5.4.6")
	want(t, got[1], dsn.OK, "2.1.5")
	want(t, got[2], dsn.Failed, "5.4.6")
}

func TestFile(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	m := protocoltest.To("s@example.net", to(s.dir+"/ann/../archive"), to("/dev/null"), to(s.dir+"/x"), to(s.dir+"/none/x"))
	m.Groups[0].Rcpts[2].Privilege = nobodyUID
	got := s.deliver(m)
	want(t, got[0], dsn.OK, "2.1.5")
	want(t, got[1], dsn.OK, "2.1.5")
	want(t, got[2], dsn.Failed, "5.7.1")
	want(t, got[3], dsn.Deferred, "4.2.0")
	if got := read(t, s.dir+"/archive"); !strings.HasPrefix(got, "From s@example.net ") || !strings.HasSuffix(got, "\n\nhello\n\n") {
		t.Errorf("archive:\n%s", got)
	}
	if strings.Contains(got[0].Text, s.dir) {
		t.Errorf("a success report tells a path: %s", got[0].Text)
	}
}

// A path that ends with a slash is a Maildir. What a directory without one is meant to
// be is not guessed.
func TestFileMaildir(t *testing.T) {
	s := newSite(t, "maildir:%h/Maildir", nil)
	dir := s.dir + "/ann/Maildir"
	m := protocoltest.To("s@example.net", to(dir+"/"), to(dir+"//"), to("ann"), to(s.dir+"/none/M/"), to(s.dir+"/users/"), to(dir+"/"))
	m.Groups[0].Rcpts[5].Privilege = nobodyUID
	got := s.deliver(m)
	for i, w := range []struct {
		action dsn.Action
		status string
	}{{dsn.OK, "2.1.5"}, {dsn.OK, "2.1.5"}, {dsn.OK, "2.1.5"}, {dsn.Deferred, "4.2.0"}, {dsn.Deferred, "4.2.0"}, {dsn.Failed, "5.7.1"}} {
		want(t, got[i], w.action, w.status)
	}
	if got[0].Text != "delivered to Maildir Maildir" {
		t.Errorf("%s", got[0].Text)
	}
	letters := maildirFiles(t, dir)
	if len(letters) != 3 {
		t.Errorf("%d letters", len(letters))
	}
	for _, text := range letters {
		if !strings.HasPrefix(text, "Return-Path: <s@example.net>\n") || !strings.HasSuffix(text, "\n\nhello\n") {
			t.Errorf("letter:\n%s", text)
		}
	}
	for _, part := range []string{"cur", "tmp"} {
		if e, err := os.ReadDir(dir + "/" + part); err != nil || len(e) != 0 {
			t.Errorf("%s: %v %v", part, e, err)
		}
	}
	for _, path := range []string{dir, dir + "/."} {
		r := s.deliver(protocoltest.To("s@example.net", to(path)))[0]
		if want(t, r, dsn.Deferred, "4.2.0"); !strings.Contains(r.Text, "a directory; add a slash for a Maildir") {
			t.Errorf("%s", r.Text)
		}
	}
}

// What is in the place of a mailbox but is none is refused and left alone.
func TestRefused(t *testing.T) {
	s := newSite(t, "mbox:$/box/%u", nil)
	box := s.dir + "/box"
	victim := s.dir + "/victim"
	for _, err := range []error{
		os.Mkdir(box, 0o700), os.WriteFile(victim, []byte("precious\n"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, make := range map[string]func(path string) error{
		"symlink":   func(p string) error { return os.Symlink(victim, p) },
		"dangling":  func(p string) error { return os.Symlink(s.dir+"/nothing", p) },
		"hard link": func(p string) error { return os.Link(victim, p) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":      func(p string) error { return mkfifo(p) },
	} {
		path := box + "/joe"
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		for _, user := range []string{"joe", path} {
			got := s.deliver(protocoltest.To("s@example.net", to(user)))
			if want(t, got[0], dsn.Deferred, "4.2.0"); !strings.Contains(got[0].Text, "refused") {
				t.Errorf("%s: %s", name, got[0].Text)
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if read(t, victim) != "precious\n" {
			t.Fatalf("%s: the target was touched", name)
		}
	}
	if _, err := os.Lstat(s.dir + "/nothing"); err == nil {
		t.Error("a dangling link was followed")
	}
}

func TestMaildirRefused(t *testing.T) {
	for _, part := range []string{"", "/tmp", "/new"} {
		s := newSite(t, "maildir:%h/M", nil)
		elsewhere := s.dir + "/elsewhere"
		if err := os.MkdirAll(elsewhere+"/new", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(s.dir+"/joe/M"+part), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, s.dir+"/joe/M"+part); err != nil {
			t.Fatal(err)
		}
		got := s.deliver(protocoltest.To("s@example.net", to("joe")))
		want(t, got[0], dsn.Deferred, "4.2.0")
		if e, _ := os.ReadDir(elsewhere); len(e) != 1 {
			t.Errorf("M%s: the target was touched", part)
		}
	}
}

func TestProgram(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	m := protocoltest.To("", to("|cat >"+s.dir+"/out; env >"+s.dir+"/env; pwd >>"+s.dir+"/env"), to("|exit 67"), to("|exit 75"), to("|/bin/true"), to("|"), to("|true"))
	m.Attr.EnvID = "env1"
	m.Groups[0].Rcpts[0].ORcpt = "rfc822;joe+2Bx@example.org"
	m.Groups[0].Rcpts[5].Privilege = nobodyUID
	m.Body = "body; $(touch x)\nFrom x\n"
	got := s.deliver(m)
	for i, w := range []struct {
		action dsn.Action
		status string
	}{{dsn.OK, "2.1.5"}, {dsn.Failed, "5.1.1"}, {dsn.Deferred, "4.3.0"}, {dsn.OK, "2.1.5"}, {dsn.Failed, "5.1.3"}, {dsn.Failed, "5.7.1"}} {
		want(t, got[i], w.action, w.status)
	}
	if out := read(t, s.dir+"/out"); !strings.HasPrefix(out, "From MAILER-DAEMON ") || !strings.HasSuffix(out, "\n\nbody; $(touch x)\nFrom x\n") {
		t.Errorf("input:\n%s", out)
	}
	env := read(t, s.dir+"/env")
	for _, line := range []string{"HOME=" + s.dir + "/joe", "USER=joe", "SENDER=<>", "RECIPIENT=joe+x@example.org", "LOCAL=joe", "EXTENSION=x",
		"DOMAIN=example.org", "ORIGINAL_RECIPIENT=joe+x@example.org", "ENVID=env1", s.dir + "/joe"} {
		if !strings.Contains("\n"+env, "\n"+line+"\n") {
			t.Errorf("no %s in the environment:\n%s", line, env)
		}
	}
}

// table gives the agent a db/mailboxes.
func (s *site) table(entries map[string]string) {
	s.agent.table = func(_ context.Context, key string) (string, bool, error) {
		value, found := entries[key]
		return value, found, nil
	}
}

func (s *site) failTable(err error) {
	s.agent.table = func(context.Context, string) (string, bool, error) { return "", false, err }
}

// A job that has taken all its time begins no further delivery.
func TestJobTime(t *testing.T) {
	s := newSite(t, "$/%u.mbox", nil)
	s.agent.jobTime = -time.Second
	for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("ann"))) {
		want(t, r, dsn.Deferred, "4.4.7")
	}
}
