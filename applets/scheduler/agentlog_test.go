package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"zmailer/spool"
)

func TestAgentLine(t *testing.T) {
	id := string(spool.NewID())
	for _, tt := range []struct{ in, want string }{
		{"spoolid=" + id + " msg=transaction relay=mx err=\"a b\"", "transaction [spoolid=" + id + " relay=mx err=a b]"},
		{"msg=hello applet=router x=1", "hello [x=1]"},
		{"plain words", "agent [text=plain words]"},
		{"a=1 then words", "agent [a=1 text=then words]"},
		{"a=1 b=\"unfinished", "agent [a=1 text=b=\"unfinished]"},
		{"spoolid=wrong a=1", "agent [text=spoolid=wrong a=1]"},
		{"=1", "agent [text==1]"},
		{"", "agent []"},
	} {
		msg, attrs := agentLine(tt.in)
		if got := msg + " " + fmt.Sprint(attrs); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.in, got, tt.want)
		}
	}
}

func FuzzAgentLine(f *testing.F) {
	f.Add(`spoolid=x msg="a\tb" c=d`)
	f.Fuzz(func(t *testing.T, s string) {
		_, attrs := agentLine(s)
		if len(attrs) > strings.Count(s, "=")+1 {
			t.Errorf("%d attributes of %q", len(attrs), s)
		}
	})
}
