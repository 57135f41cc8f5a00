package relations

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

func TestDNS(t *testing.T) {
	fake, err := resolver.NewFake(
		"example.org MX 20 b.example.org", "example.org MX 10 a.example.org", "null.example MX 0 .", "down.example SERVFAIL",
		"a.example.org A 192.0.2.1", "a.example.org AAAA 2001:db8::1", "www.example.org CNAME a.example.org",
		`example.org TXT "hello world"`, "1.2.0.192.in-addr.arpa PTR a.example.org")
	if err != nil {
		t.Fatal(err)
	}
	for sub, kv := range map[string][]string{
		"":      {"a.example.org", "192.0.2.1\n2001:db8::1", "none.example", "-"},
		"a":     {"a.example.org", "192.0.2.1", "example.org", "-"},
		"aaaa":  {"a.example.org", "2001:db8::1"},
		"mx":    {"example.org", "a.example.org\nb.example.org", "null.example", ".", "a.example.org", "-", "$(x)", "-"},
		"ptr":   {"192.0.2.1", "a.example.org", "[192.0.2.1]", "a.example.org", "192.0.2.2", "-", "example.org", "-"},
		"txt":   {"example.org", "hello world"},
		"cname": {"www.example.org", "a.example.org", "example.org", "-"},
	} {
		r := openIn(t, Env{DNS: fake}, Spec{Type: "dns", Sub: sub})
		expect(t, r, kv...)
		if sub == "ptr" {
			continue
		}
		if _, found, err := r.Lookup(t.Context(), "down.example"); found || !errors.Is(err, resolver.ErrTemp) {
			t.Errorf("%q: SERVFAIL gave %v, %v", sub, found, err)
		}
	}
}

// mapServer answers netstrings by a function; an answer "" closes the
// connection, "\x00" stays silent, "raw:..." is sent as it is.
func mapServer(t *testing.T, network string, answer func(request string) string) (spec string, conns *atomic.Int64) {
	t.Helper()
	addr, spec := "127.0.0.1:0", ""
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "sock")
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		spec = "unix:" + addr + ":map"
	} else {
		spec = "inet:" + l.Addr().String() + ":map"
	}
	conns = new(atomic.Int64)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				r := bufio.NewReader(c)
				for {
					req, err := readNetstring(r)
					if err != nil {
						return
					}
					a := answer(req)
					switch {
					case a == "":
						return
					case a == "\x00":
						continue
					case strings.HasPrefix(a, "raw:"):
						io.WriteString(c, a[4:])
					default:
						fmt.Fprintf(c, "%d:%s,", len(a), a)
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return spec, conns
}

func TestSocketmap(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		spec, conns := mapServer(t, network, func(req string) string {
			switch req {
			case "map joe", "map postmaster":
				return "OK joe@example.org"
			case "map blank":
				return "OK "
			case "map a b":
				return "OK with blank"
			case "map temp":
				return "TEMP no\nidea"
			case "map perm":
				return "PERM never"
			case "map timeout":
				return "TIMEOUT slow"
			case "map nonsense":
				return "MAYBE"
			case "map close":
				return ""
			case "map huge":
				return "raw:99999999:x"
			case "map neverending":
				return "raw:" + strings.Repeat("9", 1000)
			case "map nocomma":
				return "raw:2:OK;"
			case "map text":
				return "raw:HTTP/1.1 400\n"
			}
			return "NOTFOUND "
		})
		r := openIn(t, Env{}, Spec{Type: "socketmap", File: spec})
		expect(t, r, "joe", "joe@example.org", "blank", "", "a b", "with blank", "none", "-", "x\ny", "-")
		if n := conns.Load(); n != 1 {
			t.Errorf("%s: %d connections, want one", network, n)
		}
		for _, key := range []string{"temp", "perm", "timeout", "nonsense", "close", "huge", "neverending", "nocomma", "text"} {
			_, found, err := r.Lookup(t.Context(), key)
			if found || err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %s = %v, %v; want an error on one line", network, key, found, err)
			}
		}
		expect(t, r, "joe", "joe@example.org")
	}
}

func TestSocketmapReconnects(t *testing.T) {
	var n atomic.Int64
	spec, conns := mapServer(t, "tcp", func(req string) string {
		if n.Add(1)%2 == 0 {
			return "" // the server drops connections that were used
		}
		return "OK v"
	})
	r := openIn(t, Env{}, Spec{Type: "socketmap", File: spec})
	expect(t, r, "a", "v", "b", "v", "c", "v")
	if conns.Load() < 2 {
		t.Error("no new connection was made")
	}
}

