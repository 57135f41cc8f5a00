// Guest is the only user program of the machine whose power is cut, beside the
// mailer: process 1 of an initramfs. It mounts the disk, has the mailer recover,
// reports what became of the messages of earlier boots, and then loads the mailer
// until the power goes.
//
// It talks to the host over the second serial line, a line a fact:
//
//	boot                    the disk is mounted, the mailer started
//	have ID USER COPIES     delivered
//	held ID DIR             still in the spool, after the wait for it to drain
//	bad TEXT                damaged message, or trouble of any kind
//	fsck STATUS             status of zmailer fsck once the spool was quiet
//	checked                 end of the report; Maildirs are empty now
//	load                    messages begin
//	ack ID USER,USER        the mailer said 250, or sendmail ended with 0
//	no ID TEXT              it said no
//
// The kernel's command line holds powercut=ROUND; in round 0 the machine turns
// itself off after the report.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/testdata/load"
)

const (
	disk     = "/disk"
	prefix   = disk + "/z"
	conf     = prefix + "/etc/zmailer/zmailer.conf"
	spoolDir = prefix + "/var/spool/postoffice"
	logDir   = prefix + "/var/log/zmailer"
	addr     = "127.0.0.1:2525"
	program  = "/bin/zmailer"

	drainTime = 90 * time.Second // for what recovery brought back
)

var users = []string{"joe", "ann"}

func maildirs() map[string]string {
	m := make(map[string]string)
	for _, u := range users {
		m[u] = disk + "/home/" + u + "/Maildir"
	}
	return m
}

