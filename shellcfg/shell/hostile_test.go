package shell

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

var hostile = []string{
	"$(touch /tmp/x)", "`id`", "${HOME}", "$HOME", "$((1+1))", "*", "?", "[a-z]*", "-n", "-e", "--", "-", "!", "(", ")", "]",
	"a b", " lead", "trail ", "a\tb", "a\nb", "\n", "\n\n", "a\n\n", "'", `"`, `a'b"c`, `\`, `\\`, `a\`, `\n`, `\*`, ";ls", "a;b", "a|b", "a&b",
	"&", "<x", ">x", "#x", "~", "~root", "{a,b}", "{1..9}", "a=b", "=", "==", "x]", "[[", "%s%n", "%", "é", "日本語", "\xff\xfe", "a\xc3", "\x01\x1b[0m",
	"a[$(id)]", "0", "-1", "1e9", "999999999999999999999999", "@", "@@", "a@b@c", "", " ", "\t", "IFS", "$'\\n'", "$\"x\"", "!!", "a\r\n", "${x:-y}", "#", "/", "//", ".", "..",
}

const hostileScript = `
same() {
	local v=$1 w x y z
	w="$v"; x=${v}; y=$v$v; z="${v:-default}"
	[ "$w" = "$1" ] || { echo "assign"; return; }
	[ "$x" = "$w" ] || { echo "braces"; return; }
	[ "$y" = "$1$1" ] || { echo "concat"; return; }
	[[ $v == "$1" ]] || { echo "dbracket"; return; }
	case "$v" in "$1") ;; *) echo "case"; return ;; esac
	case "$v" in *"$1"*) ;; *) echo "contains"; return ;; esac
	[ "${v#"$1"}" = "" ] || { echo "prefix"; return; }
	[ "${v%"$1"}" = "" ] || { echo "suffix"; return; }
	[ "x${v}y" = "x$1"y ] || { echo "join"; return; }
	w="a$v"; [ "${w#a}" = "$v" ] || { echo "strip"; return; }
	w="a@$v"; [ "${w#*@}" = "$v" ] || { echo "strip at"; return; }
	w="$v%b"; [ "${w%\%*}" = "$v" ] || { echo "strip pct"; return; }
	w=x; w=${w/x/"$v"}; [ "$w" = "$v" ] || { echo "replace"; return; }
	w=x; w=${w/x/$v}; [ "$w" = "$v" ] || { echo "replace unquoted"; return; }
	local a=("$v" "$@"); [ "${a[0]}" = "$v" ] && [ "${#a[@]}" = 2 ] && [ "${a[1]}" = "$v" ] || { echo "array"; return; }
	local -A m; m[$v]=1; m["k"]="$v"; [ "${m[k]}" = "$v" ] || { echo "assoc"; return; }
	set -- "$@" "$v"; [ $# = 2 ] && [ "$2" = "$v" ] || { echo "set"; return; }
	local IFS=; for w in $v; do [ "$w" = "$v" ] || { echo "for"; return; }; done
	arg "$v" "$#" && arg2 "$@" && [ "$(pass "$v")" = "$v" ] || { echo "pass"; return; }
	printf -v w '%s' "$v"; [ "$w" = "$v" ] || { echo "printf v"; return; }
	[ ${#v} -gt 2000 ] || evals || return
	IFS= read -r w <<< "${v//$'\n'/ }"; [ "$w" = "${v//$'\n'/ }" ] || { echo "read"; return; }
	host "$v"
}
evals() {
	printf -v w '%q' "$v"; eval "x=$w"; [ "$x" = "$v" ] || { echo "printf q: $w"; return 1; }
	eval "x=${v@Q}"; [ "$x" = "$v" ] || { echo "at Q: ${v@Q}"; return 1; }
}
arg() { [ "$1" = "$v" ] && [ "$2" = 2 ] && [ $# = 2 ]; }
arg2() { [ $# = 2 ]; }
pass() { printf '%s\n' "$1"; }
`

// TestHostileValues: values come through every construct unharmed and nothing
// in them is evaluated.
func TestHostileValues(t *testing.T) {
	opts := Options{Commands: map[string]Command{
		"host": func(c *Call) int { fmt.Fprintf(c.Stdout, "ok %q", c.Args); return 0 },
	}}
	p := load(t, opts, hostileScript)
	s := session(t, p)
	values := append([]string{strings.Repeat("x", 64<<10), strings.Repeat("$(x)`y`*", 8<<10), strings.Repeat("\\", 1000)}, hostile...)
	for _, v := range values {
		if strings.HasSuffix(v, "\n") {
			continue // $(...) removes newlines at the end, as it should
		}
		out, _, err := s.Output("same", v)
		if err != nil {
			t.Errorf("%.60q: %v", v, err)
			continue
		}
		if want := fmt.Sprintf("ok %q", []string{v}); out != want {
			t.Errorf("%.60q: %.100s", v, out)
		}
	}
}

// TestHostileBash holds the splitting and matching of odd values against bash.
func TestHostileBash(t *testing.T) {
	var b strings.Builder
	for _, v := range hostile {
		if strings.Contains(v, "\xff") || strings.HasSuffix(v, "\xc3") {
			continue
		}
		fmt.Fprintf(&b, "v=%s\n", quoteAtQ(v))
		b.WriteString(`set -- $v; printf '%s|' $# "$@"; set -- a$v"$v"b; printf '%s|' $# "$@"; printf '%s|' "${#v}" "${v:0:1}" "${v: -1}" "${v^^}" "${v%?}" "${v#?}" "${v##*[a-z]}" "${v//[!a-z]/.}" "${v/a/b}"
case abc in $v) printf 'm|';; esac; case $v in [[:alnum:]]*) printf 'n|';; ?) printf 'o|';; esac; case $v in *[!a-z]) printf p;; esac
printf '%q|%b|%5s|%-5s|%.1s\n' "$v" "$v" "$v" "$v" "${v//[!a-z]/}"; echo "$v"; echo -e "$v"
for IFS in '' : ' :' a; do set -- $v; printf '%s|' $# "$@"; read -r x y <<< "$v"; printf '%s|' "$x" "$y"; read x y <<< "$v"; printf '%s|' "$x" "$y"; done; unset IFS
if [ "$v" ]; then echo 1; fi; if [ -n "$v" ]; then echo 2; fi; if [ "$v" = "$v" ]; then echo 3; fi; if [ "$v" -eq 0 ] 2>/dev/null; then echo 4; fi; if [[ $v == *" "* ]]; then echo 5; fi
`)
	}
	compareBash(t, b.String())
}

func TestLoadNUL(t *testing.T) {
	p, err := Load(context.Background(), Options{}, "t", strings.NewReader("x=a\x00b\n"))
	if err == nil {
		if v, _ := p.Var("x"); strings.Contains(v, "\x00") {
			t.Errorf("NUL in a variable: %q", v)
		}
	}
}
