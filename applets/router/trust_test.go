package router

import (
	"errors"
	"os"
	"strings"
	"testing"

	"zmailer/spool"
)

// stranger makes a submitted message the file of an untrusted user.
func (st *site) stranger(id spool.ID) {
	st.t.Helper()
	if os.Geteuid() != 0 {
		st.t.Skip("needs root to give files away")
	}
	if err := os.Chown(st.spool.Path(spool.RouterDir, id), 4321, 4321); err != nil {
		st.t.Fatal(err)
	}
}

// TestUntrusted: what a stranger says about himself is not believed, and his file
// is not the one that is delivered.
func TestUntrusted(t *testing.T) {
	st := newSite(t, map[string]string{"db/users": "joe 0 0 /nonexistent\nmallory 4321 4321 /nonexistent\n"})
	for _, tt := range []struct {
		name string
		env  *spool.Envelope
		msg  string
		from string
		want []string
	}{
		{"lies", &spool.Envelope{HasFrom: true, From: "boss@example.org", RcvdFrom: "bank.example", With: "ESMTPSA", AuthUser: "boss", Client: "192.0.2.1", ErrorMsg: true, MayRelay: true,
			To: []spool.Recipient{{Addr: "joe"}}}, "From: boss@example.org\n\nx\n", "boss@example.org", []string{
			"(ZMailer, from userid 4321)", "X-Authentication-Warning: mail.example.org: mallory set sender to <boss@example.org> using -f\n",
			"Sender: mallory@example.org\n", "!bank.example", "!ESMTPSA"}},
		{"nothing", &spool.Envelope{To: []spool.Recipient{{Addr: "joe"}}}, "Subject: x\n\nx\n", "mallory@example.org", []string{
			"From: mallory@example.org\n", "!X-Authentication-Warning", "!Sender:"}},
		{"himself", &spool.Envelope{HasFrom: true, From: "mallory", To: []spool.Recipient{{Addr: "joe"}}}, "From: mallory\n\nx\n", "mallory@example.org", []string{
			"From: mallory@example.org\n", "!X-Authentication-Warning", "!Sender:"}},
		{"null", &spool.Envelope{HasFrom: true, To: []spool.Recipient{{Addr: "joe"}}}, "From: mallory\n\nx\n", "", []string{"!X-Authentication-Warning"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := st.submit(tt.env, tt.msg)
			st.stranger(id)
			mine, err := os.OpenFile(st.spool.Path(spool.RouterDir, id), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer mine.Close()
			if err := st.route(id); err != nil {
				t.Fatal(err)
			}
			if _, err := mine.WriteAt([]byte("overwritten"), 0); err != nil {
				t.Fatal(err)
			}
			c := st.read(id)
			m, err := spool.OpenMessage(st.spool.QueuePath(id), id)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if m.Owner != os.Getuid() || m.Env.Owner != "4321" || c.Attr.Owner != "4321" || c.Attr.AuthUser != "" || c.Attr.ErrorMsg {
				t.Errorf("owner %d, %s; %+v", m.Owner, m.Env.Owner, c.Attr)
			}
			if got := c.Groups[0].Sender.User; got != tt.from {
				t.Errorf("sender %q, want %q", got, tt.from)
			}
			h := string(c.Groups[0].Header)
			for _, want := range tt.want {
				if absent, not := strings.CutPrefix(want, "!"); not == strings.Contains(h, strings.TrimPrefix(want, "!")) {
					t.Errorf("%q in\n%s", absent, h)
				}
			}
			whole, err := os.ReadFile(st.spool.QueuePath(id))
			if err != nil {
				t.Fatal(err)
			}
			if string(whole[c.BodyOffset:]) != "x\n" {
				t.Errorf("body %q", whole[c.BodyOffset:])
			}
		})
	}
}

// TestDeferredCopy: the copy of a stranger's message keeps his name while it waits.
func TestDeferredCopy(t *testing.T) {
	st := newSite(t, map[string]string{
		"db/users":  "joe 0 0 /nonexistent\nmallory 4321 4321 /nonexistent\n",
		"router.cf": ". cf/router.cf\nrelation -t text -f %d/later later\nelsewhere() { later x && deliver smtp far \"$1\"; }\n",
	})
	id := st.submit(&spool.Envelope{To: []spool.Recipient{{Addr: "x@far.example"}}}, "Subject: x\n\nx\n")
	st.stranger(id)
	if err := st.route(id); !errors.Is(err, errDeferred) {
		t.Fatal(err)
	}
	if err := os.WriteFile(st.dir+"/later", []byte("x y\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	st.start() // as after a restart: no table is remembered
	if err := st.routeFrom(job{id: id, dir: spool.DeferredDir}); err != nil {
		t.Fatal(err)
	}
	if got := rcpts(st.read(id)); got != "[mallory@example.org]; smtp far x@far.example" {
		t.Error(got)
	}
}

func TestTrustedList(t *testing.T) {
	st := newSite(t, map[string]string{
		"zmailer.conf": "POSTOFFICE=%d/spool\nHOSTNAME=mail.example.org\nTRUSTED='joe, 77'\n",
		"db/users":     "joe 1234 1234 /nonexistent\nzmailer 99 99 /nonexistent\n",
	})
	for uid, want := range map[int]bool{0: true, os.Getuid(): true, 1234: true, 77: true, 99: true, 4321: false} {
		if st.r.trusts(uid) != want {
			t.Errorf("uid %d: trusted is not %v", uid, want)
		}
	}
}
