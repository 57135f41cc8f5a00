package users

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	testPasswd = "root:x:0:0:root:/root:/bin/bash\nJoe:x:1001:100:Joe Doe,,,:/home/joe:/bin/sh\n" +
		"ann:x:1002:100::/home/ann:/bin/sh\nbroken:x:y:1:::\n+::::::\nvirt:x:5:5::/x:/bin/sh\n"
	testGroup = "users:x:100:\nmail:x:8:Joe,ann\nwww:x:33: Joe \nbad\nadm:x:100:Joe\n"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	// Old enough to be taken at once.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	return path
}

func testSources(t *testing.T, virtual string) Sources {
	dir := t.TempDir()
	s := Sources{
		Virtual: filepath.Join(dir, "users"), Passwd: write(t, dir+"/passwd", testPasswd), Group: write(t, dir+"/group", testGroup),
		Interval: time.Nanosecond,
	}
	if virtual != "" {
		write(t, s.Virtual, virtual)
	}
	return s
}

func TestLookup(t *testing.T) {
	u := New(testSources(t, "# comment\n\nVirt 2000 2001 /v/virt maildir:%h/M\nzed 2002 2002 /v/zed\n"))
	for _, tt := range []struct {
		name    string
		want    string // empty: not found
		uid     int
		mailbox string
	}{
		{"root", "root", 0, ""},
		{"Joe", "Joe", 1001, ""},
		{"joe", "", 0, ""},
		{"ANN", "ann", 1002, ""},
		{"virt", "virt", 2000, "maildir:%h/M"},
		{"VIRT", "virt", 2000, "maildir:%h/M"},
		{"zed", "zed", 2002, ""},
		{"broken", "", 0, ""},
		{"+", "", 0, ""},
		{"", "", 0, ""},
		{"a:b", "", 0, ""},
		{"-v", "", 0, ""},
		{"../x", "", 0, ""},
		{"ann\x00", "", 0, ""},
		{strings.Repeat("a", 300), "", 0, ""},
	} {
		got, found, err := u.Lookup(tt.name)
		if err != nil || found != (tt.want != "") || got.Name != tt.want || got.UID != tt.uid || got.Mailbox != tt.mailbox {
			t.Errorf("%q: %+v %v %v", tt.name, got, found, err)
		}
	}
	if got, found, err := u.LookupUID(1001); !found || err != nil || got.Home != "/home/joe" || got.Gecos != "Joe Doe,,," {
		t.Errorf("uid 1001: %+v %v %v", got, found, err)
	}
	if _, found, err := u.LookupUID(9); found || err != nil {
		t.Errorf("uid 9: %v %v", found, err)
	}
}

func TestGroups(t *testing.T) {
	u := New(testSources(t, "vv 1001 7 /v/vv\n"))
	for name, want := range map[string][]int{"Joe": {100, 8, 33}, "ann": {100, 8}, "root": {0}, "vv": {7}} {
		user, _, _ := u.Lookup(name)
		if got, err := u.Groups(user); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v (%v)", name, got, want, err)
		}
	}
}

// A source that cannot be read, or not be understood, is not one that does not
// know the user.
func TestLookupErrors(t *testing.T) {
	s := testSources(t, "good 1 1 /g\nbad x 1 /b\n")
	u := New(s)
	if _, found, err := u.Lookup("good"); !found || err != nil {
		t.Errorf("good: %v %v", found, err)
	}
	for _, name := range []string{"bad", "nobody-knows"} {
		if _, found, err := u.Lookup(name); found || err == nil || !strings.Contains(err.Error(), "users:2:") {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
	s.Virtual, s.Passwd = "", filepath.Join(t.TempDir(), "none")
	if _, found, err := New(s).Lookup("ann"); found || err == nil {
		t.Errorf("without a passwd file: %v %v", found, err)
	}
}

func TestReload(t *testing.T) {
	s := testSources(t, "")
	u := New(s)
	if _, found, err := u.Lookup("new"); found || err != nil {
		t.Fatalf("before: %v %v", found, err)
	}
	write(t, s.Virtual, "new 1 1 /n\n")
	// A file that could not be read is left alone for five times as long as that took.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		_, found, err := u.Lookup("new")
		if found && err == nil {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("after: %v %v", found, err)
		}
	}
}

func TestGetent(t *testing.T) {
	s := testSources(t, "")
	dir := t.TempDir()
	s.Getent = write(t, dir+"/getent", `#!/bin/sh
echo "$@" >>`+dir+`/calls
case "$1 $3" in
"passwd ldap"|"passwd 3000") echo ldap:x:3000:3000:L:/home/ldap:/bin/sh ;;
"initgroups ldap") echo ldap 3000 44 45 ;;
"passwd down") exit 3 ;;
*) exit 2 ;;
esac
`)
	s.Nsswitch = write(t, dir+"/nsswitch.conf", "group: x\npasswd: files [NOTFOUND=continue] sss # ldap\n")
	u := New(s)
	for name, want := range map[string]bool{"ldap": true, "LDAP": true, "3000": false, "unknown": false, "ann": true} {
		got, found, err := u.Lookup(name)
		if err != nil || found != want {
			t.Errorf("%s: %+v %v %v", name, got, found, err)
		}
	}
	if _, found, err := u.Lookup("down"); found || err == nil {
		t.Errorf("down: %v %v", found, err)
	}
	user, _, _ := u.LookupUID(3000)
	if got, err := u.Groups(user); err != nil || !slices.Equal(got, []int{3000, 44, 45}) {
		t.Errorf("groups %v %v", got, err)
	}
	before, _ := os.ReadFile(dir + "/calls")
	u.Lookup("unknown")
	if after, _ := os.ReadFile(dir + "/calls"); len(after) != len(before) {
		t.Error("an answer was not remembered")
	}
	missing := s
	missing.Getent = dir + "/none"
	if _, found, err := New(missing).Lookup("ldap"); found || err == nil {
		t.Errorf("without getent nobody can say who is in another source: %v %v", found, err)
	}
	write(t, s.Nsswitch, "passwd: files\n")
	if _, found, err := New(s).Lookup("ldap"); found || err != nil {
		t.Errorf("files only: %v %v", found, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("joe 1 1 /h m")
	f.Add("joe:x:1:1:g:/h:/s")
	f.Fuzz(func(t *testing.T, line string) {
		if u, err := parseVirtual(line); err == nil && (!validName(u.Name) || u.UID < 0) {
			t.Errorf("%q: %+v", line, u)
		}
		if u, ok := parsePasswd(line); ok && !validName(u.Name) {
			t.Errorf("%q: %+v", line, u)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(dir+"/passwd", []byte(testPasswd), 0o600); err != nil {
		b.Fatal(err)
	}
	u := New(Sources{Virtual: dir + "/none", Passwd: dir + "/passwd"})
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := u.Lookup("ann"); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}
