package shell

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// refused is what Load rejects, with a part of the message.
var refused = []struct{ script, want string }{
	{"sleep 1 &", "background"},
	{"trap 'x' EXIT", "trap: not supported"},
	{"f() { exec ls; }", "exec: not supported"},
	{"cd /tmp", "absolute paths"},
	{"select x in a; do :; done", "select"},
	{"coproc x", "coproc"},
	{"time ls", "time"},
	{"cat <(ls)", "process substitution"},
	{"echo x >file", "writing to file"},
	{"echo x >>file", "writing to file"},
	{"cat <file", "reading file"},
	{". other.cf", "no other files"},
	{"cat 3<&0", "file descriptor 3"},
	{"echo >&3", "not supported"},
	{"echo <>x", "not supported"},
	{"echo {fd}>/dev/null", "descriptor"},
	{"echo $!", "$!"},
	{"echo $RANDOM", "$RANDOM"},
	{"x=${PIPESTATUS[0]}", "pipefail"},
	{"declare -i x=1", "declare -i"},
	{"declare -n x=y", "declare -n"},
	{"local -p", "local -p"},
	{"export -p", "export -p"},
	{"declare -f f", "declare -f"},
	{"case x in @(a|b)) ;; esac", "extended pattern"},
	{"[[ x == !(a) ]]", "extended pattern"},
	{`[[ x =~ \w ]]`, `\w`},
	{"[[ x =~ ( ]]", "test.cf:1:"},
	{"[[ x =~ [z-a] ]]", "invalid character class range"},
	{"echo ~root/x", "~root"},
	{`echo $"translated"`, "translations"},
	{`echo "${x:-'$y'}"`, "single quotes"},
	{"echo ${x@A}", "${x@...}"},
	{"echo {1..100000}", "brace expansion"},
	{"echo {a,b}{1..4000}", "brace expansion"},
	{"a=(1) echo x", "array"},
	{"[[ x+1 -eq 2 ]]", "(( ... ))"},
	{"echo ${1:=x}", "cannot assign"},
	{"alias x=y", "write a function"},
	{"x=$((1 +))", "test.cf:1:"},
	{"x=$((09))", "not a number"},
	{"x=$((1++))", "test.cf:1:"},
	{"if true", "test.cf:1:"},
	{"echo 'open", "test.cf:1:"},
	{"\n\nx=(", "test.cf:3:"},
	{"echo ${x!}", "test.cf:1:"},
	{strings.Repeat("(", 300) + "x" + strings.Repeat(")", 300), "nested more than"},
	{strings.Repeat("{ ", 300) + "x" + strings.Repeat("; }", 300), "nested more than"},
	{"x=" + strings.Repeat("$(", 300) + "x" + strings.Repeat(")", 300), "nested more than"},
	{"x=$((" + strings.Repeat("(", 300) + "1" + strings.Repeat(")", 300) + "))", "nested more than"},
	{strings.Repeat("# comment\n", 20000), "larger than"},
}

func TestRefused(t *testing.T) {
	for _, c := range refused {
		_, err := Load(context.Background(), Options{}, "test.cf", strings.NewReader(c.script+"\n"))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.script, err, c.want)
			continue
		}
		if e.Pos.File != "test.cf" || e.Pos.Line == 0 && !strings.Contains(c.want, "larger") {
			t.Errorf("%.60q: position %+v", c.script, e.Pos)
		}
	}
}

func TestNoEval(t *testing.T) {
	opts := Options{NoEval: true}
	_, err := Load(context.Background(), opts, "test.cf", strings.NewReader("eval x=1"))
	if err == nil || !strings.Contains(err.Error(), "eval") {
		t.Error(err)
	}
	for _, script := range []string{"e=eval; $e x=1", "command eval x=1", "builtin eval x=1", "command command eval x=1"} {
		if _, err := Load(context.Background(), opts, "test.cf", strings.NewReader(script)); err == nil {
			t.Errorf("%s: eval was allowed", script)
		}
	}
}

// fatal is what ends an evaluation with an error where bash would go on or
// give a status: a broken script must not look like an answer.
var fatal = []struct{ script, want string }{
	{"nosuchcommand", `unknown command "nosuchcommand"`},
	{"x=nosuch; $x", `unknown command "nosuch"`},
	{"y=$(nosuch)", "unknown command"},
	{"nosuch || true", "unknown command"},
	{"set -u; echo $x", "x: unbound variable"},
	{"set -u; echo $1", "$1: unbound variable"},
	{"set -u; echo ${x#a}", "x: unbound variable"},
	{"set -u; y=$(echo $x)", "x: unbound variable"},
	{"set -u; (( x + 1 ))", "x: unbound variable"},
	{": ${x:?no value}", "x: no value"},
	{": ${x?}", "parameter null or not set"},
	{"readonly r=1; r=2", "r: readonly variable"},
	{"readonly r=1; f() { local r=2; }; f", "readonly"},
	{"readonly r=1; unset r", "readonly"},
	{"readonly r=1; read r <<< x", "readonly"},
	{"readonly r=1; for r in a; do :; done", "readonly"},
	{"readonly r=1; r=2 true", "readonly"},
	{"readonly r=1; (( r = 2 ))", "readonly"},
	{"readonly -a a=(1); a[0]=2", "readonly"},
	{"x=$((1/0))", "division by 0"},
	{"x=0; ((1 % x))", "division by 0"},
	{"((2 ** -1))", "exponent"},
	{"x='a[$(id)]'; echo $((x))", "is not a number"},
	{"x='1+1'; echo $((x))", "is not a number"},
	{"x='$(id)'; echo $(($x))", "is not a number"},
	{"x='a[0]'; [[ $x -eq 0 ]]", "is not a number"},
	{"x='y z'; a[$x]=1", "is not a number"},
	{"a[-1]=x", "bad array subscript"},
	{"set -x", "set: option"},
	{"set +f", "pathname"},
	{"set -o posix", "not supported"},
	{"shopt -s nullglob", "shopt"},
	{"return 1", "return: not in a function"},
	{"break", "only meaningful in a loop"},
	{"for i in 1; do (break); done", "only meaningful in a loop"},
	{"for i in 1; do break 0; done", "out of range"},
	{"exit abc", "numeric"},
	{"local x", "local: can only"},
	{"shift x", "numeric"},
	{"x=a-b; unset \"$x\"", "not a name"},
	{"x=a-b; read \"$x\" <<< 1", "not a variable name"},
	{"x='a b'; echo ${!x}", "not a variable name"},
	{"x='a b'; f() { local \"$x=1\"; }; f", "not a variable name"},
	{"printf '%f' 1", "%f: not supported"},
	{"n=x; echo >$n", "writing files is not allowed"},
	{"n=x; cat <$n", "reading files is not allowed"},
	{"x=trap; $x", "trap: not supported"},
	{"x=-i; declare $x y", "option -i"},
	{"read -t 5 x", "read: option"},
	{"IFS=é; x=a; set -- $x", "IFS"},
	{"\n\neval 'if'", "script:3:1:"},
	{"x=abc; echo ${x:2:-2}", "substring expression"},
	{"echo $((08 + 1)) || :; x=08; echo $((x))", "not a number"},
	{"declare -A m; declare -a m", "cannot convert"},
}

func TestFatal(t *testing.T) {
	for _, c := range fatal {
		_, _, err := runScript(Options{}, c.script+"\necho survived\n")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.script, err, c.want)
		}
	}
}