func TestSocketmapTimeout(t *testing.T) {
	spec, _ := mapServer(t, "tcp", func(req string) string {
		if req == "map slow" {
			return "\x00"
		}
		return "OK v"
	})
	env := Env{}
	r := openIn(t, env, Spec{Type: "socketmap", File: spec, Options: map[string]string{"timeout": "100ms", "connections": "1"}})
	var wg sync.WaitGroup
	for range 2 { // the second waits for the only connection
		wg.Go(func() {
			if _, found, err := r.Lookup(t.Context(), "slow"); found || err == nil {
				t.Errorf("got %v, %v; want a time-out", found, err)
			}
		})
	}
	wg.Wait()
	expect(t, r, "fast", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Lookup(ctx, "fast"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	dead := "unix:" + filepath.Join(t.TempDir(), "none") + ":map"
	if _, err := Open(Spec{Name: "n", Type: "socketmap", File: dead}); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("no server: %v", err)
	}
}

// script writes an executable shell script.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProgram(t *testing.T) {
	var log bytes.Buffer
	prog := script(t, `
echo started >&2
while IFS= read -r key; do
	case $key in
	joe) echo "OK joe@example.org $1";;
	pid) echo "OK $$";;
	"a b") echo "OK two words";;
	temp) echo "TEMP no idea";;
	twice) printf 'OK 1\nOK 2\n';;
	bad) echo nonsense;;
	die) exit 3;;
	hang) sleep 60 & wait;;
	*) echo NOTFOUND;;
	esac
done`)
	env := Env{Log: slog.New(slog.NewTextHandler(&log, nil))}
	r, err := env.Open(Spec{Name: "n", Type: "program", File: prog + " arg", Options: map[string]string{"timeout": "300ms"}})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, r, "joe", "joe@example.org arg", "a b", "two words", "none", "-", "a\njoe", "-", "$(x)", "-")
	pid, _, _ := r.Lookup(t.Context(), "pid")
	prg := r.table.(*program)
	for _, key := range []string{"temp", "bad", "die", "twice", "hang"} {
		prg.started = time.Time{} // no waiting for a restart here
		_, found, err := r.Lookup(t.Context(), key)
		if found || err == nil {
			t.Errorf("%s = %v, %v; want an error", key, found, err)
		}
		if key == "temp" {
			if now, _, _ := r.Lookup(t.Context(), "pid"); now != pid {
				t.Error("restarted after TEMP")
			}
		}
	}
	if _, _, err := r.Lookup(t.Context(), "joe"); err == nil || !strings.Contains(err.Error(), "not started again within") {
		t.Errorf("restarted at once: %v", err)
	}
	prg.started = time.Time{}
	expect(t, r, "joe", "joe@example.org arg")
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Lookup(t.Context(), "joe"); err == nil {
		t.Error("a closed table answered")
	}
	if !strings.Contains(log.String(), "started") || !strings.Contains(log.String(), "exit status 3") {
		t.Errorf("log:\n%s", log.String())
	}
	if _, err := Open(Spec{Name: "n", Type: "program", File: "/none/such"}); err == nil {
		t.Error("a command that does not exist was opened")
	}
}

