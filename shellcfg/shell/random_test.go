package shell

import (
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

var seed = flag.Int64("seed", 1, "seed of TestRandomBash")

// scriptGen makes random scripts out of the constructs where shells are easy to
// get wrong: quoting, splitting, patterns, nesting of expansions.
type scriptGen struct{ *rand.Rand }

func (g scriptGen) of(choices ...string) string { return choices[g.Intn(len(choices))] }

func (g scriptGen) many(limit int, f func() string) string {
	var b strings.Builder
	for n := g.Intn(limit) + 1; n > 0; n-- {
		b.WriteString(f())
	}
	return b.String()
}

func (g scriptGen) value() string {
	return g.many(8, func() string {
		return g.of("a", "b", "ab", ":", "@", ".", " ", "  ", "*", "?", "\\", "é", "-", "\t", "\n", "[a]", "'", "\"", "$x", "&", "/", "]")
	})
}

func (g scriptGen) pattern() string {
	return g.many(4, func() string {
		return g.of("a", "b", "*", "?", "[ab]", "[!a]", "\\*", "\"*\"", "'?'", "\"$y\"", "$z", ":", "@", ".", "[[:punct:]]", "\\\\", "é", "[a-c]", "*", "\"$x\"")
	})
}

func (g scriptGen) param() string {
	name := g.of("x", "y", "z", "u", "1", "2", "3", "9", "@", "a[0]", "a[1]", "a[@]")
	if g.Intn(8) == 0 { // bash joins and splits these in ways of its own when there is an operator
		return g.of("$*", "${a[*]}", "$@")
	}
	switch g.Intn(16) {
	case 0:
		return "${" + name + "#" + g.pattern() + "}"
	case 1:
		return "${" + name + "##" + g.pattern() + "}"
	case 2:
		return "${" + name + "%" + g.pattern() + "}"
	case 3:
		return "${" + name + "%%" + g.pattern() + "}"
	case 4:
		return "${" + name + g.of("/", "//", "/#", "/%") + g.of("a", "b", "[ab]", "?", "*", ":*", "\"$y\"", "a*b", " ") + "/" + g.of("", "Q", "\"$x\"", "$y", "'q r'") + "}"
	case 5:
		return "${" + name + g.of(":-", "-", ":+", "+") + g.of("", "d", "d e", "\"d e\"", "$x", "\"$x\"", "\"$@\"", "${y:-n}") + "}"
	case 6:
		return "${" + name + ":" + g.of("0", "1", "2", " -1", " -2", "9") + g.of("", ":0", ":1", ":2") + "}"
	case 7:
		return "${" + name + g.of("^", "^^", ",", ",,") + "}"
	case 8:
		return "${#" + name + "}"
	default:
		return "${" + name + "}"
	}
}

func (g scriptGen) word() string {
	return g.many(3, func() string {
		switch g.Intn(6) {
		case 0:
			return g.of("lit", "b", "\\ ", "'s q'", "''", "\"\"", "\"d q\"", "\\*")
		case 1:
			return "\"" + g.of("", "p", " ") + g.param() + g.of("", "s", " ", g.param()) + "\""
		case 2:
			return g.of("$(printf '%s' \"$x\")", "\"$(printf '%s\\n' \"$y\")\"", "$((${#x}+1))", "$#")
		default:
			return g.param()
		}
	})
}

func (g scriptGen) statement() string {
	switch g.Intn(8) {
	case 0:
		return "case " + g.word() + " in " + g.pattern() + ") echo 1;; " + g.pattern() + "|" + g.pattern() + ") echo 2;; *) echo 3;; esac"
	case 1:
		return "[[ " + g.word() + " == " + g.pattern() + " ]]; echo $?"
	case 2:
		return "v=" + g.word() + "; printf '<%s>' \"$v\"; echo"
	case 3:
		return "for i in " + g.word() + " " + g.word() + "; do printf '<%s>' \"$i\"; done; echo"
	case 4:
		return "IFS=" + g.of(":", "' '", "' :'", "a", "@.") + "; show " + g.word() + " " + g.word() + "; unset IFS"
	case 5:
		return "IFS=" + g.of(":", "' :'", "$' \\t\\n'") + " read " + g.of("", "-r ") + g.of("p", "p q", "p q r") + " <<< " + g.word() + "; echo \"<$p><$q><$r>\""
	case 6:
		return "b=(" + g.word() + " " + g.word() + "); show \"${b[@]}\"; echo \"${#b[@]}\""
	default:
		return "show " + g.word() + " " + g.word()
	}
}

// TestRandomBash compares random scripts with bash: one more table, which
// nobody has chosen. Run it with other seeds to look further.
func TestRandomBash(t *testing.T) {
	g := scriptGen{rand.New(rand.NewSource(*seed))}
	var b strings.Builder
	b.WriteString("show() { printf '%d' $#; printf '<%s>' \"$@\"; echo; }\n")
	for i := 0; i < 40; i++ {
		fmt.Fprintf(&b, "x=%s y=%s z=%s; unset u; a=(%s %s); set -- %s %s\n", quoteAtQ(g.value()), quoteAtQ(g.value()),
			quoteAtQ(g.value()), quoteAtQ(g.value()), quoteAtQ(g.value()), quoteAtQ(g.value()), quoteAtQ(g.value()))
		b.WriteString("echo \"## ${x@Q} ${y@Q} ${z@Q} a=(${a[0]@Q} ${a[1]@Q}) args: ${1@Q} ${2@Q}\"\n")
		for j := 0; j < 20; j++ {
			s := g.statement()
			fmt.Fprintf(&b, "echo %s\n%s\n", quoteAtQ("## "+s), s)
		}
	}
	compareBash(t, b.String())
}