func main() {
	if err := os.MkdirAll("/dev", 0o755); err == nil {
		err = unix.Mount("dev", "/dev", "devtmpfs", 0, "")
		if err != nil {
			fmt.Println("mount /dev:", err)
		}
	}
	h, err := openHost("/dev/ttyS1")
	if err == nil {
		err = run(h)
	}
	if err != nil {
		fmt.Println("guest:", err)
		h.say("bad %s", err)
	}
	unix.Sync()
	time.Sleep(time.Second) // the serial line is slow
	fmt.Println("turning off:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func run(h *host) error {
	round, err := prepare()
	if err != nil {
		return err
	}
	stop, err := startMailer()
	if err != nil {
		return err
	}
	h.say("boot")
	if err := report(h); err != nil {
		return err
	}
	if round == "0" {
		return stop()
	}
	h.say("load")
	loadMailer(h, round)
	return nil
}

// prepare brings the machine up as far as an init has to.
func prepare() (round string, err error) {
	for _, m := range []struct{ dev, dir, kind string }{{"proc", "/proc", "proc"}, {"sys", "/sys", "sysfs"}, {"tmp", "/tmp", "tmpfs"}} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return "", err
		}
		if err := unix.Mount(m.dev, m.dir, m.kind, 0, ""); err != nil {
			return "", fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	if err := loadModules(); err != nil {
		return "", err
	}
	if err := loopback(); err != nil {
		return "", err
	}
	if err := mountDisk(); err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(string(b)) {
		if r, ok := strings.CutPrefix(word, "powercut="); ok {
			round = r
		}
	}
	return round, install()
}

// loadModules loads all modules. Which one needs which differs from kernel to
// kernel: one that misses another is tried again.
func loadModules() error {
	waiting, err := filepath.Glob("/modules/*")
	if err != nil {
		return err
	}
	for len(waiting) > 0 {
		var again []string
		for _, path := range waiting {
			err := loadModule(path)
			switch {
			case errors.Is(err, unix.ENOENT):
				again = append(again, path)
			case err != nil:
				return err
			}
		}
		if len(again) == len(waiting) {
			return fmt.Errorf("modules %q need others that are not here", again)
		}
		waiting = again
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// mountDisk waits for the disk to be found.
func mountDisk() error {
	if err := os.MkdirAll(disk, 0o755); err != nil {
		return err
	}
	var err error
	for range 100 {
		if err = unix.Mount("/dev/vda", disk, "ext4", 0, ""); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("mount the disk: %w", err)
}

// install sets up the instance at the first boot.
func install() error {
	files := map[string]string{
		"/etc/passwd":      "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"/etc/group":       "root:x:0:\nnogroup:x:65534:\n",
		"/etc/hosts":       "127.0.0.1 localhost mx.test\n",
		"/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
	}
	for path, text := range files {
		if err := writeFile(path, text); err != nil {
			return err
		}
	}
	os.Setenv("ZCONFIG", conf)
	os.Setenv("PATH", "/bin")
	if _, err := os.Stat(disk + "/installed"); err == nil {
		return nil
	}
	out, err := exec.Command(program, "install", "--prefix", prefix, "--port", "2525", "--hostname", "mx.test").CombinedOutput()
	if err != nil {
		return fmt.Errorf("install: %w: %s", err, out)
	}
	var table strings.Builder
	for i, u := range users {
		home := disk + "/home/" + u
		if err := os.MkdirAll(home, 0o755); err != nil {
			return err
		}
		uid := 1001 + i
		if err := os.Chown(home, uid, uid); err != nil {
			return err
		}
		fmt.Fprintf(&table, "%s %d %d %s maildir:%s/Maildir\n", u, uid, uid, home, home)
	}
	if err := writeFile(prefix+"/etc/zmailer/db/users", table.String()); err != nil {
		return err
	}
	if err := writeFile(disk+"/installed", ""); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// startMailer starts the daemons and waits until they take mail.
func startMailer() (stop func() error, err error) {
	cmd := exec.Command(program, "run")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	for range 600 {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return func() error {
				err := cmd.Process.Signal(unix.SIGTERM)
				if err == nil {
					err = cmd.Wait()
				}
				return err
			}, conn.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, fmt.Errorf("the mailer does not answer on %s\n%s", addr, logs())
}

// logs are the ends of the mailer's logs.
func logs() string {
	var b strings.Builder
	paths, _ := filepath.Glob(logDir + "/*") // the pattern is well-formed
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		fmt.Fprintf(&b, "== %s\n%s\n", path, text[max(0, len(text)-3000):])
	}
	return b.String()
}

// report says what became of everything so far, and clears the Maildirs.
func report(h *host) error {
	deadline := time.Now().Add(drainTime)
	for time.Now().Before(deadline) {
		if n, err := load.Waiting(spoolDir); err == nil && n == 0 {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	got, err := load.Maildirs(maildirs())
	if err != nil {
		return err
	}
	for id, users := range got.Places {
		for user, n := range users {
			h.say("have %s %s %d", id, user, n)
		}
	}
	waiting, err := load.Spool(spoolDir)
	if err != nil {
		return err
	}
	for id, dirs := range waiting.Places {
		for dir := range dirs {
			h.say("held %s %s", id, dir)
		}
	}
	for _, text := range append(got.Damaged, waiting.Damaged...) {
		h.say("bad %s", text)
	}
	if len(waiting.Places) > 0 || got.Foreign > 0 {
		fmt.Println(logs())
	}
	out, err := exec.Command(program, "fsck").CombinedOutput()
	if err != nil {
		fmt.Printf("zmailer fsck: %v\n%s\n", err, out)
		h.say("fsck %v", err)
	} else {
		h.say("fsck 0")
	}
	if err := clear(); err != nil {
		return err
	}
	h.say("checked")
	return nil
}

func clear() error {
	for _, dir := range maildirs() {
		paths, err := filepath.Glob(dir + "/new/*")
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	unix.Sync()
	return nil
}

// loadMailer sends over several connections and by sendmail until the power goes.
func loadMailer(h *host, round string) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s := &load.Session{Addr: addr}
			for n := 0; ; n++ {
				send(h, message(round, i, n), s.Send)
			}
		})
	}
	wg.Go(func() {
		for n := 0; ; n++ {
			send(h, message(round, 9, n), func(m *load.Message) error {
				return load.Sendmail(context.Background(), prefix+"/sbin/sendmail", m)
			})
		}
	})
	wg.Go(jumpClock)
	wg.Wait()
}

// jumpClock moves the clock of the machine ahead and back, to up to a day from the
// right time: no message becomes old enough to be returned.
func jumpClock() {
	start := time.Now()
	for {
		time.Sleep(time.Duration(500+rand.IntN(3000)) * time.Millisecond)
		t := start.Add(time.Since(start) + time.Duration(rand.Int64N(int64(48*time.Hour))) - 24*time.Hour)
		tv := unix.NsecToTimeval(t.UnixNano())
		if err := unix.Settimeofday(&tv); err != nil {
			fmt.Println("settimeofday:", err)
			return
		}
	}
}

func message(round string, client, n int) *load.Message {
	m := &load.Message{ID: fmt.Sprintf("%s-%d-%d", round, client, n), To: users[:1], Size: 2000}
	switch rand.IntN(10) {
	case 0:
		m.To = users
	case 1:
		m.Size = 30_000
	case 2:
		if rand.IntN(5) == 0 {
			m.Size = 400_000 // not through the journal
		}
	}
	return m
}

func send(h *host, m *load.Message, how func(*load.Message) error) {
	if err := how(m); err != nil {
		h.say("no %s %s", m.ID, err)
		time.Sleep(100 * time.Millisecond)
		return
	}
	h.say("ack %s %s", m.ID, strings.Join(m.To, ","))
}

// A host is the serial line to the host. A line leaves whole or is the last one.
type host struct {
	mu sync.Mutex
	f  *os.File
}

func openHost(path string) (*host, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return &host{f: os.Stdout}, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err == nil {
		t.Oflag, t.Lflag, t.Iflag = 0, 0, 0
		t.Cflag = t.Cflag&^unix.CBAUD | unix.B115200
		err = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
	}
	return &host{f: f}, err
}

func (h *host) say(format string, args ...any) {
	line := bytes.ReplaceAll(fmt.Appendf(nil, format, args...), []byte("\n"), []byte(" | "))
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.f.Write(append(line, '\n')); err != nil {
		fmt.Println("report:", err)
	}
}
