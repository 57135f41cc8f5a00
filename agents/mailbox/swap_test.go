package mailbox

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
)

// A swapper puts something in the place of path and takes it away again, over and
// over, as an attacker does who hopes to be between a check and a use.
type swapper struct {
	path, aside string
	evil        func(path string) error
}

func (s *swapper) run(t *testing.T, stop chan struct{}) (swaps int) {
	for {
		select {
		case <-stop:
			return swaps
		default:
		}
		os.Rename(s.path, s.aside) // it may not be there yet
		if s.evil(s.path) == nil {
			swaps++
		}
		os.RemoveAll(s.path)
		os.Rename(s.aside, s.path)
	}
}

// However a mailbox is exchanged while mail comes in, what the links lead to stays
// as it is, and no delivery is reported that did not take place.
func TestSwapped(t *testing.T) {
	rounds := 25
	if testing.Short() {
		rounds = 10
	}
	kinds := map[string]func(victim string) func(string) error{
		"symlink":   func(v string) func(string) error { return func(p string) error { return os.Symlink(v, p) } },
		"hard link": func(v string) func(string) error { return func(p string) error { return os.Link(v+"/file", p) } },
		"fifo":      func(string) func(string) error { return mkfifo },
		"directory": func(string) func(string) error { return func(p string) error { return os.Mkdir(p, 0o700) } },
	}
	for _, tt := range []struct {
		mailbox, at string
		fileVictim  bool // the links lead to the victim's file, not to its directory
		kinds       []string
	}{
		{"mbox:$/box/%u", "box/joe", true, []string{"symlink", "hard link", "fifo", "directory"}},
		{"mbox:$/box/%u", "box/joe.lock", true, []string{"symlink", "hard link", "fifo", "directory"}},
		{"maildir:$/box/%u", "box/joe", false, []string{"symlink", "fifo"}},
		{"maildir:$/box/%u", "box/joe/tmp", false, []string{"symlink", "fifo"}},
		{"maildir:$/box/%u", "box/joe/new", false, []string{"symlink", "fifo"}},
		{"maildir:$/box/%u", "box/joe/maildirsize", true, []string{"symlink", "fifo", "directory"}},
	} {
		for _, kind := range tt.kinds {
			t.Run(strings.ReplaceAll(tt.at+" "+kind, "/", "_"), func(t *testing.T) {
				t.Parallel()
				s := newSite(t, tt.mailbox, func(o *Options) { o.Quota = "1G" })
				victim := s.dir + "/victim"
				for _, err := range []error{
					os.MkdirAll(victim+"/tmp", 0o700), os.Mkdir(victim+"/new", 0o700), os.Mkdir(victim+"/cur", 0o700),
					os.WriteFile(victim+"/file", []byte("precious\n"), 0o600), os.Mkdir(s.dir+"/box", 0o700),
				} {
					if err != nil {
						t.Fatal(err)
					}
				}
				target := victim
				if tt.fileVictim && kind == "symlink" {
					target += "/file"
				}
				sw := &swapper{path: s.dir + "/" + tt.at, aside: s.dir + "/aside", evil: kinds[kind](target)}
				stop := make(chan struct{})
				var wg sync.WaitGroup
				swaps := 0
				wg.Go(func() { swaps = sw.run(t, stop) })
				deferred := 0
				for range rounds {
					for _, r := range s.deliver(protocoltest.To("s@example.net", to("joe"), to("joe"))) {
						if r.Action == dsn.Deferred {
							deferred++
						} else if r.Action != dsn.OK {
							t.Errorf("%+v", r)
						}
					}
				}
				close(stop)
				wg.Wait()
				if read(t, victim+"/file") != "precious\n" {
					t.Error("the victim's file was written to")
				}
				if tt.at == "box/joe.lock" {
					if n := strings.Count(read(t, s.dir+"/box/joe"), "From s@"); n < 2*rounds-deferred {
						t.Errorf("%d letters were delivered, %d are there", 2*rounds-deferred, n)
					}
				}
				files := 0
				filepath.Walk(victim, func(string, os.FileInfo, error) error { files++; return nil })
				if files != 5 {
					t.Errorf("%d names in the victim's directory", files)
				}
				t.Logf("%d swaps, %d of %d deferred", swaps, deferred, 2*rounds)
			})
		}
	}
}

