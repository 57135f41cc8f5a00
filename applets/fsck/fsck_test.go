package fsck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/dsn"
	"zmailer/spool/proc"
)

func id(n int) spool.ID { return spool.ID(fmt.Sprintf("06J5TESTED%05dA", n)) }

func newSpool(t testing.TB) *spool.Spool {
	t.Helper()
	root := filepath.Join(t.TempDir(), "postoffice")
	if err := spool.Create(root, false); err != nil {
		t.Fatal(err)
	}
	s, err := spool.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A site is a spool under construction; its methods fail the test.
type site struct {
	t testing.TB
	s *spool.Spool
}

func (b *site) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *site) path(rel string) string { return filepath.Join(b.s.Root, rel) }

func (b *site) file(rel, text string) {
	b.t.Helper()
	b.check(os.WriteFile(b.path(rel), []byte(text), 0o600))
}

func (b *site) old(rel string) {
	b.t.Helper()
	ts := unix.NsecToTimespec(time.Now().Add(-49 * time.Hour).UnixNano())
	b.check(unix.UtimesNanoAt(unix.AT_FDCWD, b.path(rel), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

const text = "external\nfrom <ann@example.org>\nto <joe@mx.test>\nenv-end\nSubject: x\n\nhello\n"

func control(id spool.ID, size int) *spool.Control {
	return &spool.Control{ID: id, Size: int64(size), HeaderOffset: 55, BodyOffset: int64(size) - 6, Arrival: time.Unix(1e9, 0),
		Groups: []spool.Group{{Sender: spool.Hop{Channel: "smtp", User: "ann@example.org"}, Header: []byte("Subject: x\n\n"),
			Rcpts: []spool.Rcpt{{Hop: spool.Hop{Channel: "local", User: "joe"}}}}}}
}

func (b *site) submit(dir string, id spool.ID) { b.file(dir+"/"+string(id), text) }

func (b *site) queue(id spool.ID) { b.file(b.rel(b.s.QueuePath(id)), text) }

func (b *site) control(id spool.ID, text []byte) { b.file(b.rel(b.s.ControlPath(id)), string(text)) }

func (b *site) rel(path string) string { return path[len(b.s.Root)+1:] }

func (b *site) route(id spool.ID) {
	b.queue(id)
	b.control(id, control(id, len(text)).Append(nil))
}

func finished(id spool.ID) []byte {
	e := spool.Event{Rcpts: []int{0}, At: time.Unix(1e9, 0), Result: dsn.Success("2.1.5", "delivered")}
	return append(control(id, len(text)).Append(nil), spool.Stamp(e.Append(nil), id)...)
}

// broken are spools with something wrong in them.
var broken = []struct {
	name  string
	build func(*site)
	want  []string // state and path of what is found
	after []string // files there after the repair, the rest of a healthy spool aside
}{
	{"nothing", func(b *site) {
		b.submit("router", id(1))
		b.submit("deferred", id(2))
		b.submit("freezer", id(3))
		b.file("postman/anything at all", "x")
		b.route(id(4))
		b.file("public/123.x", "half a mess")
		b.file("run/router.pid", "")
		b.file("journal/lock", "")
		b.file("journal/00000001.seg", strings.Repeat("\x00", 8192))
		b.file(".freeze", "")
	}, nil, nil},
	{"torn event", func(b *site) {
		b.route(id(1))
		b.control(id(1), append(control(id(1), len(text)).Append(nil), "=\t0\t12"...))
	}, nil, nil},
	{"old file in public", func(b *site) {
		b.file("public/1.x", "half")
		b.old("public/1.x")
		b.check(os.Symlink("/etc/passwd", b.path("public/link")))
		b.old("public/link")
		b.check(unix.Mkfifo(b.path("public/fifo"), 0o600))
		b.old("public/fifo")
		b.file("public/fresh", "half")
	}, []string{"writing public/1.x", "writing public/fifo", "writing public/link"}, []string{"public/fresh"}},
	{"directory in public", func(b *site) {
		b.check(os.Mkdir(b.path("public/it's mine; rm -rf $HOME"), 0o700))
		b.old("public/it's mine; rm -rf $HOME")
	}, []string{"type public/it's mine; rm -rf $HOME"},
		[]string{"postman/public.it's mine; rm -rf $HOME", "postman/public.it's mine; rm -rf $HOME.why"}},
	{"hostile names", func(b *site) {
		for _, name := range []string{"new\nline", "bell\a\x1b[2J", "-rf", "\xff\xfe", "$(touch x)`y`", "*", "=x"} {
			b.file("router/"+name, "x")
		}
	}, []string{"unknown router/$(touch x)`y`", "unknown router/*", "unknown router/-rf", "unknown router/=x", "unknown router/bell\a\x1b[2J",
		"unknown router/new\nline", "unknown router/\xff\xfe"},
		[]string{"postman/router.$(touch x)`y`", "postman/router.*", "postman/router.-rf", "postman/router.=x", "postman/router.bell??[2J",
			"postman/router.new?line", "postman/router.??"}},
	{"bad envelope", func(b *site) {
		b.file("router/"+string(id(1)), "from <a@b>\nfrobnicate x\nenv-end\n")
		b.file("deferred/"+string(id(2)), "")
		b.file("freezer/"+string(id(3)), "\x00\x01")
	}, []string{"damaged deferred/" + string(id(2)), "damaged freezer/" + string(id(3)), "damaged router/" + string(id(1))},
		[]string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".why", "postman/" + string(id(2)), "postman/" + string(id(3))}},
	{"no message files", func(b *site) {
		b.check(os.Symlink("/etc/passwd", b.path("router/"+string(id(1)))))
		b.check(unix.Mkfifo(b.path("deferred/"+string(id(2))), 0o600))
		b.check(os.Mkdir(b.path("freezer/"+string(id(3))), 0o700))
		b.submit("public", id(4))
		b.check(os.Link(b.path("public/"+string(id(4))), b.path("router/"+string(id(4)))))
	}, []string{"type deferred/" + string(id(2)), "type freezer/" + string(id(3)), "type router/" + string(id(1)), "type router/" + string(id(4))},
		[]string{"postman/" + string(id(1)), "postman/" + string(id(2)), "postman/" + string(id(3)), "postman/" + string(id(4)), "public/" + string(id(4))}},
	{"moving", func(b *site) { b.queue(id(1)) },
		[]string{"moving queue/A/" + string(id(1))}, []string{"router/" + string(id(1))}},
	{"half", func(b *site) {
		b.route(id(1))
		c := control(id(1), len(text)).Append(nil)
		b.control(id(1), c[:len(c)-2])
	}, []string{"half queue/A/" + string(id(1))}, []string{"router/" + string(id(1))}},
	{"empty control file", func(b *site) {
		b.queue(id(1))
		b.control(id(1), nil)
	}, []string{"half queue/A/" + string(id(1))}, []string{"router/" + string(id(1))}},
	{"finished orphan", func(b *site) { b.control(id(1), finished(id(1))) },
		[]string{"orphan transport/A/" + string(id(1))}, []string{}},
	{"unfinished orphan", func(b *site) { b.control(id(1), control(id(1), len(text)).Append(nil)) },
		[]string{"orphan transport/A/" + string(id(1))}, []string{"postman/" + string(id(1)) + ".control", "postman/" + string(id(1)) + ".why"}},
	{"damaged orphan", func(b *site) { b.control(id(1), []byte("garbage\n")) },
		[]string{"orphan transport/A/" + string(id(1))}, []string{"postman/" + string(id(1)) + ".control"}},
	{"orphan of another", func(b *site) { b.control(id(1), control(id(2), len(text)).Append(nil)) },
		[]string{"orphan transport/A/" + string(id(1))}, []string{}},
	{"orphan in the done log", func(b *site) {
		b.control(id(1), control(id(1), len(text)).Append(nil))
		b.file("journal/done.x", string(id(1))+"\n")
	}, []string{"orphan transport/A/" + string(id(1))}, []string{}},
	{"damaged control file", func(b *site) {
		b.route(id(1))
		b.control(id(1), append(control(id(1), len(text)).Append(nil), spool.Stamp([]byte("what\tis\tthis\n"), id(1))...))
	}, []string{"damaged transport/A/" + string(id(1))},
		[]string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".control", "postman/" + string(id(1)) + ".why"}},
	{"control file of another message", func(b *site) {
		b.queue(id(1))
		b.control(id(1), control(id(2), len(text)).Append(nil))
	}, []string{"half queue/A/" + string(id(1))}, []string{"router/" + string(id(1))}},
	{"control file is a link", func(b *site) {
		b.queue(id(1))
		b.check(os.Symlink("/etc/passwd", b.s.ControlPath(id(1))))
	}, []string{"damaged transport/A/" + string(id(1))}, []string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".control"}},
	{"size", func(b *site) {
		b.route(id(1))
		b.file(b.rel(b.s.QueuePath(id(1))), text+"more")
	}, []string{"damaged transport/A/" + string(id(1))}, []string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".control"}},
	{"truncated message", func(b *site) {
		b.route(id(1))
		b.file(b.rel(b.s.QueuePath(id(1))), text[:10])
	}, []string{"damaged queue/A/" + string(id(1))}, []string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".control"}},
	{"wrong hash directory", func(b *site) {
		b.file("queue/B/"+string(id(1)), text)
		b.file("transport/C/"+string(id(1)), string(control(id(1), len(text)).Append(nil)))
	}, []string{"misplaced queue/B/" + string(id(1)), "misplaced transport/C/" + string(id(1))},
		[]string{"queue/A/" + string(id(1)), "transport/A/" + string(id(1))}},
	{"wrong hash directory, taken", func(b *site) {
		b.route(id(1))
		b.file("queue/B/"+string(id(1)), text)
	}, []string{"misplaced queue/B/" + string(id(1))}, []string{"queue/A/" + string(id(1)), "transport/A/" + string(id(1)), "postman/queue.B." + string(id(1))}},
	{"unknown names", func(b *site) {
		b.file("queue/A/core", "x")
		b.file("transport/A/.#x", "x")
		b.file("queue/README", "x")
		b.file("journal/x.tmp", "x")
		b.check(os.Mkdir(b.path("backup"), 0o700))
	}, []string{"unknown backup", "unknown journal/x.tmp", "unknown queue/A/core", "unknown queue/README", "unknown transport/A/.#x"},
		[]string{"postman/backup", "postman/journal.x.tmp", "postman/queue.A.core", "postman/queue.README", "postman/transport.A..#x"}},
	{"in two places", func(b *site) {
		b.route(id(1))
		b.submit("router", id(1))
	}, []string{"twice router/" + string(id(1))}, []string{"queue/A/" + string(id(1)), "transport/A/" + string(id(1)), "postman/" + string(id(1))}},
	{"name in postman is taken", func(b *site) {
		b.file("postman/"+string(id(1)), "first")
		b.file("postman/"+string(id(1))+".why", "first")
		b.file("router/"+string(id(1)), "x")
	}, []string{"damaged router/" + string(id(1))},
		[]string{"postman/" + string(id(1)), "postman/" + string(id(1)) + ".2", "postman/" + string(id(1)) + ".why.2"}},
	{"modes", func(b *site) {
		b.route(id(1))
		b.check(os.Chmod(b.s.QueuePath(id(1)), 0o666))
		b.check(os.Chmod(b.path("queue"), 0o777))
		b.check(os.Chmod(b.path("queue/B"), 0o755))
	}, []string{"mode queue", "mode queue/A/" + string(id(1)), "mode queue/B"}, nil},
	{"missing directories", func(b *site) {
		b.check(os.RemoveAll(b.path("queue")))
		b.check(os.Remove(b.path("deferred")))
	}, append([]string{"missing deferred", "missing queue"}, missingHashes("queue")...), nil},
	{"pool", func(b *site) {
		b.control(id(1), nil)
		b.check(os.Rename(b.s.ControlPath(id(1)), b.path("pool/"+string(id(1)))))
		b.file("pool/core", "x")
		b.check(os.Symlink("/etc/passwd", b.path("pool/"+string(id(2)))))
	}, []string{"type pool/" + string(id(2)), "unknown pool/core"}, []string{"pool/" + string(id(1)), "postman/pool.core"}},
	{"damaged segment", func(b *site) { b.file("journal/00000001.seg", "garbage") },
		[]string{"damaged journal/00000001.seg"}, []string{"postman/journal.00000001.seg"}},
	{"segment is a directory", func(b *site) { b.check(os.Mkdir(b.path("journal/00000001.seg"), 0o700)) },
		[]string{"type journal/00000001.seg"}, []string{"postman/journal.00000001.seg"}},
}

