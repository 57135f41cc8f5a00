package sendmail

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zmailer/spool"
	"zmailer/spool/proc"
)

// asSendmail makes the test binary act as sendmail.
const asSendmail = "ACT_AS_SENDMAIL"

func TestMain(m *testing.M) {
	if os.Getenv(asSendmail) == "" {
		os.Exit(m.Run())
	}
	cmd := Command()
	cmd.SetArgs(os.Args[1:])
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM) // as the dispatcher does
	defer stop()
	err := cmd.ExecuteContext(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(proc.Code(err))
}

// process is sendmail as a process of its own.
func process(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asSendmail+"=1")
	return cmd
}

// A process killed at any moment leaves the whole message or none in router/, and
// did not say 0 for none.
func TestKilled(t *testing.T) {
	in := newInstance(t, "SPOOLSYNC=file")
	large := "S: s\n\n" + strings.Repeat("a line of a large message\n", 3*spool.SmallMessage/26)
	points := 100
	if testing.Short() {
		points = 10
	}
	for _, msg := range []string{"S: s\n\nsmall\n", large} {
		usual := timeOf(t, msg)
		in.take()
		stored, denied := 0, 0
		for range points {
			cmd := process(t, "-i", "joe")
			cmd.Stdin = strings.NewReader(msg)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(rand.Int64N(int64(usual*3/2))), func() { cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			removeAll(t, filepath.Join(in.root, spool.PublicDir)) // what Sweep does a day later
			list := in.take()
			switch {
			case len(list) > 1, len(list) == 1 && list[0].msg != msg:
				t.Fatalf("%d messages, not the one that was sent", len(list))
			case err == nil && len(list) == 0:
				t.Fatal("status 0 for a message that is not there")
			case len(list) == 1:
				stored++
			default:
				denied++
			}
		}
		t.Logf("%d bytes: %d stored, %d not", len(msg), stored, denied)
	}
}

func timeOf(t *testing.T, msg string) time.Duration {
	t.Helper()
	begun := time.Now()
	const n = 3
	for range n {
		cmd := process(t, "-i", "joe")
		cmd.Stdin = strings.NewReader(msg)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return time.Since(begun) / n
}

func removeAll(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// What a caller may leave a process with.
func TestHostile(t *testing.T) {
	in := newInstance(t)
	shell := func(script string) (int, string) {
		cmd := process(t)
		cmd.Args = []string{"sh", "-c", script, cmd.Path}
		cmd.Path, cmd.Dir = "/bin/sh", t.TempDir()
		cmd.Stdin = strings.NewReader("S: s\n\nb\n")
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	for _, tt := range []struct {
		name, script string
		code, stored int
	}{
		{"plain", `exec "$0" joe`, 0, 1},
		{"no standard input", `exec "$0" joe <&-`, 0, 1}, // an empty message, as from /dev/null
		{"no standard output", `exec "$0" joe >&-`, 0, 1},
		{"no standard error", `exec "$0" joe 2>&-`, 0, 1},
		{"nothing at all", `exec "$0" joe <&- >&- 2>&-`, 0, 1},
		{"error without standard error", `exec "$0" -Z joe 2>&-`, 64, 0},
		{"umask 777", `umask 777; exec "$0" joe`, 0, 1},
		{"empty environment", `exec env -i ` + asSendmail + `=1 ZCONFIG="$ZCONFIG" "$0" joe`, 0, 1},
		{"strange environment", `exec env HOME= PATH= USER='a
external' LOGNAME='x
to <evil>' IFS=x LANG=xx TMPDIR=/nonexistent "$0" joe`, 0, 1},
		{"file size limit", `ulimit -f 0; exec "$0" joe`, 75, 0},
		{"removed directory", `mkdir x && cd x && rmdir ../x && exec "$0" joe`, 0, 1},
		{"few descriptors", `ulimit -n 4; exec "$0" joe`, 75, 0},
	} {
		code, out := shell(tt.script)
		list := in.take()
		if code != tt.code || len(list) != tt.stored {
			t.Errorf("%s: status %d, %d stored, want %d, %d\n%s", tt.name, code, len(list), tt.code, tt.stored, out)
		}
		for _, m := range list {
			if m.lines() != "to <joe>" {
				t.Errorf("%s: envelope %s", tt.name, m.lines())
			}
		}
	}
}

func TestModeOfFile(t *testing.T) {
	in := newInstance(t)
	old := syscall.Umask(0o777)
	_, err := sendmail("\n", "joe")
	syscall.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(in.root, spool.RouterDir, "*"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if st, err := os.Stat(names[0]); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// A spool that cannot take the message: status 75, and dead.letter if wanted.
func TestSpoolFails(t *testing.T) {
	in := newInstance(t)
	home := os.Getenv("HOME")
	letter := filepath.Join(home, "dead.letter")
	if err := os.Rename(in.root, in.root+".away"); err != nil {
		t.Fatal(err)
	}
	const msg = "Subject: s\nBcc: secret\n\nFrom the start\nb\nFrom here\n"
	for _, tt := range []struct {
		mode  string
		saved bool
	}{{"-oep", false}, {"-oee", false}, {"-oeq", false}, {"-oem", true}} {
		_, err := sendmail(msg, tt.mode, "joe")
		if proc.Code(err) != proc.TempFail {
			t.Errorf("%s: %v", tt.mode, err)
		}
		b, err := os.ReadFile(letter)
		if saved := err == nil; saved != tt.saved {
			t.Errorf("%s: saved: %v", tt.mode, saved)
		}
		if tt.saved && !bytes.HasSuffix(b, []byte("\nSubject: s\n\n>From the start\nb\n>From here\n\n")) {
			t.Errorf("%s: %q", tt.mode, b)
		}
	}
	if _, err := sendmail(msg, "-oem", "joe"); err == nil || !strings.Contains(err.Error(), "saved in "+letter) {
		t.Errorf("error %v", err)
	}
	if b, err := os.ReadFile(letter); err != nil || bytes.Count(b, []byte("Subject: s")) != 2 {
		t.Errorf("second letter: %q, %v", b, err)
	}
	testForeignLetter(t, letter)
}

// A link in the place of dead.letter is not followed.
func testForeignLetter(t *testing.T, letter string) {
	t.Helper()
	other := letter + ".other"
	if err := errors.Join(os.Remove(letter), os.WriteFile(other, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, link := range []func(string, string) error{os.Symlink, os.Link} {
		if err := link(other, letter); err != nil {
			t.Fatal(err)
		}
		if _, err := sendmail("\n", "-oem", "joe"); err == nil || !strings.Contains(err.Error(), "not saved") {
			t.Errorf("error %v", err)
		}
		if b, err := os.ReadFile(other); err != nil || len(b) > 0 {
			t.Errorf("written through the link: %q, %v", b, err)
		}
		if err := os.Remove(letter); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFromQuoter(t *testing.T) {
	const text = "From a\nFro\nFrom \n>From b\nx From c\nF\n"
	const want = ">From a\nFro\n>From \n>From b\nx From c\nF\n"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		bw := bufio.NewWriter(&out)
		q := &fromQuoter{w: bw, start: true}
		for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
			if _, err := q.Write([]byte(rest[:min(size, len(rest))])); err != nil {
				t.Fatal(err)
			}
		}
		if err := bw.Flush(); err != nil || out.String() != want {
			t.Errorf("%d at a time: %q, %v", size, out.String(), err)
		}
	}
}

// Standard error that nobody reads does not kill the process.
func TestBrokenPipe(t *testing.T) {
	newInstance(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := process(t, "-Z", "joe")
	cmd.Stderr = w
	r.Close()
	err = cmd.Run()
	w.Close()
	if cmd.ProcessState.ExitCode() != proc.Usage {
		t.Errorf("%v", err)
	}
}

// A process that is told to end while it reads leaves nothing behind.
func TestTerminated(t *testing.T) {
	in := newInstance(t)
	cmd := process(t, "joe")
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds: when this is written, the process reads.
	if _, err := pipe.Write([]byte(strings.Repeat("half a large message\n", spool.SmallMessage/8))); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if cmd.ProcessState.ExitCode() != proc.TempFail || len(in.take()) > 0 {
		t.Errorf("%v, status %d", err, cmd.ProcessState.ExitCode())
	}
}

// BenchmarkSubmit is the cost without the start of a process.
func BenchmarkSubmit(b *testing.B) {
	in := newInstance(b)
	msg := "To: joe@x.example\nSubject: s\n\n" + strings.Repeat("a line of text\n", 200)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if out, err := sendmail(msg, "-t", "-i"); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	in.take()
}

// An envelope that does not fit into memory is a file from the beginning: a spool that
// cannot take it is no fault of its data.
func TestSpoolFailsForMany(t *testing.T) {
	in := newInstance(t)
	public := filepath.Join(in.root, spool.PublicDir)
	if err := os.Remove(public); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self", public); err != nil {
		t.Fatal(err)
	}
	var to strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&to, " user%d@remote.example,", i)
	}
	if _, err := sendmail("To:"+to.String()+"\n\nb\n", "-t"); proc.Code(err) != proc.TempFail {
		t.Errorf("%v", err)
	}
}
