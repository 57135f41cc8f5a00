package policy_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg/policy"
)

// TestFailures breaks the policy in every way. The recipient waits, the reason
// names the place, and other recipients are not touched.
func TestFailures(t *testing.T) {
	for _, tt := range []struct{ name, cf, want string }{
		{"loop", `elsewhere() { while :; do :; done; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"recursion", `elsewhere() { elsewhere "$@"; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"unknown command", `elsewhere() { nosuchcommand; deliver smtp x "$1"; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"no decision", `elsewhere() { :; }`, "defer 4.3.5 x@far.example: policy made no decision for this address"},
		{"status 75", `elsewhere() { deliver smtp x "$1"; return 75; }`, "defer 4.3.0 x@far.example: policy could not decide now"},
		{"usage", `elsewhere() { deliver smtp; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:15: usage: deliver"},
		{"bad status", `elsewhere() { reject 4.0.0 x; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:15: usage: reject"},
		{"missing table", "relation -t text -f %d/nosuch gone\nelsewhere() { gone k || reject 5.1.2 unknown; }", "defer 4.4.3 x@far.example: gone: "},
		{"missing table, ignored", "relation -t text -f %d/nosuch gone\nelsewhere() { gone k; lookup_failed -c >/dev/null; reject 5.1.2 unknown; }", "reject 5.1.2 x@far.example: unknown"},
		{"table declared late", `elsewhere() { relation -t incore late; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:15: tables are declared at the top level"},
		{"hanging program", "slow() { sleep 60; }\nelsewhere() { slow; }", "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"missing program", `elsewhere() { /nonexistent/program; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"crossbar fails", `crossbar() { [ "$2" = local ] || nosuch; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"expand in crossbar", `crossbar() { [ "$2" = local ] || expand joe; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"two decisions in crossbar", `crossbar() { [ "$2" = local ] || { discard; discard; }; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"setsender in router", `elsewhere() { setsender joe; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"intercept fails", `intercept() { [ "$1" = joe@example.org ] || nosuch; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"many decisions", `elsewhere() { for ((i = 0; i < 2000; i++)); do deliver smtp "h$i" x; done; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
		{"big value", `elsewhere() { local x=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; while :; do x=$x$x; done; }`, "defer 4.3.5 x@far.example: policy failed: %d/router.cf:2:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := stockFiles()
			files["router.cf"] = ". cf/router.cf\n" + tt.cf + "\n"
			h := newHost(t, files)
			p := h.load()
			limit := time.Minute
			if tt.name == "hanging program" {
				limit = time.Second / 2
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			s := p.Session(ctx, &policy.Message{})
			defer s.Close()
			var got []string
			for _, a := range []string{"joe@example.org", "x@far.example"} {
				s.Route(policy.Recipient{Addr: a}, func(d *policy.Decision) bool { got = append(got, text(d)); return true })
			}
			want := strings.ReplaceAll(tt.want, "%d", h.dir)
			if len(got) != 2 || got[0] != "local joe joe@example.org" || !strings.HasPrefix(got[1], want) {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	}
}

func TestBadConfiguration(t *testing.T) {
	for _, tt := range []struct{ name, cf, want string }{
		{"syntax", "if\n", "router.cf:1:"},
		{"no router", "x() { :; }\n", "function router is not defined"},
		{"missing file", ". cf/nosuch.cf\n", "nosuch.cf"},
		{"bad relation", ". cf/router.cf\nrelation -t nosuch x\n", "router.cf:2:"},
		{"decision", "deliver a b c\n", "router.cf:1:"},
		{"eval", ". cf/router.cf\neval 'x=1'\n", "router.cf:2:"},
	} {
		h := newHost(t, map[string]string{"router.cf": tt.cf})
		_, err := policy.Load(context.Background(), h.config())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestBrokenTable: an aliases file that does not parse defers local mail, and the
// last good one is used once there was one.
func TestBrokenTable(t *testing.T) {
	files := stockFiles()
	h := newHost(t, files)
	h.write("db/aliases", "this is no alias file\n")
	p := h.load()
	if got := route(p, "joe"); len(got) != 1 || !strings.HasPrefix(got[0], "defer 4.4.3 joe: aliases: ") {
		t.Errorf("%q", got)
	}
	if got := route(p, "x@remote.example"); len(got) != 1 || got[0] != "smtp remote.example x@remote.example" {
		t.Errorf("%q", got)
	}
}

func TestHolder(t *testing.T) {
	h := newHost(t, map[string]string{"db/users": "joe 1 1 /nonexistent\n"})
	ctx := context.Background()
	holder, err := policy.NewHolder(ctx, h.config())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	old, release := holder.Acquire()
	h.write("db/aliases", "sales: joe\n")
	if !old.Changed() {
		t.Error("a new table was not noticed")
	}
	if err := holder.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	fresh, release2 := holder.Acquire()
	if got := route(fresh, "sales"); got[0] != "local joe joe@example.org" {
		t.Errorf("new version: %q", got)
	}
	if got := route(old, "sales"); !strings.HasPrefix(got[0], "reject 5.1.1") {
		t.Errorf("old version: %q", got)
	}
	release()
	release2()
	h.write("router.cf", "if\n")
	if err := holder.Reload(ctx); err == nil {
		t.Error("a broken configuration was loaded")
	}
	still, release3 := holder.Acquire()
	defer release3()
	if still != fresh || still.Version == "" {
		t.Error("the old version does not go on")
	}
	h.write("router.cf", ". cf/router.cf\nelsewhere() { discard; }\n")
	if err := holder.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	last, release4 := holder.Acquire()
	defer release4()
	if last.Version == fresh.Version {
		t.Error("versions of different configurations are equal")
	}
}

// TestForward checks whose files are believed.
func TestForward(t *testing.T) {
	h := newHost(t, stockFiles())
	p := h.load()
	forward := filepath.Join(h.dir, "home/joe/.forward")
	delivered := []string{"local joe joe@example.org"}
	check := func(what string, want []string) {
		t.Helper()
		if got := route(p, "joe"); strings.Join(got, ";") != strings.Join(want, ";") {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	h.write("home/joe/.forward", "joe@far.example\n")
	check("plain", []string{"smtp far.example joe@far.example"})
	os.Chmod(forward, 0o666)
	check("writable for all", delivered)
	os.Chmod(forward, 0o644)
	os.Chmod(filepath.Dir(forward), 0o777)
	check("directory writable for all", delivered)
	os.Chmod(filepath.Dir(forward), 0o755)
	h.write("home/joe/.forward", "# nothing\n\n")
	check("empty", delivered)
	h.write("home/joe/.forward", "\\joe, \"|/usr/bin/vacation joe\", "+h.dir+"/file, joe, ann@example.org\n")
	check("all kinds", []string{"local joe joe@example.org", "local pipe./usr/bin/vacation |/usr/bin/vacation joe", "local file." + h.dir + "/file " + h.dir + "/file", "local ann ann@example.org"})
	os.Remove(forward)
	if err := os.Mkdir(forward, 0o755); err != nil {
		t.Fatal(err)
	}
	check("directory", delivered)
	os.Remove(forward)
	if err := os.Symlink("/dev/zero", forward); err != nil {
		t.Fatal(err)
	}
	check("device", delivered)
	os.Remove(forward)
	if os.Geteuid() == 0 {
		os.Chmod(h.dir, 0o755)
		os.Chmod(filepath.Dir(h.dir), 0o755)
		h.write("db/users", strings.ReplaceAll(stockFiles()["db/users"], "joe 0 0", "joe 1234 1234"))
		h.write("home/joe/.forward", "joe@far.example\n")
		check("of root, readable", []string{"smtp far.example joe@far.example"})
		os.Chmod(forward, 0o600)
		check("of root, not readable for the user", delivered)
		os.Chown(forward, 4321, 4321)
		os.Chmod(forward, 0o644)
		check("of another user", delivered)
	}
}

// TestBigAlias expands a list of 100,000 members in bounded memory.
func TestBigAlias(t *testing.T) {
	members := 100_000
	if testing.Short() {
		members = 10_000 // under the race detector
	}
	var list strings.Builder
	for i := range members {
		list.WriteString("member")
		list.WriteString(strings.Repeat("x", i%7))
		list.WriteString(strings.Join([]string{"-", itoa(i), "@remote", itoa(i % 1000), ".example\n"}, ""))
	}
	files := stockFiles()
	files["list"] = list.String()
	p := newHost(t, files).load()
	s := p.Session(context.Background(), &policy.Message{})
	defer s.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	s.Route(policy.Recipient{Addr: "inc"}, func(d *policy.Decision) bool {
		n++
		if d.Action != policy.Deliver {
			t.Fatal(d)
		}
		return true
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n != members {
		t.Errorf("%d members", n)
	}
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 64<<20 {
		t.Errorf("%d MB in use afterwards", used>>20)
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// TestExplosion: lists of lists must not multiply.
func TestExplosion(t *testing.T) {
	var b strings.Builder
	for i := range 30 {
		b.WriteString("l" + itoa(i) + ": l" + itoa(i+1) + ", l" + itoa(i+1) + ", l" + itoa(i) + "\n")
	}
	b.WriteString("l30: joe\n")
	b.WriteString("deep0: deep1\n")
	for i := 1; i < 100; i++ {
		b.WriteString("deep" + itoa(i) + ": deep" + itoa(i+1) + "\n")
	}
	files := stockFiles()
	files["db/aliases"] = b.String()
	p := newHost(t, files).load()
	if got := route(p, "l0"); len(got) > 40 || !strings.Contains(strings.Join(got, ";"), "local joe joe@example.org") {
		t.Errorf("%d decisions %q", len(got), got)
	}
	if got := route(p, "deep0"); len(got) != 1 || !strings.HasPrefix(got[0], "reject 5.4.6") {
		t.Errorf("%q", got)
	}
}

// TestCrossbar changes deliveries, senders and headers.
func TestCrossbar(t *testing.T) {
	files := stockFiles()
	files["router.cf"] = `. cf/router.cf
crossbar() { # SENDER CHANNEL HOST USER
	case $2 in
	smtp)
		case $4 in
		*@shut.example) reject 5.7.1 'not there' ;;
		*@slow.example) deliver slow "$3" "$4" ;;
		esac
		case $1 in *@internal.example.org) setsender "${1%%@*}@example.org" ;; esac
		rewriting outside
		;;
	esac
}
rewrite() { # ADDRESS FIELD REWRITING
	case $1 in *@internal.example.org) echo "${1%%@*}@example.org" ;; esac
}
`
	p := newHost(t, files).load()
	m := &policy.Message{Sender: "joe@internal.example.org"}
	got := strings.Join(routeMessage(p, m, "joe", "a@shut.example", "b@slow.example", "c@far.example"), "; ")
	want := "local joe joe@example.org; reject 5.7.1 a@shut.example: not there; slow slow.example b@slow.example from joe@example.org; smtp far.example c@far.example from joe@example.org"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
