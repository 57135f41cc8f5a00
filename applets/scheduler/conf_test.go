package scheduler

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStockConfig(t *testing.T) {
	c, err := LoadConfig(t.Context(), filepath.Join(t.TempDir(), "none"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for channel, command := range map[string]string{"local": "mailbox", "smtp": "smtp", "error": "errormail", "hold": "hold"} {
		if got := c.Match(channel, "some.host").Command; got != command {
			t.Errorf("%s: command %q, want %q", channel, got, command)
		}
	}
}

func TestMatch(t *testing.T) {
	const text = `
match '*/*' interval=10s expiry=1d12h maxthr=3 command=any
match 'smtp/*.Example.org' interval=20s retries='1 2 3' queueonly command="smtp -F $RELAY"
match 'smtp/{a,b}.test' maxthr=7
for h in x y; do match "smtp/$h.test" nice=5 ageorder; done
match 'smtp/[0-9]*' byhost=yes
match 'smtp' ageorder=no
queue report-interval=1m double-bounce=root@x start-rate=7
`
	c, err := parseConfig(t.Context(), "s.conf", []byte(text), map[string]string{"RELAY": "[10.1.1.1]"})
	if err != nil {
		t.Fatal(err)
	}
	if c.ReportInterval != time.Minute || c.DoubleBounce != "root@x" || c.StartRate != 7 {
		t.Errorf("%+v", c)
	}
	for _, tt := range []struct{ channel, host, pattern, where string }{
		{"SMTP", "Mail.example.ORG", "smtp/*.Example.org", "s.conf:3"},
		{"smtp", "example.org", "smtp", "s.conf:7"},
		{"smtp", "b.test", "smtp/{a,b}.test", "s.conf:4"},
		{"smtp", "y.test", "smtp/y.test", "s.conf:5"},
		{"smtp", "192.0.2.1", "smtp/[0-9]*", "s.conf:6"},
		{"local", "", "*/*", "s.conf:2"},
	} {
		cl := c.Match(tt.channel, tt.host)
		if cl.Pattern != tt.pattern || cl.Where != tt.where {
			t.Errorf("%s/%s: %s at %s, want %s at %s", tt.channel, tt.host, cl.Pattern, cl.Where, tt.pattern, tt.where)
		}
		if cl.Expiry != 36*time.Hour {
			t.Errorf("%s: expiry %v was not inherited", cl.Pattern, cl.Expiry)
		}
	}
	cl := c.Match("smtp", "a.example.org")
	if cl.Command != "smtp -F [10.1.1.1]" || !cl.QueueOnly || cl.Interval != 20*time.Second || cl.MaxThr != 3 {
		t.Errorf("%+v", cl)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"match", "want a pattern"},
		{"\nmatch 'x/*' speed=9", "s.conf:2"},
		{"match 'x/*' speed=9", `unknown attribute "speed"`},
		{"match 'x/*' maxrings=9", "write maxring"},
		{"match 'x/*' reporttimes=4h", "use delay-warning"},
		{"queue metrics=0.0.0.0:9225", "loopback address"},
		{"match 'x/*' maxthr", "want maxthr=value"},
		{"match 'x/*' maxthr=0", "want a number from 1"},
		{"match 'x/*' maxthr=many", "want a number"},
		{"match 'x/*' interval=soon", "want a time"},
		{"match 'x/*' interval=0", "want a time"},
		{"match 'x/*' interval=1d1x", "want a time"},
		{"match 'x/*' interval=", "want a time"},
		{"match 'x/*' expiry=99999999999999999999d", "want a time"},
		{"match 'x/*' retries=", "want 1 to 100"},
		{"match 'x/*' retries='1 0'", "want a number"},
		{"match 'x/*' byhost=perhaps", "want yes or no"},
		{"match '/x'", "empty half"},
		{"match 'x/[a'", "without"},
		{"match 'x/*a*b*c*d*e*f*g'", "too many"},
		{"match 'x/*'\nmatch '*/*' maxthr=1", "put it first"},
		{"match 'x/*' rate=7", "want a number of messages and a time"},
		{"match 'x/*' rate=0/1h", "want a number from 1"},
		{"match 'x/*' sender-rate=7/soon", "want a time"},
		{"queue speed=1", "unknown setting"},
		{"queue start-rate=0", "want a number"},
		{"mach 'x/*'", "mach"},
		{"match 'x/*' (", "s.conf:1"},
		{"while true; do :; done", "fuel"},
		{"echo hello >&2", "hello"},
	} {
		_, err := parseConfig(t.Context(), "s.conf", []byte(tt.text), nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestCommandWords(t *testing.T) {
	c := &Clause{Command: "TZ=UTC A=b smtp -h $host -c ${channel} x=y"}
	env, argv := c.command("smtp", "b.test; rm -rf /")
	if got := strings.Join(env, "|"); got != "TZ=UTC|A=b" {
		t.Errorf("environment %s", got)
	}
	if got := strings.Join(argv, "|"); got != "smtp|-h|b.test; rm -rf /|-c|smtp|x=y" {
		t.Errorf("words %s", got)
	}
	if !c.perHost() || (&Clause{Command: "smtp $channel"}).perHost() {
		t.Error("perHost")
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "a/b", true}, {"a*c", "abbc", true}, {"a*c", "abb", false}, {"?", "", false}, {"?", "x", true},
		{"[a-c]x", "bx", true}, {"[a-c]x", "dx", false}, {"[^a-c]x", "dx", true}, {"[^a-c]x", "ax", false}, {"[ac]", "c", true},
		{"{a,bc}d", "bcd", true}, {"{a,bc}d", "bd", false}, {"{a,b*}.x", "bbb.x", true}, {"", "", true}, {"", "a", false},
		{"*.x.*", "a.x.b", true}, {"[", "[", false}, {"{", "{", false},
	} {
		if got := glob(tt.pattern, tt.s); got != tt.want {
			t.Errorf("glob(%q, %q) = %v", tt.pattern, tt.s, got)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(string(Stock))
	f.Add("match 'x/{a,b}' interval=1d2h retries='1 2' byhost")
	f.Fuzz(func(t *testing.T, text string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c, err := parseConfig(ctx, "s.conf", []byte(text), nil)
		if err != nil {
			return
		}
		cl := c.Match("smtp", "b.test")
		if d := cl.delay(1000); d < time.Second || cl.delay(0) < time.Second {
			t.Errorf("delay of %v", d)
		}
	})
}

func TestReadableStock(t *testing.T) {
	if !strings.HasPrefix(string(Stock), "# scheduler.conf") || len(Stock) > maxConf {
		t.Error("stock configuration has no heading")
	}
	for key := range attributes {
		if !strings.Contains(string(Stock), key) {
			t.Errorf("stock configuration does not explain %s", key)
		}
	}
	if _, err := os.Stat("scheduler.conf"); err != nil {
		t.Error(err)
	}
}

// TestDropped: the manual page names every attribute of ZMailer that is gone, and none
// that is there.
func TestDropped(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/scheduler.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	for key := range dropped {
		if _, ok := attributes[key]; ok {
			t.Errorf("%s is there", key)
		}
		if !strings.Contains(string(page), strings.TrimSuffix(key, "s")) {
			t.Errorf("scheduler.conf(5) does not say what became of %s", key)
		}
	}
	for key := range attributes {
		if !strings.Contains(string(page), key) {
			t.Errorf("scheduler.conf(5) does not have %s", key)
		}
	}
}
