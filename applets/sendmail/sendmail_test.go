package sendmail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool"
	"zmailer/spool/proc"
)

// An instance is a spool with its zmailer.conf, chosen by ZCONFIG.
type instance struct {
	t    testing.TB
	root string
}

// It does not sync, unless lines for zmailer.conf say so.
func newInstance(t testing.TB, lines ...string) *instance {
	t.Helper()
	dir := t.TempDir()
	in := &instance{t, filepath.Join(dir, "postoffice")}
	if err := spool.Create(in.root, false); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "zmailer.conf")
	text := "POSTOFFICE=" + in.root + "\nHOSTNAME=host.example\nLOGDIR=" + dir + "\nSPOOLSYNC=none\n" + strings.Join(lines, "\n") + "\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ZCONFIG", conf)
	t.Setenv("HOME", dir)
	t.Setenv("NAME", "")
	t.Setenv("MAILPRIORITY", "")
	return in
}

// A stored message is what the router would find.
type stored struct {
	env *spool.Envelope
	msg string
}

// take returns the messages in router/ and removes them; public/ must be empty.
func (in *instance) take() []stored {
	in.t.Helper()
	left, err := os.ReadDir(filepath.Join(in.root, spool.PublicDir))
	if err != nil || len(left) > 0 {
		in.t.Fatalf("public/ holds %v, %v", left, err)
	}
	names, err := os.ReadDir(filepath.Join(in.root, spool.RouterDir))
	if err != nil {
		in.t.Fatal(err)
	}
	var list []stored
	for _, n := range names {
		path := filepath.Join(in.root, spool.RouterDir, n.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			in.t.Fatal(err)
		}
		env, offset, err := spool.ReadEnvelope(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			in.t.Fatalf("%v\n%s", err, b)
		}
		list = append(list, stored{env, string(b[offset:])})
		if err := os.Remove(path); err != nil {
			in.t.Fatal(err)
		}
	}
	return list
}

// sendmail runs the command in this process.
func sendmail(input string, args ...string) (out string, err error) {
	return runCommand(strings.NewReader(input), args...)
}

