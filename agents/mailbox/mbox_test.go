package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/agents/identity"
	"zmailer/agents/letter"
	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }

func self() identity.Identity { return identity.Identity{UID: os.Getuid(), GID: os.Getgid()} }

var errDisk = &os.PathError{Op: "write", Path: "x", Err: unix.ENOSPC}

// A write that breaks off leaves the mailbox as it was, and the other letters of
// the batch in it.
func TestMboxWriteFails(t *testing.T) {
	s := newSite(t, "mbox:$/mail-%u", nil)
	path := s.dir + "/mail-joe"
	if err := os.WriteFile(path, []byte("From old\n\nold\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.agent.mbox.failWrite = func(l *letter.Letter) error {
		if bytes.Contains(l.Head, []byte("joe+bad")) {
			return errDisk
		}
		return nil
	}
	got := s.deliver(protocoltest.To("s@example.net", to("joe+bad"), to("joe"), to("joe+bad"), to("joe")))
	for i, r := range got {
		if i%2 == 0 {
			want(t, r, dsn.Deferred, "4.3.1")
		} else {
			want(t, r, dsn.OK, "2.1.5")
		}
	}
	text := read(t, path)
	if n := strings.Count(text, "From "); n != 3 || !strings.HasPrefix(text, "From old\n\nold\n\nFrom s@") || strings.Contains(text, "joe+bad") {
		t.Errorf("mbox:\n%s", text)
	}
}

func TestMaildirWriteFails(t *testing.T) {
	s := newSite(t, "maildir:%h/M", func(o *Options) { o.BounceOverQuota = true })
	s.agent.maildir.failWrite = func(*letter.Letter) error { return unix.EDQUOT }
	got := s.deliver(protocoltest.To("s@example.net", to("joe")))
	want(t, got[0], dsn.Failed, "5.2.2")
	s.agent.defaults.bounce = false
	got = s.deliver(protocoltest.To("s@example.net", to("joe")))
	want(t, got[0], dsn.Deferred, "4.2.2")
	for _, part := range []string{"new", "tmp"} {
		if e, err := os.ReadDir(s.dir + "/joe/M/" + part); err != nil || len(e) != 0 {
			t.Errorf("%s: %v %v", part, e, err)
		}
	}
}

// A file system that is really full, as far as a process can have one.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv("MAILBOX_TEST_HELPER") == "" {
		path := filepath.Join(t.TempDir(), "mbox")
		const old = "From old\n\nold\n\n"
		if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := helper(t, "TestFileSizeLimit", path)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if got := read(t, path); got != old {
			t.Errorf("mbox has %d bytes, had %d", len(got), len(old))
		}
		return
	}
	limit := syscall.Rlimit{Cur: 100 << 10, Max: 100 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := appendOne(t, os.Getenv("MAILBOX_TEST_HELPER"), strings.Repeat("x", 200<<10)); !errors.Is(err, unix.EFBIG) {
		t.Errorf("error %v", err)
	}
}

// helper runs one test of this binary in a process of its own.
func helper(t *testing.T, test, arg string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.count=1")
	// Its own temporary files are ours to remove: it may be killed before it does.
	cmd.Env = append(os.Environ(), "MAILBOX_TEST_HELPER="+arg, "TMPDIR="+t.TempDir())
	return cmd
}

// begun is what a helper says when it has delivered its first letter.
const begun = "begun"

// startAndKill starts a helper and kills it, at a random moment, when it delivers.
func startAndKill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != begun {
	}
	kill := time.NewTimer(rand.N(40 * time.Millisecond))
	<-kill.C
	cmd.Process.Kill()
	cmd.Wait()
}

func appendOne(t testing.TB, path, body string) error {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(body); err != nil {
		return err
	}
	a := &appender{locks: lockKinds{true, true, true}, room: make(waitRoom, 1), sync: &syncer{off: true}}
	return a.deliver(t.Context(), target{path: path, as: self(), mode: 0o600}, &letter.Letter{
		From: letter.FromLine("s@example.net", time.Now()), Head: []byte("A: b\n\n"), Body: &letter.Body{File: f, Size: int64(len(body))}})
}