func TestProgramAnswerIsBounded(t *testing.T) {
	r, err := Declare(Spec{Name: "n", Type: "program", File: script(t, "read -r k; exec cat /dev/zero")})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := r.Lookup(t.Context(), "k"); found || err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v, %v", found, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

const passwdText = "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000:& User,Room 1:/home/joe:/bin/sh\nbad line\n" +
	"joe:x:1:1:second::\n+nis::::::\n"

const groupText = "root:x:0:\nusers:x:1000:\nmail:x:8:joe,ann\nmail:x:9:ann\nwheel:x:10:joe\n"

func accountEnv(t *testing.T, sources, getent string) Env {
	return Env{
		Passwd: tmpfile(t, "passwd", passwdText), Group: tmpfile(t, "group", groupText),
		NSSwitch: tmpfile(t, "nsswitch.conf", "# switch\npasswd: "+sources+"\ngroup:  "+sources+" [NOTFOUND=return]\n"), Getent: getent,
	}
}

func TestPasswd(t *testing.T) {
	env := accountEnv(t, "files", "/none/getent")
	for sub, kv := range map[string][]string{
		"":    {"joe", "joe:x:1000:1000:& User,Room 1:/home/joe:/bin/sh", "none", "-", "1000", "-", "-n", "-", "JOE", "-", "a:b", "-", "+nis", "-", "\n", "-"},
		"uid": {"joe", "1000"}, "gid": {"joe", "1000"}, "name": {"joe", "Joe User"}, "home": {"joe", "/home/joe"}, "shell": {"root", "/bin/sh"},
	} {
		expect(t, openIn(t, env, Spec{Type: "passwd", Sub: sub}), kv...)
	}
	expect(t, openIn(t, env, Spec{Type: "group"}), "mail", "mail:x:8:joe,ann", "none", "-")
	expect(t, openIn(t, env, Spec{Type: "group", Sub: "members"}), "mail", "joe ann", "root", "")
	expect(t, openIn(t, env, Spec{Type: "group", Sub: "gid"}), "mail", "8")
}

func TestPasswdUnreadable(t *testing.T) {
	for _, text := range []string{"", "rubbish\n"} {
		env := accountEnv(t, "files", "-")
		env.Passwd = tmpfile(t, "passwd", text)
		r, err := env.Declare(Spec{Name: "n", Type: "passwd"})
		if err != nil {
			t.Fatal(err)
		}
		if _, found, err := r.Lookup(t.Context(), "joe"); found || err == nil {
			t.Errorf("%q: %v, %v; want an error", text, found, err)
		}
	}
}

func TestGetent(t *testing.T) {
	getent := script(t, `
echo "$*" >> "$0.log"
case $* in
"passwd ann") echo "ann:x:2000:2000:Ann:/home/ann:/bin/sh";;
"passwd wrong") echo "other:x:1:1:::";;
"passwd down") exit 1;;
"passwd junk") echo "junk";;
"passwd silent") ;;
"group staff") echo "staff:x:50:ann,joe";;
*) exit 2;;
esac`)
	env := accountEnv(t, "files sss", getent)
	r := openIn(t, env, Spec{Type: "passwd", Sub: "uid"})
	for range 2 {
		expect(t, r, "joe", "1000", "ann", "2000", "none", "-", "2000", "-", "wrong", "-", "--help", "-", "a b", "-", "$(x)", "-")
	}
	for _, key := range []string{"down", "junk", "silent"} {
		if _, found, err := r.Lookup(t.Context(), key); found || err == nil {
			t.Errorf("%s = %v, %v; want an error", key, found, err)
		}
	}
	calls, err := os.ReadFile(getent + ".log")
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]int{"passwd ann\n": 1, "passwd none\n": 1, "joe": 0, "help": 0, "2000": 0, "a b": 0} {
		if n := strings.Count(string(calls), word); n != want {
			t.Errorf("getent %q called %d times, want %d", word, n, want)
		}
	}
	expect(t, openIn(t, env, Spec{Type: "group", Sub: "members"}), "staff", "ann joe", "none", "-")

	env.Getent = "/none/getent" // the switch names it and nobody can ask it
	a := newAccounts(env)
	if _, found, err := a.User(t.Context(), "ann"); found || err == nil {
		t.Errorf("without getent: %v, %v; want an error", found, err)
	}
	if _, found, err := a.User(t.Context(), "joe"); !found || err != nil {
		t.Errorf("without getent, in the file: %v, %v", found, err)
	}
}

func TestGetentTimeout(t *testing.T) {
	env := accountEnv(t, "files ldap", script(t, "sleep 60"))
	a := newAccounts(env)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, found, err := a.User(ctx, "ann"); found || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, %v", found, err)
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add(passwdText)
	f.Add(groupText)
	f.Fuzz(func(t *testing.T, line string) {
		if u, err := parseUser(line); err == nil && (u.Name == "" || strings.Contains(u.Name, ":")) {
			t.Errorf("user %+v", u)
		}
		if g, err := parseGroup(line); err == nil && g.Name == "" {
			t.Errorf("group %+v", g)
		}
		User{Name: line, Gecos: line}.FullName()
	})
}

func FuzzNetstring(f *testing.F) {
	f.Add([]byte("5:OK ab,"))
	f.Add([]byte("0:,"))
	f.Add([]byte("99999999999:"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readNetstring(bufio.NewReader(bytes.NewReader(data)))
		if err == nil && len(s) > len(data) {
			t.Error("more than was sent")
		}
		parseAnswer(s)
	})
}
