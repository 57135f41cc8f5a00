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
		q, c, err := openPostfix(queueFile{path: path})
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
	out, err := takeQueue(t, "postfix", dir)
	if err == nil || !strings.Contains(out, "2 messages taken, 0 were taken before, 2 not taken") || !strings.Contains(out, "has no x") || !strings.Contains(out, "unknown record") {
		t.Errorf("%v: %s", err, out)
	}
	if n := len(messages(t, root)); n != 2 {
		t.Errorf("%d messages", n)
	}
	for _, args := range [][]string{{"exim"}, {"postfix", t.TempDir()}, {"sendmail", "/nowhere"}} {
		if out, err := takeQueue(t, args...); err == nil {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// TestQueueAside takes what the other mailer did not deliver by itself: it is not delivered
// here either, until somebody lets it go. What is damaged is named.
func TestQueueAside(t *testing.T) {
	for _, tt := range []struct {
		kind  string
		moves map[string]string
		cut   string // one that is damaged
		want  map[string]string
	}{
		{"postfix", map[string]string{"deferred/3D4A353": "hold/3/D/3D4A353", "deferred/B291446": "corrupt/B291446", "deferred/C2BA247": "corrupt/C2BA247"}, "corrupt/C2BA247",
			map[string]string{"held": "hold it was on hold in Postfix\n", "two": "hold Postfix had set it aside as damaged\n"}},
		{"sendmail", map[string]string{"qf6AP7WXUS000046": "hf6AP7WXUS000046", "qf6AP7WXVD000040": "Qf6AP7WXVD000040"}, "hf6AP7WXUS000046",
			map[string]string{"one": "hold Sendmail had given it up\n"}},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			root, dir := queueOf(t, tt.kind)
			for from, to := range tt.moves {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Truncate(filepath.Join(dir, tt.cut), 100); err != nil {
				t.Fatal(err)
			}
			out, err := takeQueue(t, tt.kind, dir)
			if err == nil || !strings.Contains(out, tt.cut+": not taken") || !strings.Contains(out, fmt.Sprintf("%d of them wait until you let them go", len(tt.want))) {
				t.Errorf("%v: %s", err, out)
			}
			all := messages(t, root)
			if len(all) != len(tt.want) {
				t.Errorf("%d messages", len(all))
			}
			for subject, line := range tt.want {
				if !strings.Contains(all[subject], line) {
					t.Errorf("%s: no %q in\n%.500s", subject, line, all[subject])
				}
			}
		})
	}
	p := &qfParser{q: new(queued)}
	if err := p.line('q', "a virus"); err != nil || p.q.reason != "a virus" {
		t.Errorf("reason %q, %v", p.q.reason, err)
	}
}

// TestQueueMaildrop takes a message that sendmail of Postfix has left and pickup has not
// seen: without Date, with a sender that is no whole address.
func TestQueueMaildrop(t *testing.T) {
	root, dir := queueOf(t, "maildrop")
	if err := os.Chmod(filepath.Join(dir, "maildrop/497A89A0434"), 0o744); err != nil {
		t.Fatal(err)
	}
	if out, err := takeQueue(t, "postfix", dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text := messages(t, root)["dropped"]
	for _, line := range []string{"time 1795599211", "submission", "external", "from <joe>", "fullname Joe Doe", "envid env42", "todsn NOTIFY=SUCCESS,DELAY", "to <ann@far.example>", "to <bob>"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no %q in\n%s", line, text)
		}
	}
	if !strings.HasSuffix(text, "\n\n.dot\nno end\n") {
		t.Errorf("body of\n%s", text)
	}
}

// TestPostfixRecords reads envelopes that no file of testdata has.
func TestPostfixRecords(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		to   string
	}{
		{"redirected", []string{"Ra@x.example", "Rb@x.example", ">c@y.example"}, "c@y.example"},
		{"delivered and taken back", []string{"n1", "Da@x.example", "/b@x.example", "Rc@x.example"}, "c@x.example"},
		{"notify and original", []string{"n8", "orfc822;o@x.example", "Ra@x.example"}, "a@x.example DELAY rfc822;o@x.example"},
		{"killed", []string{"K    ", "Ra@x.example"}, "a@x.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			for _, rec := range append(append([]string{"T1795599211 1", "Ss@x.example"}, tt.env...), "M", "Nx", "X", "E") {
				b.WriteByte(rec[0])
				b.WriteByte(byte(len(rec) - 1))
				b.WriteString(rec[1:])
			}
			path := filepath.Join(t.TempDir(), "X")
			if err := os.WriteFile(path, b.Bytes(), 0o700); err != nil {
				t.Fatal(err)
			}
			q, c, err := openPostfix(queueFile{path: path})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var to []string
			for _, r := range q.env.To {
				to = append(to, strings.TrimSpace(r.Addr+" "+r.Notify+" "+r.ORcpt))
			}
			if got := strings.Join(to, ", "); got != tt.to {
				t.Errorf("to %s, want %s", got, tt.to)
			}
		})
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
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		path := f.path
		q, c, err := openPostfix(f)
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
		q, c, err := openPostfix(queueFile{path: path})
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
