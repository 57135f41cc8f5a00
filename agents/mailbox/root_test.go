package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"zmailer/agents/protocol/protocoltest"
	"zmailer/shellcfg/users"
	"zmailer/spool/dsn"
)

// rootSite has the users joe and ann with uids of their own below a directory
// that all can search, and a spool of group 4100 like /var/mail.
func rootSite(t *testing.T, mailbox string) *site {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	s := newSite(t, mailbox, nil)
	for dir := s.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list := ""
	for i, name := range []string{"joe", "ann"} {
		if err := os.Chown(filepath.Join(s.dir, name), 4001+i, 4001+i); err != nil {
			t.Fatal(err)
		}
		list += fmt.Sprintf("%s %d %d %s/%s\n", name, 4001+i, 4001+i, s.dir, name)
	}
	if err := os.WriteFile(s.dir+"/users", []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	box := s.dir + "/box"
	for _, err := range []error{os.Mkdir(box, 0o755), os.Chown(box, 0, 4100), os.Chmod(box, 0o2775|os.ModeSetgid)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.agent.users = users.New(users.Sources{Virtual: s.dir + "/users"})
	return s
}

func owner(t *testing.T, path string) (uid, gid int, mode os.FileMode) {
	t.Helper()
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := st.Sys().(*syscall.Stat_t)
	return int(sys.Uid), int(sys.Gid), st.Mode().Perm()
}

func TestRootMailSpool(t *testing.T) {
	s := rootSite(t, "mbox:$/box/%u")
	for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("ann"), to("joe"))) {
		want(t, r, dsn.OK, "2.1.5")
	}
	if uid, gid, mode := owner(t, s.dir+"/box/ann"); uid != 4002 || gid != 4100 || mode != 0o660 {
		t.Errorf("uid %d gid %d mode %o", uid, gid, mode)
	}
	// A mailbox that belongs to another user is left alone.
	if err := os.Chown(s.dir+"/box/ann", 4001, 4100); err != nil {
		t.Fatal(err)
	}
	before := read(t, s.dir+"/box/ann")
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.Deferred, "4.2.0")
	if read(t, s.dir+"/box/ann") != before {
		t.Error("another user's file was written")
	}
	// Root's rights are not used: a link to a file of root is of no use.
	secret := s.dir + "/secret"
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := protocoltest.To("s@example.net", to(secret), to(s.dir+"/ann/file"))
	for i := range m.Groups[0].Rcpts {
		m.Groups[0].Rcpts[i].Privilege = 4001
	}
	for _, r := range s.deliver(m) {
		want(t, r, dsn.Deferred, "4.2.0")
	}
	if read(t, secret) != "" {
		t.Error("root's file was written")
	}
}

func TestRootMaildir(t *testing.T) {
	s := rootSite(t, "maildir:%h/Maildir")
	for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("ann"))) {
		want(t, r, dsn.OK, "2.1.5")
	}
	for _, path := range []string{"", "/new", "/tmp", "/cur"} {
		if uid, gid, mode := owner(t, s.dir+"/ann/Maildir"+path); uid != 4002 || gid != 4002 || mode != 0o700 {
			t.Errorf("%s: uid %d gid %d mode %o", path, uid, gid, mode)
		}
	}
	entries, _ := os.ReadDir(s.dir + "/ann/Maildir/new")
	if uid, _, mode := owner(t, s.dir+"/ann/Maildir/new/"+entries[0].Name()); uid != 4002 || mode != 0o600 {
		t.Errorf("message: uid %d mode %o", uid, mode)
	}
	// Users without the right to their home, and homes that are not there.
	if err := os.Chmod(s.dir+"/joe", 0); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(s.dir + "/ann"); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("ann"))) {
		want(t, r, dsn.Deferred, "4.2.0")
	}
	if _, err := os.Stat(s.dir + "/ann"); err == nil {
		t.Error("a home was made up")
	}
}

