package mailbox

import (
	"os"
	"strings"
	"testing"

	"zmailer/agents/protocol/protocoltest"
	"zmailer/spool/dsn"
	"zmailer/testdata/peers"
)

// procmail and maildrop take mail as programs of a .forward file.
func TestFilterPrograms(t *testing.T) {
	for _, tt := range []struct{ name, program, deliver, refuse string }{
		{"procmail", "usr/bin/procmail -pm", "DEFAULT=BOX\n", "EXITCODE=77\n:0\n/dev/null\n"},
		{"maildrop", "usr/bin/maildrop", "to \"BOX\"\n", "EXITCODE=77\nexit\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command := peers.Program(t, tt.name, tt.program)
			s := newSite(t, "mbox:/nonexistent", nil)
			box := s.dir + "/filtered"
			for name, text := range map[string]string{"good": tt.deliver, "bad": tt.refuse} {
				if err := os.WriteFile(s.dir+"/"+name, []byte(strings.ReplaceAll(text, "BOX", box)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := s.deliver(protocoltest.To("s@example.net", to("|"+command+" "+s.dir+"/good"), to("|"+command+" "+s.dir+"/bad")))
			want(t, r[0], dsn.OK, "2.1.5")
			want(t, r[1], dsn.Failed, "5.7.1")
			if text := read(t, box); !strings.Contains(text, "Subject: test\n") || !strings.HasSuffix(strings.TrimRight(text, "\n"), "hello") {
				t.Errorf("%q", text)
			}
		})
	}
}
