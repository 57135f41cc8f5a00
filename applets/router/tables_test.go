package router

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"zmailer/spool"
)

func TestTables(t *testing.T) {
	st := newSite(t, map[string]string{"db/aliases": "sales: joe\n"})
	path := st.spool.RunPath(tablesSocket)
	for range 2 { // the second finds the socket of the first
		tell, err := listenTables(path, st.r.policy, st.r.log)
		if err != nil {
			t.Fatal(err)
		}
		defer tell.Close()
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	st.control(&spool.Envelope{HasFrom: true, From: "a@b.example", To: []spool.Recipient{{Addr: "sales"}}}, "Subject: x\n\ny\n")
	text, err := askTables(path)
	if err != nil {
		t.Fatal(err)
	}
	var r tablesReport
	if err := json.Unmarshal(text, &r); err != nil || r.Config == "" || r.Pid != os.Getpid() {
		t.Fatalf("%v: %s", err, text)
	}
	found := false
	for _, s := range r.Tables {
		if s.Lookups != s.Hits+s.Misses+s.Failures || s.Since.IsZero() {
			t.Errorf("%+v", s)
		}
		if s.Name == "aliases" {
			found = s.Hits > 0 && s.Misses > 0 && !s.Changed.IsZero()
		}
	}
	if !found {
		t.Errorf("aliases were asked and it does not show: %s", text)
	}
	var out bytes.Buffer
	if err := printTables(&out, text, false, time.Now()); err != nil || !strings.Contains(out.String(), "\naliases ") {
		t.Errorf("%v: %s", err, out.String())
	}
	if err := printTables(&out, []byte("x"), false, time.Now()); err == nil {
		t.Error("nonsense was taken for an answer")
	}
}