// The same as root, who could write everywhere: a user leads his own mailbox to a
// file of root and to one of another user.
func TestRootSwapped(t *testing.T) {
	s := rootSite(t, "mbox:%h/mbox")
	secret, other := s.dir+"/secret", s.dir+"/ann/private"
	for path, uid := range map[string]int{secret: 0, other: 4002} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			path := s.dir + "/joe/mbox"
			victim := []string{secret, other}[i%2]
			make := []func(string, string) error{os.Symlink, os.Link}[i/2%2]
			if make(victim, path+".x") == nil && os.Rename(path+".x", path) == nil {
				os.Remove(path)
			}
			os.Symlink(victim, path+".lock")
			os.Remove(path + ".lock")
		}
	})
	for range 50 {
		s.deliver(protocoltest.To("s@example.net", to("joe")))
	}
	close(stop)
	wg.Wait()
	for path, uid := range map[string]int{secret: 0, other: 4002} {
		if u, _, mode := owner(t, path); u != uid || mode != 0o600 || read(t, path) != "" {
			t.Errorf("%s: uid %d, mode %o, %q", path, u, mode, read(t, path))
		}
	}
}

// smallDisk mounts a file system of 256 KB where the test wants it.
func smallDisk(t *testing.T) string {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=256k,mode=755"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// A disk that fills up in the middle of a letter takes nothing of it, and takes mail
// again when there is room.
func TestFullDisk(t *testing.T) {
	for _, mailbox := range []string{"mbox:DISK/%u", "maildir:DISK/%u"} {
		t.Run(mailbox[:4], func(t *testing.T) {
			disk := smallDisk(t)
			s := newSite(t, strings.ReplaceAll(mailbox, "DISK", disk), nil)
			letter := protocoltest.To("s@example.net", to("joe"))
			letter.Body = strings.Repeat("0123456789abcde\n", 5000) // 80 KB: the fourth breaks off
			full := 0
			for range 5 {
				if r := s.deliver(letter)[0]; r.Action != dsn.OK {
					want(t, r, dsn.Deferred, "4.3.1")
					full++
				}
			}
			whole := func() int {
				if mailbox[:4] == "mbox" {
					text := read(t, disk+"/joe")
					n := strings.Count(text, "\n"+letter.Body+"\n")
					if strings.Count(text, "From s@") != n || !strings.HasSuffix(text, letter.Body+"\n") {
						t.Errorf("half a letter: %d bytes", len(text))
					}
					return n
				}
				n := 0
				for _, text := range maildirFiles(t, disk+"/joe") {
					if n++; !strings.HasSuffix(text, "\n\n"+letter.Body) {
						t.Errorf("half a letter: %d bytes", len(text))
					}
				}
				if e, err := os.ReadDir(disk + "/joe/tmp"); err != nil || len(e) != 0 {
					t.Errorf("tmp: %v %v", e, err)
				}
				return n
			}
			s.agent.BounceDiskFull = true
			want(t, s.deliver(letter)[0], dsn.Failed, "5.3.1")
			s.agent.BounceDiskFull = false
			if n := whole(); full == 0 || n != 5-full {
				t.Errorf("%d refused, %d there", full, n)
			}
			if e, _ := filepath.Glob(disk + "/*.lock"); len(e) > 0 {
				t.Errorf("left: %v", e)
			}
			// A small letter still fits, and the big ones do when there is room again.
			small := protocoltest.To("s@example.net", to("joe"))
			small.Body = letter.Body[:16]
			letter.Body = small.Body
			want(t, s.deliver(small)[0], dsn.OK, "2.1.5")
		})
	}
}
