package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func load(tb testing.TB, opts Options, script string) *Program {
	tb.Helper()
	p, err := Load(context.Background(), opts, "test.cf", strings.NewReader(script))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func session(tb testing.TB, p *Program) *Session {
	s := p.Session(context.Background(), nil)
	tb.Cleanup(s.Close)
	return s
}

func output(tb testing.TB, s *Session, fn string, args ...string) string {
	tb.Helper()
	out, _, err := s.Output(fn, args...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func TestProgramVars(t *testing.T) {
	p := load(t, Options{Vars: map[string]string{"HOSTNAME": "h"}}, "A=1\nB=$HOSTNAME.x\nL=(p q)\nf() { :; }\n\ng() { :; }\n")
	want := map[string]string{"HOSTNAME": "h", "A": "1", "B": "h.x", "L": "p"}
	if got := p.Vars(); !reflect.DeepEqual(got, want) {
		t.Errorf("Vars: %v", got)
	}
	if l, ok := p.Array("L"); !ok || len(l) != 2 || l[1] != "q" {
		t.Errorf("Array: %q %v", l, ok)
	}
	if pos, ok := p.FuncPos("g"); !ok || pos.String() != "test.cf:6" {
		t.Errorf("FuncPos: %v %v", pos, ok)
	}
	if p.HasFunc("A") || !p.HasFunc("f") {
		t.Error("HasFunc")
	}
	if v, ok := p.Var("NOPE"); ok || v != "" {
		t.Error("Var of nothing")
	}
}

// TestSessionVanishes: nothing a session does is seen by the next.
func TestSessionVanishes(t *testing.T) {
	p := load(t, Options{}, `
g=1; a=(1 2); declare -A m=([k]=v)
dirty() { g=2; new=3; a[0]=x; a+=(3); m[k]=w; f() { echo new f; }; unset -f old; eval "dyn_$1=5"; set -u; set -- q; IFS=:; }
old() { echo old; }
f() { echo f; }
show() { echo "$g ${new-unset} ${a[*]} ${m[k]} $(f) $(old) ${dyn_x-unset} ${nope}${IFS}|$-"; }
`)
	s := p.Session(context.Background(), nil)
	want := output(t, s, "show")
	if _, err := s.Call("dirty", "x"); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Var("g"); v != "2" {
		t.Errorf("g in the session: %q", v)
	}
	if got := output(t, s, "f"); got != "new f" {
		t.Errorf("redefined function: %q", got)
	}
	s.Close()
	for i := 0; i < 3; i++ {
		s := p.Session(context.Background(), nil)
		if got := output(t, s, "show"); got != want {
			t.Errorf("after a dirty session: %q, want %q", got, want)
		}
		s.Close()
	}
	if v, _ := p.Var("g"); v != "1" {
		t.Errorf("program changed: %q", v)
	}
}

func TestHostCommand(t *testing.T) {
	type host struct{ decisions []string }
	var kept []string
	opts := Options{Commands: map[string]Command{
		"deliver": func(c *Call) int {
			h := c.Host.(*host)
			h.decisions = append(h.decisions, fmt.Sprintf("%s %q at %s", c.Name, c.Args, c.Pos))
			kept = c.Args
			return 0
		},
		"getset": func(c *Call) int {
			c.Setenv("result", c.Getenv("input")+"!")
			return 3
		},
		"upper": func(c *Call) int {
			b, _ := io.ReadAll(c.Stdin)
			fmt.Fprint(c.Stdout, strings.ToUpper(string(b)))
			return 0
		},
		"each": func(c *Call) int {
			for _, a := range c.Args[1:] {
				if st := c.Call(c.Args[0], a); st != 0 {
					return st
				}
			}
			return 0
		},
		"stack": func(c *Call) int {
			for _, f := range c.Stack() {
				fmt.Fprintf(c.Stdout, "%s<%s ", f.Func, f.Pos)
			}
			return 0
		},
	}}
	p := load(t, opts, `
route() {
	deliver smtp "$1" ''
	deliver x; : other words here to reuse the buffer
}
vars() { local input=in; getset; echo "$? $result"; }
up() { echo hi | upper; upper <<< low; }
one() { [ "$1" = b ] && return 4; echo "one $1"; }
all() { each one a b c; echo $?; }
outer() { inner; }
inner() { stack; }
override() { deliver() { echo shadowed; }; deliver; unset -f deliver; command -v deliver; }
`)
	h := &host{}
	s := p.Session(context.Background(), h)
	defer s.Close()
	if _, err := s.Call("route", "a b"); err != nil {
		t.Fatal(err)
	}
	want := []string{`deliver ["smtp" "a b" ""] at test.cf:3`, `deliver ["x"] at test.cf:4`}
	if !reflect.DeepEqual(h.decisions, want) || len(kept) != 1 || kept[0] != "x" {
		t.Errorf("decisions %q, kept %q", h.decisions, kept)
	}
	for fn, want := range map[string]string{
		"vars": "3 in!", "up": "HI\nLOW", "all": "one a\n4", "outer": "inner<test.cf:10 outer<test.cf:0 ",
		"override": "shadowed\ndeliver",
	} {
		got := output(t, s, fn)
		if fn == "outer" {
			got = strings.ReplaceAll(got, "<test.cf ", "<test.cf:0 ")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", fn, got, want)
		}
	}
}

func TestDefineWhileLoading(t *testing.T) {
	opts := Options{Commands: map[string]Command{"relation": func(c *Call) int {
		name := c.Args[0]
		if !c.Define(name, func(c *Call) int { fmt.Fprintln(c.Stdout, name, c.Args); return 0 }) {
			return 1
		}
		return 0
	}}}
	p := load(t, opts, "relation aliases\nf() { aliases joe; }\ng() { relation late; }\n")
	s := session(t, p)
	if got := output(t, s, "f"); got != "aliases [joe]" {
		t.Error(got)
	}
	if st, err := s.Call("g"); st != 1 || err != nil {
		t.Errorf("Define after Load: status %d, %v", st, err)
	}
	if u := p.Unresolved(); len(u) != 0 {
		t.Errorf("unresolved: %v", u)
	}
}

func TestUnresolved(t *testing.T) {
	p := load(t, Options{}, "f() {\n  delvier smtp\n  later\n}\nlater() { :; }\n")
	u := p.Unresolved()
	if len(u) != 1 || u[0].Name != "delvier" || u[0].Pos.Line != 2 {
		t.Fatalf("%v", u)
	}
	_, err := session(t, p).Call("f")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "test.cf:2:3: unknown command \"delvier\"") {
		t.Error(err)
	}
}

func TestLog(t *testing.T) {
	var lines []string
	opts := Options{Log: func(pos Position, line string) { lines = append(lines, pos.String()+" "+line) }}
	p := load(t, opts, "f() {\n echo one >&2\n printf 'a\\nb'\n\n}\n")
	if _, err := session(t, p).Call("f"); err != nil {
		t.Fatal(err)
	}
	want := []string{"test.cf:2 one", "test.cf:3 a", "test.cf b"}
	if len(lines) != 3 || lines[0] != want[0] || lines[1] != want[1] || !strings.HasSuffix(lines[2], " b") {
		t.Errorf("%q", lines)
	}
}

func TestTrace(t *testing.T) {
	var got []string
	tr := &Trace{
		Enter: func(f Frame, args []string) { got = append(got, fmt.Sprintf("+%s%q", f.Func, args)) },
		Leave: func(f Frame, st int) { got = append(got, fmt.Sprintf("-%s=%d", f.Func, st)) },
		Command: func(pos Position, name string, args []string, st int, took time.Duration) {
			got = append(got, fmt.Sprintf("%s%q=%d", name, args, st))
		},
		Line: func(pos Position) { got = append(got, fmt.Sprint(pos.Line)) },
	}
	opts := Options{Commands: map[string]Command{"look": func(*Call) int { return 1 }}}
	p := load(t, opts, "f() {\n g x\n look y ||\n  return 5\n}\ng() { :; }\n")
	s := session(t, p)
	s.SetTrace(tr)
	if st, err := s.Call("f", "a"); st != 5 || err != nil {
		t.Fatal(st, err)
	}
	want := `+f["a"] 2 +g["x"] 6 -g=0 3 look["y"]=1 4 -f=5`
	if g := strings.Join(got, " "); g != want {
		t.Errorf("got  %s\nwant %s", g, want)
	}
	if n := len(p.Lines()); n != 4 {
		t.Errorf("%d lines to cover: %v", n, p.Lines())
	}
}

func TestSource(t *testing.T) {
	files := map[string]string{
		"lib.cf":   "lib() { echo lib $1; }\nLOADED=yes\nreturn 3\necho not reached\n",
		"bad.cf":   "x=1\nif then\n",
		"args.cf":  "GOT=$1$2\n",
		"loop.cf":  ". loop.cf\n",
		"list.txt": "a\nb\n",
	}
	open := func(name string) (io.ReadCloser, error) {
		if text, ok := files[name]; ok {
			return io.NopCloser(strings.NewReader(text)), nil
		}
		return nil, fmt.Errorf("open %s: no such file", name)
	}
	opts := Options{Open: open}
	p := load(t, opts, ". lib.cf; ST=$?\nsource args.cf p q\nmain() { lib z; while read -r l; do echo \"<$l>\"; done <list.txt; cat list.txt; }\n")
	if v := p.Vars(); v["LOADED"] != "yes" || v["ST"] != "3" || v["GOT"] != "pq" {
		t.Errorf("%v", v)
	}
	if got := output(t, session(t, p), "main"); got != "lib z\n<a>\n<b>\na\nb" {
		t.Errorf("%q", got)
	}
	for script, want := range map[string]string{
		"\n. bad.cf":                        "bad.cf:2:",
		"\n. nope.cf":                       "test.cf:2:1: open nope.cf",
		". loop.cf":                         "nested more than",
		"while read x; do :; done <missing": "open missing",
	} {
		_, err := Load(context.Background(), opts, "test.cf", strings.NewReader(script))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", script, err, want)
		}
	}
}

type closer struct {
	strings.Builder
	closed bool
}

func (c *closer) Close() error { c.closed = true; return nil }

func TestCreate(t *testing.T) {
	files := map[string]*closer{}
	opts := Options{Create: func(name string, appending bool) (io.WriteCloser, error) {
		if name == "/full" {
			return nil, errors.New("disk full")
		}
		if files[name] == nil || !appending {
			files[name] = &closer{}
		}
		return files[name], nil
	}}
	load(t, opts, "echo a >x; { echo b; echo c >&2; } >>x 2>&1; n=y; echo d &>$n; echo e >|z")
	if files["x"].String() != "a\nb\nc\n" || files["y"].String() != "d\n" || files["z"].String() != "e\n" || !files["x"].closed {
		t.Errorf("%v", files)
	}
	if _, err := Load(context.Background(), opts, "t", strings.NewReader("echo >/full")); err == nil {
		t.Error("no error for a file that cannot be written")
	}
}

// TestConcurrent runs many sessions of one program at once; go test -race
// shows that they share nothing that changes.
func TestConcurrent(t *testing.T) {
	opts := Options{Commands: map[string]Command{"host": func(c *Call) int { fmt.Fprint(c.Stdout, c.Host); return 0 }}}
	p := load(t, opts, `
a=(1 2 3); declare -A m=([x]=y)
f() {
	local u=${1%@*} d=${1#*@} re="^u([0-9]+)$"
	a[1]=$u; m[$u]=$d; a+=("$d"); g=$1
	[[ $u =~ $re ]] && n=${BASH_REMATCH[1]}
	case $u in "$u") ;; esac
	eval "v_$u=1"
	h() { echo "$n"; }
	echo "$u $d ${a[*]} ${m[$u]} $(h) $(host) $(echo "$g" | cat)"
}`)
	var wg sync.WaitGroup
	for w := 0; w < 8; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 50; i++ {
				id := w*1000 + i
				s := p.Session(context.Background(), id)
				out, _, err := s.Output("f", fmt.Sprintf("u%d@d", id))
				want := fmt.Sprintf("u%d d 1 u%d 3 d d %d %d u%d@d", id, id, id, id, id)
				if err != nil || out != want {
					t.Errorf("%q %v, want %q", out, err, want)
				}
				s.Close()
			}
		}()
	}
	wg.Wait()
}

// TestPanic: a command that panics costs its session and nothing else.
func TestPanic(t *testing.T) {
	opts := Options{Commands: map[string]Command{"boom": func(*Call) int { panic("boom") }}}
	p := load(t, opts, "x=1\nf() { local x=2; y=$(boom); }\ng() { echo $x; }\n")
	func() {
		s := p.Session(context.Background(), nil)
		defer s.Close()
		defer func() { _ = recover() }()
		_, _ = s.Call("f")
	}()
	if got := output(t, session(t, p), "g"); got != "1" {
		t.Error(got)
	}
}

func TestExit(t *testing.T) {
	p := load(t, Options{}, "f() { g; echo no; }\ng() { exit 7; }\nh() { x=$(exit 8); return $?; }\ne() { set -e; false; echo no; }\n")
	s := session(t, p)
	for fn, want := range map[string]int{"f": 7, "g": 7, "h": 8, "e": 1} {
		if out, st, err := s.Output(fn); st != want || err != nil || out != "" {
			t.Errorf("%s: status %d, want %d, %v, %q", fn, st, want, err, out)
		}
	}
	if _, err := s.Call("nope"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}
