package zlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A reader stands for journald or a syslog daemon.
type reader struct {
	t    *testing.T
	path string
	c    *net.UnixConn
}

func newReader(t *testing.T) *reader {
	r := &reader{t: t, path: filepath.Join(t.TempDir(), "s")}
	r.listen()
	return r
}

func (r *reader) listen() {
	os.Remove(r.path)
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: r.path, Net: "unixgram"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.c = c
	r.t.Cleanup(func() { c.Close() })
}

// next is the next datagram, or what is in the file that came with it.
func (r *reader) next() string {
	r.t.Helper()
	r.c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf, oob := make([]byte, 256<<10), make([]byte, 256)
	n, on, _, _, err := r.c.ReadMsgUnix(buf, oob)
	if err != nil {
		r.t.Fatal(err)
	}
	if on == 0 {
		return string(buf[:n])
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil {
		r.t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		r.t.Fatal(err)
	}
	seals, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_WRITE == 0 {
		r.t.Errorf("the file is not sealed: %x %v", seals, err)
	}
	f := os.NewFile(uintptr(fds[0]), "memfd")
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 10<<20))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// fields reads a datagram as the journal does.
func fields(b string) (map[string]string, error) {
	list := make(map[string]string)
	for b != "" {
		line, rest, ok := strings.Cut(b, "\n")
		if !ok {
			return nil, fmt.Errorf("no end of line: %q", b)
		}
		if name, value, ok := strings.Cut(line, "="); ok {
			list[name], b = value, rest
			continue
		}
		if len(rest) < 8 {
			return nil, fmt.Errorf("no length: %q", rest)
		}
		n := binary.LittleEndian.Uint64([]byte(rest[:8]))
		if uint64(len(rest)) < 9+n || rest[8+n] != '\n' {
			return nil, fmt.Errorf("length %d of %d", n, len(rest))
		}
		list[line], b = rest[8:8+n], rest[9+n:]
	}
	return list, nil
}

func TestJournal(t *testing.T) {
	r := newReader(t)
	log, out, err := Open(Config{Applet: "scheduler", Targets: targets(t, "journal:"+r.path, "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log.Error("failed", "spoolid", "CR8HTQ22B6TWNW16", "to", "joe@example.org", "relay", "", "err", errors.New("two\nlines"), "odd-key", 7)
	got, err := fields(r.next())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"MESSAGE":  `failed spoolid=CR8HTQ22B6TWNW16 to=joe@example.org relay="" err="two\nlines" odd-key=7`,
		"PRIORITY": "3", "SYSLOG_FACILITY": "2", "SYSLOG_IDENTIFIER": "zmailer/scheduler", "ZMAILER_EVENT": "failed",
		"ZMAILER_ID": "CR8HTQ22B6TWNW16", "ZMAILER_TO": "joe@example.org", "ZMAILER_RELAY": "", "ZMAILER_ERR": "two\nlines", "ZMAILER_ODD_KEY": "7",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}

	// What is too large for a datagram comes in a file, bounded.
	for i := range 8 {
		log = log.With(fmt.Sprint("v", i), strings.Repeat("x", 2*maxValue))
	}
	log.Info("large")
	if got, err = fields(r.next()); err != nil || len(got["ZMAILER_V7"]) != maxValue+3 {
		t.Errorf("%v; a value of %d octets", err, len(got["ZMAILER_V7"]))
	}
}

// TestJournalAway loses records while nobody reads, without waiting long for each,
// and tells how many when somebody does again.
func TestJournalAway(t *testing.T) {
	r := newReader(t)
	log, out, err := Open(Config{Applet: "router", Targets: targets(t, "journal:"+r.path, "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	log.Info("one")
	r.next()
	r.c.Close()
	os.Remove(r.path)
	begin := time.Now()
	for range 1000 {
		log.Info("lost")
	}
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("1000 lines that nobody reads took %v", d)
	}
	r.listen()
	out.sockets[0].mu.Lock()
	out.sockets[0].pause = time.Time{}
	out.sockets[0].mu.Unlock()
	log.Info("two")
	if got := r.next(); !strings.Contains(got, "MESSAGE=two\n") {
		t.Errorf("after a restart of the reader: %q", got)
	}
	if got := r.next(); !strings.Contains(got, "MESSAGE=log lines lost count=1000\n") {
		t.Errorf("notice: %q", got)
	}
}

// TestJournalStopped does not wait for a reader that does not read.
func TestJournalStopped(t *testing.T) {
	r := newReader(t)
	log, out, err := Open(Config{Applet: "router", Targets: targets(t, "journal:"+r.path, "", "")})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 {
			log.Info("line")
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("the log waits for the journal")
	}
	if out.sockets[0].count.Load() == 0 {
		t.Error("nothing is counted as lost")
	}
}

func TestSyslog(t *testing.T) {
	for log, want := range map[string]string{
		"syslog":     `^<20>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d zmailer/smtpserver\[\d+\]: turned away client=192\.0\.2\.1 reason="too many"$`,
		"syslog5424": `^<20>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) \S+ zmailer/smtpserver \d+ turned_away - turned away client=192\.0\.2\.1 reason="too many"$`,
	} {
		r := newReader(t)
		log, out, err := Open(Config{Applet: "smtpserver", Targets: targets(t, log+":"+r.path, "", "")})
		if err != nil {
			t.Fatal(err)
		}
		log.Warn("turned away", "client", "192.0.2.1", "reason", "too many")
		if got := r.next(); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%q does not match %s", got, want)
		}
		log.Info("large", "text", strings.Repeat("x", 2*maxSyslog))
		if got := r.next(); len(got) != maxSyslog || !strings.HasSuffix(got, "...") {
			t.Errorf("a record of %d octets", len(got))
		}
		out.Close()
	}
}

// TestSyslogStream speaks to the old kind of socket.
func TestSyslogStream(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	log, out, err := Open(Config{Applet: "router", Targets: targets(t, "syslog:"+path, "", "")})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("one")
	log.Info("two")
	out.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	records := strings.Split(string(b), "\x00")
	if err != nil || len(records) != 3 || !strings.HasSuffix(records[0], ": one") || !strings.HasSuffix(records[1], ": two") {
		t.Errorf("%v %q", err, b)
	}
}

func FuzzJournalField(f *testing.F) {
	f.Add("spoolid", "CR8")
	f.Add("err", "a\nb=c\n")
	f.Add("MESSAGE=x\n", "=")
	f.Fuzz(func(t *testing.T, key, value string) {
		b := appendField(nil, journalName(key), value)
		got, err := fields(string(b))
		if err != nil || len(got) != 1 {
			t.Fatalf("%q: %v %v", b, got, err)
		}
		for name, v := range got {
			if v != value || !regexp.MustCompile(`^ZMAILER_[A-Z0-9_]*$`).MatchString(name) || len(name) > 64 {
				t.Fatalf("%q: %q=%q", b, name, v)
			}
		}
	})
}