func missingHashes(dir string) (want []string) {
	for _, h := range spool.HashDirs() {
		want = append(want, "missing "+dir+"/"+h)
	}
	return want
}

// output runs fsck over s.
func output(t testing.TB, s *spool.Spool, repair, asJSON bool) (string, int) {
	t.Helper()
	var out, stderr bytes.Buffer
	r := newRun(s, &out, &stderr, "fsck")
	r.repair, r.json = repair, asJSON
	if err := r.lock(); err != nil {
		t.Fatal(err)
	}
	defer r.unlock()
	err := r.check(context.Background(), (*checker).all)
	if err == nil {
		err = r.summary()
	}
	return out.String(), proc.Code(err)
}

func lines(t testing.TB, out string) (found []line) {
	t.Helper()
	for text := range strings.Lines(out) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if l.Path != "" {
			found = append(found, l)
		}
	}
	return found
}

// tree lists everything in a spool with its type and mode.
func tree(t testing.TB, s *spool.Spool) (names []string) {
	t.Helper()
	err := filepath.WalkDir(s.Root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if strings.HasSuffix(path, ".pid") {
			return nil
		}
		names = append(names, fmt.Sprintf("%v %s", st.Mode(), strings.TrimPrefix(path, s.Root)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestBroken(t *testing.T) {
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			s := newSpool(t)
			tt.build(&site{t, s})
			before := tree(t, s)
			out, code := output(t, s, false, true)
			var got []string
			for _, l := range lines(t, out) {
				got = append(got, l.State+" "+l.Path)
			}
			want := slices.Clone(tt.want)
			for i, w := range want {
				want[i] = strings.ToValidUTF8(w, "\ufffd\ufffd") // two bytes, as JSON shows them
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q", got, want)
			}
			if wantCode := min(len(want), exitFound); code != wantCode {
				t.Errorf("status %d, want %d", code, wantCode)
			}
			if !slices.Equal(tree(t, s), before) {
				t.Error("the check has changed something")
			}
			out, code = output(t, s, true, false)
			if code != proc.OK {
				t.Errorf("repair: status %d\n%s", code, out)
			}
			for _, path := range tt.after {
				if _, err := os.Lstat(filepath.Join(s.Root, path)); err != nil {
					t.Error(err)
				}
			}
			if out, code := output(t, s, false, false); code != proc.OK {
				t.Errorf("after the repair: status %d\n%s", code, out)
			}
		})
	}
}

// TestScript runs what the check prints by a shell, which must do the same as
// --repair.
func TestScript(t *testing.T) {
	for _, tt := range broken {
		t.Run(tt.name, func(t *testing.T) {
			byShell, byItself := newSpool(t), newSpool(t)
			for _, s := range []*spool.Spool{byShell, byItself} {
				tt.build(&site{t, s})
			}
			script, _ := output(t, byShell, false, false)
			if i := strings.IndexFunc(script, func(r rune) bool { return r < ' ' && r != '\n' }); i >= 0 {
				t.Errorf("control character in the output: %q", script[i:])
			}
			cmd := exec.Command("sh", "-eu")
			cmd.Dir = t.TempDir()
			cmd.Stdin = strings.NewReader("umask 027\n" + script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, script)
			}
			if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
				t.Errorf("the script made %v", left)
			}
			output(t, byItself, true, false)
			if a, b := tree(t, byShell), tree(t, byItself); !slices.Equal(a, b) {
				t.Errorf("the script made\n%s\nwant\n%s\nscript:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"), script)
			}
		})
	}
}