func runCommand(in io.Reader, args ...string) (string, error) {
	cmd := Command()
	var out bytes.Buffer
	cmd.SetIn(in)
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// one sends and returns the one message that must be in the spool.
func (in *instance) one(input string, args ...string) stored {
	in.t.Helper()
	if out, err := sendmail(input, args...); err != nil {
		in.t.Fatalf("%q: %v\n%s", args, err, out)
	}
	list := in.take()
	if len(list) != 1 {
		in.t.Fatalf("%q: %d messages in the spool", args, len(list))
	}
	return list[0]
}

func (s stored) to() string {
	var b strings.Builder
	for i, r := range s.env.To {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(r.Addr)
	}
	return b.String()
}

func TestMessage(t *testing.T) {
	in := newInstance(t)
	long := strings.Repeat("x", 3*sourceBuffer/2)
	big := strings.Repeat("a line of a large message\n", spool.SmallMessage/20)
	for _, tt := range []struct {
		name, args, in, want string
	}{
		{"as given", "", "Subject: s\n\nbody\n", "Subject: s\n\nbody\n"},
		{"no last LF", "", "Subject: s\n\nbody", "Subject: s\n\nbody\n"},
		{"empty", "", "", "\n"},
		{"header alone", "", "Subject: s\n", "Subject: s\n\n"},
		{"text alone", "", "hello world\nSubject: no\n", "\nhello world\nSubject: no\n"},
		{"text begins with a space", "", " hello\n", "\n hello\n"},
		{"no empty line", "", "Subject: s\nhello\n", "Subject: s\n\nhello\n"},
		{"empty header", "", "\nhello\n", "\nhello\n"},
		{"crlf", "", "Subject: s\r\n\r\nbody\r\n", "Subject: s\n\nbody\n"},
		{"crlf, no last LF", "", "Subject: s\r\n\r\nbody\r", "Subject: s\n\nbody\n"},
		{"crlf and lf", "", "Subject: s\r\n\r\nbody\nend\r\n", "Subject: s\n\nbody\nend\n"},
		{"lf, crlf in the header", "", "To: a\nX: y\r\nZ: z\r\n\r\nbody\r\nend\n", "To: a\nX: y\nZ: z\n\nbody\r\nend\n"},
		{"cr alone", "", "S: s\r\n\r\na\rb\r\r\n", "S: s\n\na\rb\r\n"},
		{"dot ends", "", "S: s\n\na\n.\nb\n", "S: s\n\na\n"},
		{"dot without LF ends", "", "S: s\n\na\n.", "S: s\n\na\n"},
		{"dot ends crlf", "", "S: s\r\n\r\na\r\n.\r\nb\r\n", "S: s\n\na\n"},
		{"dot in a header", "", "S: s\n.\nb\n", "S: s\n\n"},
		{"two dots", "", "S: s\n\n..\n. \nb\n", "S: s\n\n..\n. \nb\n"},
		{"dots ignored", "-i", "S: s\n\na\n.\nb\n", "S: s\n\na\n.\nb\n"},
		{"dots ignored, -oi", "-oi", ".\n", "\n.\n"},
		{"dots not ignored", "-i -oif", ".\nx\n", "\n"},
		{"mbox line", "", "From joe Mon Jan 1\nSubject: s\n\nb\n", "Subject: s\n\nb\n"},
		{"mbox lines", "", ">From joe x\nFrom ann y\nSubject: s\n\nb\n", "Subject: s\n\nb\n"},
		{"mbox line crlf", "", "From joe Mon\r\nSubject: s\r\n\r\nb\r\n", "Subject: s\n\nb\n"},
		{"mbox line, no header", "", "From joe Mon\n\nb\n", "\nb\n"},
		{"text From", "", "From here to there\nand back\n", "\nFrom here to there\nand back\n"},
		{"text From alone", "", "From here\n", "\nFrom here\n"},
		{"nul and 8 bit", "", "S: s\n\na\x00\xff\n", "S: s\n\na\x00\xff\n"},
		{"bcc", "", "To: a\nBcc: b,\n c\nresent-bcc : d\n\nBcc: e\n", "To: a\n\nBcc: e\n"},
		{"long line", "", "S: s\n\n" + long, "S: s\n\n" + long + "\n"},
		{"long line crlf", "", "S: s\r\n\r\n" + long + "\r\n", "S: s\n\n" + long + "\n"},
		{"long header", "", "S: " + long + "\n\nb\n", "S: " + long + "\n\nb\n"},
		{"large", "", "S: s\n\n" + big, "S: s\n\n" + big},
		{"large, dot", "", "S: s\n\n" + big + ".\n" + big, "S: s\n\n" + big},
		{"large header", "", strings.ReplaceAll(big, "a line", "X-L: a") + "\nb\n", strings.ReplaceAll(big, "a line", "X-L: a") + "\nb\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in.t = t
			args := append(strings.Fields(tt.args), "joe")
			if got := in.one(tt.in, args...); got.msg != tt.want {
				t.Errorf("stored %d bytes, want %d\n%.300q\n%.300q", len(got.msg), len(tt.want), got.msg, tt.want)
			}
		})
	}
}

// The CR of a CRLF at every place around the end of the buffer.
func TestSourceBuffer(t *testing.T) {
	for n := sourceBuffer - 3; n < sourceBuffer+3; n++ {
		x := strings.Repeat("x", n)
		src := newSource(context.Background(), strings.NewReader("a\r\n"+x+"\r\nb\r\n.\r\n"), false)
		got, err := io.ReadAll(src)
		if err != nil || string(got) != "a\n"+x+"\nb\n" {
			t.Errorf("%d: %d bytes, %v", n, len(got), err)
		}
	}
}

func TestStopped(t *testing.T) {
	in := newInstance(t)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	o, err := parseOptions([]string{"joe"})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.WriteString(w, strings.Repeat("half a large message\n", spool.SmallMessage/10))
		cancel()
	}()
	if _, err := o.submit(ctx, r); proc.Code(err) != proc.TempFail || !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "signal") {
		t.Errorf("error %v", err)
	}
	if list := in.take(); len(list) > 0 {
		t.Errorf("%d messages in the spool", len(list))
	}
}