// A Maildir that a list names is made and written with the rights of whoever owns the
// list, and nowhere else.
func TestRootFileMaildir(t *testing.T) {
	s := rootSite(t, "mbox:$/box/%u")
	others := s.dir + "/joe/Maildir"
	if err := os.Mkdir(others, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(others, 0o777); err != nil { // 4002 could write there, and must not
		t.Fatal(err)
	}
	if err := os.Symlink(others, s.dir+"/ann/link"); err != nil {
		t.Fatal(err)
	}
	m := protocoltest.To("s@example.net", to(s.dir+"/ann/Maildir/"), to(others+"/"), to(s.dir+"/ann/link/"), to(s.dir+"/made/"), to(s.dir+"/joe/root/"))
	for i := range 4 {
		m.Groups[0].Rcpts[i].Privilege = 4002
	}
	m.Groups[0].Rcpts[4].Privilege = 0
	for i, r := range s.deliver(m) {
		if i == 0 || i == 4 {
			want(t, r, dsn.OK, "2.1.5")
		} else {
			want(t, r, dsn.Deferred, "4.2.0")
		}
	}
	for path, wantUID := range map[string]int{"/ann/Maildir": 4002, "/joe/root": 4001} { // root's are done as joe, the default user
		for _, part := range []string{"", "/new", "/tmp", "/cur"} {
			if uid, gid, mode := owner(t, s.dir+path+part); uid != wantUID || gid != wantUID || mode != 0o700 {
				t.Errorf("%s%s: uid %d gid %d mode %o", path, part, uid, gid, mode)
			}
		}
	}
	if e, _ := os.ReadDir(others); len(e) != 0 {
		t.Errorf("another user's Maildir was touched: %v", e)
	}
	if _, err := os.Lstat(s.dir + "/made"); err == nil {
		t.Error("made with root's rights")
	}
}

// Programs run as the user of the privilege, those of root as the default user.
func TestRootProgram(t *testing.T) {
	s := rootSite(t, "maildir:%h/Maildir")
	m := protocoltest.To("s@example.net", to("|id -u; id -G; id -u >out"), to("|echo $USER; exit 75"))
	m.Groups[0].Rcpts[0].Privilege = 4002
	got := s.deliver(m)
	if want(t, got[0], dsn.OK, "2.1.5"); !strings.HasSuffix(got[0].Text, "it said: 4002 / 4002") {
		t.Errorf("%s", got[0].Text)
	}
	if uid, _, _ := owner(t, s.dir+"/ann/out"); uid != 4002 {
		t.Errorf("file of uid %d", uid)
	}
	if want(t, got[1], dsn.Deferred, "4.3.0"); !strings.HasSuffix(got[1].Text, "it said: joe") {
		t.Errorf("%s", got[1].Text)
	}
}

// Mailboxes by hash below a directory of root's: it and the directories stay root's,
// the mailboxes are the users'. A hook runs as the user.
func TestRootHashed(t *testing.T) {
	s := rootSite(t, "maildir:$/srv/%x/%u")
	if err := os.Mkdir(s.dir+"/srv", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.dir+"/srv", 0o755); err != nil {
		t.Fatal(err)
	}
	s.table(map[string]string{"joe": "hook=id -u >hooked"})
	for range 2 {
		for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("joe"), to("ann"))) {
			want(t, r, dsn.OK, "2.1.5")
		}
	}
	if uid, gid, mode := owner(t, s.dir+"/srv/5b"); uid != 0 || gid != 0 || mode != 0o755 {
		t.Errorf("directory of the hash: uid %d gid %d mode %o", uid, gid, mode)
	}
	if uid, gid, mode := owner(t, s.dir+"/srv/5b/joe"); uid != 4001 || gid != 4001 || mode != 0o700 {
		t.Errorf("mailbox: uid %d gid %d mode %o", uid, gid, mode)
	}
	if n := len(maildirFiles(t, s.dir+"/srv/5b/joe")); n != 4 {
		t.Errorf("%d letters", n)
	}
	s.agent.hooks.wait()
	if text := read(t, s.dir+"/joe/hooked"); text != "4001\n" {
		t.Errorf("the hook ran as %s", text)
	}
	// As /var/mail: mbox, with the group of the spool handed down.
	s = rootSite(t, "mbox:$/box/%1/%u")
	want(t, s.deliver(protocoltest.To("s@example.net", to("ann")))[0], dsn.OK, "2.1.5")
	if uid, gid, _ := owner(t, s.dir+"/box/a"); uid != 0 || gid != 4100 {
		t.Errorf("directory of the letter: uid %d gid %d", uid, gid)
	}
	if uid, gid, mode := owner(t, s.dir+"/box/a/ann"); uid != 4002 || gid != 4100 || mode != 0o660 {
		t.Errorf("mailbox: uid %d gid %d mode %o", uid, gid, mode)
	}
}