// TestRunningDaemon shows that files of a running daemon are left alone.
func TestRunningDaemon(t *testing.T) {
	s := newSpool(t)
	b := &site{t, s}
	b.queue(id(1))                                                   // moving: the router's
	b.control(id(2), control(id(2), len(text)).Append(nil))          // unfinished orphan: the scheduler's
	b.file("public/x", "")                                           // nobody's
	b.old("public/x")                                                //
	lock, err := proc.LockPidFile(s.RunPath("router.pid"))           //
	b.check(err)                                                     //
	defer lock.Close()                                               //
	if out, code := output(t, s, false, false); code != exitFound || // young: it may be in work
		strings.Contains(out, "moving:") || !strings.Contains(out, "orphan:") {
		t.Errorf("status %d\n%s", code, out)
	}
	r := newRun(s, new(bytes.Buffer), new(bytes.Buffer), "fsck")
	r.repair = true
	b.check(r.lock())
	c := &checker{ctx: context.Background(), s: s, now: time.Now().Add(time.Minute), running: r.running, report: r.report, seen: r.progress.seen,
		finished: func(spool.ID) bool { return false }, states: r.states}
	c.all()
	r.unlock()
	if r.found != 3 || r.repaired != 2 {
		t.Errorf("%d found, %d repaired, want 3 and 2\n%s", r.found, r.repaired, r.out)
	}
	if !strings.Contains(fmt.Sprint(r.out), "# not while the router runs (process "+fmt.Sprint(os.Getpid())+")") {
		t.Errorf("no word about the router:\n%s", r.out)
	}
	if !there(s.QueuePath(id(1))) {
		t.Error("the router's message was moved")
	}
}

