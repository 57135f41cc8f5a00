package migrate

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool"
)

// queueOf makes an instance and a copy of a queue that the real programs have written,
// with the modes that they gave the files.
func queueOf(t *testing.T, kind string) (root, dir string) {
	t.Helper()
	root, dir = filepath.Join(t.TempDir(), "spool"), filepath.Join(t.TempDir(), "queue")
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "zmailer.conf")
	if err := os.WriteFile(conf, []byte("POSTOFFICE="+root+"\nHOSTNAME=mx.example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZCONFIG", conf)
	if err := os.CopyFS(dir, os.DirFS("testdata/queue/"+kind)); err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "deferred/*"))
	for _, f := range files {
		if err := os.Chmod(f, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return root, dir
}

func takeQueue(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := queueCommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// messages are the files that were submitted, by the Subject of each.
func messages(t *testing.T, root string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "router/*"))
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, subject, _ := strings.Cut(string(b), "Subject: ")
		subject, _, _ = strings.Cut(subject, "\n")
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		all[subject] = fmt.Sprintf("time %d\n%s", st.ModTime().Unix(), b)
	}
	return all
}

func TestQueue(t *testing.T) {
	for _, tt := range []struct {
		kind  string
		count int
		want  map[string][]string // lines by subject
	}{
		{"postfix", 3, map[string][]string{
			"one": {"time 1795592025", "from <joe@example.org>", "todsn NOTIFY=SUCCESS,DELAY ORCPT=rfc822;ann@far.example", "to <ann@far.example>", "to <bob@far.example>",
				"envid env123", "notaryret HDRS", "mayrelay", "external", "\nbody one\n.dot\n\nlast without\n"},
			"two":  {"from <>", "to <ann@far.example>", "\n" + strings.Repeat("x", 6000) + "\nend\n"},
			"held": {"to <held@far.example>"},
		}},
		{"sendmail", 2, map[string][]string{
			"one": {"time 1795591953", "from <joe@example.org>", "todsn NOTIFY=SUCCESS,DELAY ORCPT=rfc822;ann@far.example", "to <ann@far.example>", "to <bob@far.example>",
				"envid env123", "notaryret HDRS", "From: joe@example.org\n\nbody one\n.dot\n\nlast without"},
			"two": {"from <>", "to <games>", "X-Long: a\n\tfolded\n\n" + strings.Repeat("x", 3000) + "\nend\n"},
		}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			root, dir := queueOf(t, tt.kind)
			if out, err := takeQueue(t, "--dry-run", tt.kind, dir); err != nil || len(messages(t, root)) != 0 || !strings.Contains(out, fmt.Sprintf("%d messages taken", tt.count)) {
				t.Fatalf("dry: %v: %s", err, out)
			}
			out, err := takeQueue(t, tt.kind, dir)
			if err != nil || !strings.Contains(out, fmt.Sprintf("%d messages taken, 0 were taken before, 0 not taken", tt.count)) {
				t.Fatalf("%v: %s", err, out)
			}
			all := messages(t, root)
			if len(all) != tt.count {
				t.Fatalf("%d messages", len(all))
			}
			for subject, lines := range tt.want {
				text := all[subject]
				for _, line := range lines {
					if !strings.Contains(text, line+"\n") && !strings.HasSuffix(text, line) {
						t.Errorf("%s: no %.100q in\n%.1500s", subject, line, text)
					}
				}
				if strings.Contains(text, "Return-Path") {
					t.Errorf("%s: Return-Path in\n%s", subject, text)
				}
			}
			out, err = takeQueue(t, tt.kind, dir)
			if err != nil || !strings.Contains(out, fmt.Sprintf("0 messages taken, %d were taken before", tt.count)) || len(messages(t, root)) != tt.count {
				t.Errorf("again: %v: %s", err, out)
			}
		})
	}
}