// SIGKILL at random moments: a letter is in the mailbox as a whole or not at all.
func TestMboxKilled(t *testing.T) {
	const body = "0123456789abcdef\n"
	text := strings.Repeat(body, 200<<10/len(body))
	if path := os.Getenv("MAILBOX_TEST_HELPER"); path != "" {
		for {
			if err := appendOne(t, path, text); err != nil {
				t.Fatal(err)
			}
			fmt.Println(begun)
		}
	}
	path := filepath.Join(t.TempDir(), "mbox")
	rounds := 15
	if testing.Short() {
		rounds = 4
	}
	for range rounds {
		startAndKill(t, helper(t, "TestMboxKilled", path))
		// The next delivery repairs what the killed one left.
		if err := appendOne(t, path, "small\n"); err != nil {
			t.Fatal(err)
		}
		checkMbox(t, path, func(b string) bool { return b == "small\n" || b == text })
	}
}

// The same for a Maildir: what is in new/ is whole.
func TestMaildirKilled(t *testing.T) {
	text := strings.Repeat("0123456789abcdef\n", 200<<10/17)
	if dir := os.Getenv("MAILBOX_TEST_HELPER"); dir != "" {
		body := benchBody(t, 0)
		if _, err := body.File.WriteString(text); err != nil {
			t.Fatal(err)
		}
		body.Size = int64(len(text))
		m := &mailDrop{sync: &syncer{off: true}}
		l := &letter.Letter{Head: []byte("A: b\n\n"), Body: body}
		for i := 0; ; i++ {
			if err := m.deliver(maildirTarget{path: dir, as: self()}, fmt.Sprint(os.Getpid(), ".", i), l); err != nil {
				t.Fatal(err)
			}
			fmt.Println(begun)
		}
	}
	dir := filepath.Join(t.TempDir(), "M")
	for range 5 {
		startAndKill(t, helper(t, "TestMaildirKilled", dir))
	}
	for _, got := range maildirFiles(t, dir) {
		if got != "A: b\n\n"+text {
			t.Fatalf("%d bytes", len(got))
		}
	}
}

// checkMbox says how many messages are in the file, all of them whole.
func checkMbox(t testing.TB, path string, whole func(body string) bool) int {
	t.Helper()
	n := 0
	for msg := range strings.SplitSeq("\n"+read(t, path), "\nFrom ") {
		if msg == "" || msg == "\n" { // before the first, or an empty file
			continue
		}
		n++
		_, body, ok := strings.Cut(msg, "\n\n")
		body = strings.TrimSuffix(body, "\n")
		if !ok || !whole(body) && !whole(body+"\n") {
			t.Fatalf("message %d is torn: %d bytes: %.60q ... %q", n, len(msg), msg, msg[max(0, len(msg)-60):])
		}
	}
	return n
}