// TestLocksDaemons shows that no daemon starts during a repair.
func TestLocksDaemons(t *testing.T) {
	s := newSpool(t)
	r := newRun(s, new(bytes.Buffer), new(bytes.Buffer), "fsck")
	r.repair = true
	if err := r.lock(); err != nil {
		t.Fatal(err)
	}
	var running *proc.ErrRunning
	if _, err := proc.LockPidFile(s.RunPath("router.pid")); !errors.As(err, &running) {
		t.Errorf("the router could start: %v", err)
	}
	r.unlock()
	if l, err := proc.LockPidFile(s.RunPath("router.pid")); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
}

// TestRepairFails shows that a failure is told and ends in status 1.
func TestRepairFails(t *testing.T) {
	s := newSpool(t)
	b := &site{t, s}
	b.queue(id(1))
	b.submit("router", id(1)) // reported as such, and in the way
	b.check(os.RemoveAll(b.path("postman")))
	b.file("postman", "a file in place of the directory")
	out, code := output(t, s, true, false)
	if code != exitFound || !strings.Contains(out, "# not repaired: ") || !there(s.QueuePath(id(1))) || !there(s.Path("router", id(1))) {
		t.Errorf("status %d\n%s", code, out)
	}
}

func TestCleanup(t *testing.T) {
	s := newSpool(t)
	b := &site{t, s}
	b.file("public/old", "x")
	b.old("public/old")
	b.file("public/new", "x")
	b.control(id(1), finished(id(1)))
	b.queue(id(2)) // not rubbish
	conf := filepath.Join(t.TempDir(), "zmailer.conf")
	b.check(os.WriteFile(conf, []byte("POSTOFFICE="+s.Root+"\n"), 0o600))
	t.Setenv("ZCONFIG", conf)
	cmd := CleanupCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(nil)
	b.check(cmd.Execute())
	if want := "1 files removed from " + s.Root + "/public, 1 finished control files\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	if there(b.path("public/old")) || !there(b.path("public/new")) || there(s.ControlPath(id(1))) || !there(s.QueuePath(id(2))) {
		t.Error("removed the wrong files")
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, "fsck")
	for range 1000 {
		p.seen("queue/A")
	}
	if b.Len() > 0 {
		t.Errorf("said before two seconds: %q", b.String())
	}
	p.next = time.Now()
	for range 1000 {
		p.seen("queue/A")
	}
	if b.String() != "fsck: 1025 files, queue/A\n" {
		t.Errorf("%q", b.String())
	}
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", "$x", "-n", "=x", "~", "a\\b", "\x1b[0m"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "\x00") {
			return
		}
		out, err := exec.Command("sh", "-c", "printf %s. "+quote(s)).Output()
		if err != nil || string(out) != s+"." {
			t.Errorf("%q quoted as %s: %q, %v", s, quote(s), out, err)
		}
	})
}

// BenchmarkCheck is the cost of one routed message.
func BenchmarkCheck(b *testing.B) {
	s := newSpool(b)
	site := &site{b, s}
	const messages = 1000
	for i := range messages {
		site.route(id(i))
	}
	b.ReportAllocs()
	for b.Loop() {
		if out, code := output(b, s, false, false); code != 0 {
			b.Fatal(out)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/messages, "ns/message")
}