// TestQueueDamaged cuts files off at every byte, and changes single bytes: a message is
// taken whole or not at all, and said to be.
func TestQueueDamaged(t *testing.T) {
	whole, err := os.ReadFile("testdata/queue/postfix/deferred/C2BA247")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "X")
	read := func(b []byte) ([]byte, error) {
		if err := os.WriteFile(path, b, 0o700); err != nil {
			t.Fatal(err)
		}
		q, c, err := openPostfix(path)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		return io.ReadAll(q.body)
	}
	if text, err := read(whole); err != nil || !bytes.HasSuffix(text, []byte("last without\n")) {
		t.Fatalf("%v: %q", err, text)
	}
	for n := range whole {
		if _, err := read(whole[:n]); err == nil {
			t.Errorf("cut off at %d of %d bytes: taken", n, len(whole))
		}
	}
	qf, err := os.ReadFile("testdata/queue/sendmail/qf6AP7WXVD000040")
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(qf) - 1 {
		if _, err := parseQF(qf[:n]); err == nil {
			t.Errorf("qf cut off at %d of %d bytes: taken", n, len(qf))
		}
	}
}

func TestQueueRefused(t *testing.T) {
	root, dir := queueOf(t, "postfix")
	for name, mode := range map[string]os.FileMode{"deferred/C2BA247": 0o600, "deferred/3D4A353": 0o700} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "deferred/BAD"), []byte("C\x01xQ\x00"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "hold"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "deferred/3D4A353"), filepath.Join(dir, "hold/3D4A353")); err != nil {
		t.Fatal(err)
	}
	out, err := takeQueue(t, "postfix", dir)
	if err == nil || !strings.Contains(out, "1 messages taken, 0 were taken before, 3 not taken") || !strings.Contains(out, "on hold") || !strings.Contains(out, "unknown record") {
		t.Errorf("%v: %s", err, out)
	}
	if n := len(messages(t, root)); n != 1 {
		t.Errorf("%d messages", n)
	}
	for _, args := range [][]string{{"exim"}, {"postfix", t.TempDir()}, {"sendmail", "/nowhere"}} {
		if out, err := takeQueue(t, args...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// TestQueuePostcat reads the files as Postfix's own program does.
func TestQueuePostcat(t *testing.T) {
	postcat, err := findProgram("", "postcat", "/usr/sbin/postcat")
	if err != nil {
		t.Skip("no postcat")
	}
	_, dir := queueOf(t, "postfix")
	files, err := postfixFiles(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, path := range files {
		q, c, err := openPostfix(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(q.body)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		want, err := exec.Command(postcat, "-hb", path).Output()
		if err != nil || !bytes.Equal(text, want) {
			t.Errorf("%s: %v\n%q\n%q", path, err, text, want)
		}
		env, err := exec.Command(postcat, "-e", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range q.env.To {
			if !strings.Contains(string(env), "recipient: "+r.Addr+"\n") {
				t.Errorf("%s: recipient %s", path, r.Addr)
			}
		}
		if n := strings.Count(string(env), "\nrecipient: "); n != len(q.env.To) {
			t.Errorf("%s: %d recipients of %d", path, len(q.env.To), n)
		}
	}
}

func FuzzPostfixQueue(f *testing.F) {
	files, _ := filepath.Glob("testdata/queue/postfix/deferred/*")
	for _, path := range files {
		if b, err := os.ReadFile(path); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("T\x041 2 S\x00M\x00p\x015X\x00E\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "X")
		if err := os.WriteFile(path, b, 0o700); err != nil {
			t.Fatal(err)
		}
		q, c, err := openPostfix(path)
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := io.Copy(io.Discard, q.body); err != nil {
			t.Errorf("read once, and then %v", err)
		}
	})
}

func FuzzQF(f *testing.F) {
	b, err := os.ReadFile("testdata/queue/sendmail/qf6AP7WXVD000040")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if q, err := parseQF(b); err == nil && len(q.header) > len(b)+1 {
			t.Error("a header of more bytes than the file")
		}
	})
}