// Eight writers, each with locks of its own as eight processes have, and a reader who
// locks as mail readers do: 10,000 letters, nothing is lost, nothing interleaves.
func TestMboxWriters(t *testing.T) {
	const writers = 8
	each := 1250
	if testing.Short() {
		each = 50
	}
	path, body := filepath.Join(t.TempDir(), "mbox"), benchBody(t, 0)
	stop := make(chan struct{})
	var reader, wg sync.WaitGroup
	read := 0
	reader.Go(func() {
		for end := int64(0); ; {
			select {
			case <-stop:
				_, read = readLocked(t, path, end, read)
				return
			default:
				end, read = readLocked(t, path, end, read)
			}
		}
	})
	for w := range writers {
		wg.Go(func() {
			a := &appender{locks: lockKinds{true, true, true}, room: make(waitRoom, 1), sync: &syncer{off: true}}
			for i := range each {
				line := fmt.Sprintf("writer %d letter %d\n", w, i)
				err := a.deliver(t.Context(), target{path: path, as: self(), mode: 0o600}, &letter.Letter{
					From: letter.FromLine("s@example.net", time.Now()), Head: []byte(strings.Repeat("A: "+line, 60) + "\n"), Body: body})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	reader.Wait()
	if read != writers*each {
		t.Errorf("%d messages, want %d", read, writers*each)
	}
}

// readLocked reads what came since end under a POSIX lock, which must never show
// half a letter, and counts the letters on from n.
func readLocked(t *testing.T, path string, end int64, n int) (int64, int) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return end, n // not there yet
	}
	defer f.Close()
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLKW, &lk); err != nil {
		t.Error(err)
		return end, n
	}
	b, err := io.ReadAll(io.NewSectionReader(f, end, 1<<40))
	if err != nil {
		t.Error(err)
	}
	f.Close()
	for msg := range strings.SplitSeq(strings.TrimPrefix(string(b), "From s@"), "\nFrom s@") {
		if msg == "" {
			continue
		}
		_, fields, _ := strings.Cut(msg, "\n")
		line, _, _ := strings.Cut(fields, "\n")
		if n++; strings.Trim(fields, "\n") != strings.Trim(strings.Repeat(line+"\n", 60), "\n") {
			t.Errorf("letter %d is torn: %.100q", n, msg)
		}
	}
	return end + int64(len(b)), n
}

func TestUndo(t *testing.T) {
	const old = "From old Mon\n\nold\n\n"
	lines := []string{"From a@x Thu\n", "From b@x Thu\n"}
	for _, tt := range []struct {
		name, behind string
		cut          bool
	}{
		{"nothing", "", false},
		{"half a separator", "Fro", true},
		{"separator", "From a@x Thu\n", true},
		{"half a message", "From a@x Thu\nA: b\n\nhel", true},
		{"one and a half", "From a@x Thu\nA: b\n\nhello\n\nFrom b@x", true},
		{"after a line end", "\n\nFrom a@x Thu\nA: b\n", true},
		{"another program's", "From c@x Thu\nA: b\n\nhello\n\n", false},
		{"half, then another program's", "From a@x Thu\nA: b\n\nhel\nFrom c@x Thu\nA: b\n\n", false},
		{"something else", "hello\n", false},
		{"long line", "From a@x Thu\n" + strings.Repeat("x", 100<<10), true},
	} {
		path := filepath.Join(t.TempDir(), "mbox")
		if err := os.WriteFile(path, []byte(old+tt.behind), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		n, err := undo(int(f.Fd()), newJournal(int64(len(old)), lines))
		f.Close()
		wantText := old + tt.behind
		if tt.cut {
			wantText = old
		}
		if got := read(t, path); err != nil || got != wantText || tt.cut != (n > 0) {
			t.Errorf("%s: %q, cut %d, %v", tt.name, got, n, err)
		}
	}
}

func TestStaleLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mbox")
	lock := path + ".lock"
	if err := os.WriteFile(lock, []byte("0"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if _, err := lockDot(dir, path); !errors.Is(err, errLocked) {
		t.Errorf("fresh lock of another program: %v", err)
	}
	old := time.Now().Add(-lockStale - time.Minute)
	if err := os.Chtimes(lock, old, old); err != nil {
		t.Fatal(err)
	}
	l, err := lockDot(dir, path)
	if err != nil {
		t.Fatalf("stale lock: %v", err)
	}
	if _, err := lockDot(dir, path); !errors.Is(err, errLocked) {
		t.Errorf("lock that is held: %v", err)
	}
	if err := l.release(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(lock); err == nil {
		t.Error("lock file is still there")
	}
}

func TestParseLocks(t *testing.T) {
	if k, err := parseLocks("fcntl, dotlock"); err != nil || k != (lockKinds{dot: true, fcntl: true}) {
		t.Errorf("%v %v", k, err)
	}
	for _, bad := range []string{"", "none", "fcntl lockf"} {
		if _, err := parseLocks(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte("zmailer 1 5\nFrom x\n"), []byte("From x\n"))
	f.Fuzz(func(t *testing.T, left, behind []byte) {
		j, ok := parseJournal(left)
		if !ok {
			return
		}
		ours, err := j.announced(bytes.NewReader(behind))
		if err != nil {
			t.Fatal(err)
		}
		if ours && len(j.lines) == 0 && bytes.Contains(behind, []byte("From x")) && bytes.HasPrefix(behind, []byte("From x")) && len(behind) > 6 {
			t.Errorf("journal without lines takes %q", behind)
		}
	})
}
