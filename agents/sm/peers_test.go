package sm

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"zmailer/spool/dsn"
	"zmailer/testdata/peers"
)

// procmail and maildrop deliver what sm gives them, and say with their status what
// becomes of it.
func TestProcmailAndMaildrop(t *testing.T) {
	for _, tt := range []struct {
		name, program string
		deliver       string // rc file that delivers to BOX
		refuse        string // rc file that ends with status %d
	}{
		{"procmail", "usr/bin/procmail -pm",
			"DEFAULT=BOX\nLOCKEXT=.lock\n", "EXITCODE=%d\n:0\n/dev/null\n"},
		{"maildrop", "usr/bin/maildrop",
			"to \"BOX\"\n", "EXITCODE=%d\nexit\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			rc, box := dir+"/rc", dir+"/box"
			write := func(text string) {
				if err := os.WriteFile(rc, []byte(strings.ReplaceAll(text, "BOX", box)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(tt.deliver)
			deliver := site(t, "mailer x flags=lPE command='"+peers.Program(t, tt.name, tt.program)+" "+rc+"'")
			m := rcpts("joe")
			m.Body = "From the start\n.\nend\n"
			for range 2 {
				if r := deliver(m); r[0].Action != dsn.OK {
					t.Fatalf("%+v", r)
				}
			}
			b, err := os.ReadFile(box)
			if n := strings.Count(string(b), "\nFrom s@example.net ") + strings.Count(string(b[:min(5, len(b))]), "From "); err != nil || n != 2 ||
				strings.Count(string(b), ">From the start\n.\nend\n") != 2 || !strings.Contains(string(b), "Return-Path: <s@example.net>\n") {
				t.Errorf("mailbox (%v):\n%s", err, b)
			}
			for status, want := range map[int]dsn.Action{1: dsn.Deferred, 65: dsn.Failed, 67: dsn.Failed, 69: dsn.Failed, 75: dsn.Deferred, 77: dsn.Failed, 100: dsn.Deferred} {
				write(fmt.Sprintf(tt.refuse, status))
				if r := deliver(rcpts("joe")); r[0].Action != want {
					t.Errorf("status %d: %+v", status, r)
				}
			}
		})
	}
}
