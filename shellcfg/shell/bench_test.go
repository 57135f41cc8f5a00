package shell

import (
	"context"
	"strings"
	"testing"
)

const benchPolicy = `
empty() { :; }
out() { echo x; }
route() {
	local user=${1%@*} host=${1#*@}
	case "$host" in
	*.example.com) deliver smtp "$host" "$1" ;;
	*) subroute "$user" "$host" ;;
	esac
}
subroute() {
	[ -n "$1" ] || return 1
	deliver smtp "$2" "$1@$2"
}
loop() { local i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; }
call() { empty; }
capture() { x=$(out); }
match() { [[ $1 =~ ^([^@]+)@(.*)$ ]]; }
split() { local IFS=,; set -- $1; echo "$3"; }
`

func benchProgram(tb testing.TB) *Program {
	opts := Options{Commands: map[string]Command{"deliver": func(c *Call) int { return 0 }}}
	p, err := Load(context.Background(), opts, "bench.cf", strings.NewReader(benchPolicy))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func benchCall(b *testing.B, fn string, args ...string) {
	s := benchProgram(b).Session(context.Background(), nil)
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Call(fn, args...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoute(b *testing.B)    { benchCall(b, "route", "joe@relay.example.net") }
func BenchmarkEmpty(b *testing.B)    { benchCall(b, "empty") }
func BenchmarkCall(b *testing.B)     { benchCall(b, "call") }
func BenchmarkCapture(b *testing.B)  { benchCall(b, "capture") }
func BenchmarkRegexp(b *testing.B)   { benchCall(b, "match", "joe@relay.example.net") }
func BenchmarkSplit(b *testing.B)    { benchCall(b, "split", "a,b,c,d") }
func BenchmarkLoop1000(b *testing.B) { benchCall(b, "loop") }

func BenchmarkSession(b *testing.B) {
	p := benchProgram(b)
	b.ReportAllocs()
	for b.Loop() {
		s := p.Session(context.Background(), nil)
		if _, err := s.Call("route", "joe@relay.example.net"); err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
