package router

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/policy"
	"zmailer/shellcfg/users"
	"zmailer/spool"
)

// site is a spool with a configuration and a router that does not run yet.
type site struct {
	t     testing.TB
	dir   string
	spool *spool.Spool
	r     *Router
	log   *syncBuffer
}

type syncBuffer struct {
	told func([]byte) // of each line

	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	if s.told != nil {
		s.told(p)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newSite makes a site from configuration files by name; %d in them is the
// directory.
func newSite(t testing.TB, files map[string]string) *site {
	t.Helper()
	st := &site{t: t, dir: t.TempDir(), log: new(syncBuffer)}
	id := fmt.Sprint(os.Getuid())
	all := map[string]string{
		"zmailer.conf": "POSTOFFICE=%d/spool\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nSPOOLSYNC=none\n",
		"db/users":     "joe " + id + " " + id + " %d/joe\nann " + id + " " + id + " %d/ann\nroot 0 0 /nonexistent\n",
		"db/aliases":   "both: joe, ann@remote.example\nlist: joe, x@remote.example\nowner-list: ann\n",
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(st.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "%d", st.dir)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := spool.Create(filepath.Join(st.dir, "spool"), false); err != nil {
		t.Fatal(err)
	}
	st.start()
	return st
}

func (st *site) start() {
	t := st.t
	conf, err := shellcfg.LoadConf(filepath.Join(st.dir, "zmailer.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if st.spool, err = conf.OpenSpool(); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(st.log, nil))
	u := users.New(users.Sources{Virtual: conf.Path("db/users"), Interval: time.Nanosecond})
	h, err := policy.NewHolder(context.Background(), policy.Config{Conf: conf, Log: log, Users: u})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	if st.r, err = New(st.spool, h, log); err != nil {
		t.Fatal(err)
	}
}

func (st *site) submit(env *spool.Envelope, msg string) spool.ID {
	st.t.Helper()
	id, err := st.spool.SubmitMessage(context.Background(), env, strings.NewReader(msg))
	if err != nil {
		st.t.Fatal(err)
	}
	return id
}

func (st *site) route(id spool.ID) error {
	return st.routeFrom(job{id: id, dir: spool.RouterDir})
}

func (st *site) routeFrom(j job) error {
	w := newWorker(st.r)
	return w.guarded(context.Background(), j)
}

// control routes a message and returns its control file.
func (st *site) control(env *spool.Envelope, msg string) *spool.Control {
	st.t.Helper()
	id := st.submit(env, msg)
	if err := st.route(id); err != nil {
		st.t.Fatal(err)
	}
	return st.read(id)
}

func (st *site) read(id spool.ID) *spool.Control {
	st.t.Helper()
	c, err := spool.ReadControl(st.spool.ControlPath(id))
	if err != nil {
		st.t.Fatalf("%v\n%s", err, st.log)
	}
	return c
}

func (st *site) in(dir string, id spool.ID) bool {
	_, err := os.Lstat(st.spool.Path(dir, id))
	return err == nil
}

// rcpts writes the recipients of a control file in one line.
func rcpts(c *spool.Control) string {
	var out []string
	for _, g := range c.Groups {
		out = append(out, "["+g.Sender.User+"]")
		for _, r := range g.Rcpts {
			out = append(out, fmt.Sprintf("%s %s %s", r.Channel, r.Host, r.User))
		}
	}
	return strings.Join(out, "; ")
}

func to(addrs ...string) *spool.Envelope {
	env := &spool.Envelope{External: true, HasFrom: true, From: "sender@remote.example", RcvdFrom: "client.example ([192.0.2.7])", With: "ESMTP"}
	for _, a := range addrs {
		env.To = append(env.To, spool.Recipient{Addr: a})
	}
	return env
}

const plainMessage = "From: sender@remote.example\nTo: joe@example.org\nSubject: x\n\nbody\n"

func TestRoute(t *testing.T) {
	st := newSite(t, nil)
	for _, tt := range []struct{ name, to, want string }{
		{"local", "joe@example.org", "[sender@remote.example]; local joe joe@example.org"},
		{"remote", "x@far.example", "[sender@remote.example]; smtp far.example x@far.example"},
		{"alias", "both@example.org", "[sender@remote.example]; local joe joe@example.org; smtp remote.example ann@remote.example"},
		{"list", "list@example.org", "[owner-list@example.org]; local joe joe@example.org; smtp remote.example x@remote.example"},
		{"unknown", "no@example.org", "[sender@remote.example]; error 5.1.1 no@example.org no such user here"},
		{"no address", "a b @ c", "[sender@remote.example]; error 5.1.3 \"a b @ c\" bad address syntax"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := st.control(to(tt.to), plainMessage)
			if got := rcpts(c); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			if why := c.Groups[0].Rcpts[0].Why; !strings.Contains(why, ".cf:") && why != "envelope" {
				t.Errorf("why: %q", c.Groups[0].Rcpts[0].Why)
			}
		})
	}
}

func TestHeader(t *testing.T) {
	st := newSite(t, nil)
	for _, tt := range []struct {
		name string
		env  *spool.Envelope
		msg  string
		want []string // lines in this order; a leading ! is for a line that must not be there
	}{
		{"external", to("joe@example.org"), "Return-Path: <x@y>\nBcc: seen@x\nFrom: sender\nSubject:  odd   spaces\n\nbody\n", []string{
			"Received: from client.example ([192.0.2.7])\n\tby mail.example.org (ZMailer) with ESMTP id ID\n\tfor <joe@example.org>;\n\tDATE\n",
			"Bcc: seen@x\n", "From: sender\n", "Subject:  odd   spaces\n\n", "!Return-Path", "!Message-ID", "!Date:",
		}},
		{"local", &spool.Envelope{HasFrom: true, From: "joe", FullName: "Joe Doe", To: []spool.Recipient{{Addr: "ann"}}}, "Subject: x\nTo: ann\nBcc: b@c\n\nbody\n", []string{
			"Received: by mail.example.org (ZMailer, from userid UID)\n\tid ID\n\tfor <ann@example.org>;\n\tDATE\n", "Subject: x\n", "To: ann@example.org\n",
			"Date: DATE\n", "Message-ID: <ID@mail.example.org>\n", "From: Joe Doe <joe@example.org>\n\n", "!Bcc",
		}},
		{"signed", &spool.Envelope{HasFrom: true, From: "joe", To: []spool.Recipient{{Addr: "ann"}}}, "DKIM-Signature: v=1\nFrom: joe\nTo: ann\n\nbody\n", []string{
			"From: joe\n", "To: ann\n",
		}},
		{"no recipients in header", &spool.Envelope{HasFrom: true, From: "joe", To: []spool.Recipient{{Addr: "ann"}}}, "\nbody\n", []string{
			"To: undisclosed-recipients:;\n\n",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := st.control(tt.env, tt.msg)
			h := normal(string(c.Groups[0].Header), c)
			rest := h
			for _, want := range tt.want {
				if absent, not := strings.CutPrefix(want, "!"); not {
					if strings.Contains(h, absent) {
						t.Errorf("%q is in\n%s", absent, h)
					}
					continue
				}
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("%q is not in\n%s", want, rest)
				}
				rest = after
			}
			body, err := os.ReadFile(st.spool.QueuePath(c.ID))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(body[c.BodyOffset:]); got != "body\n" {
				t.Errorf("body %q", got)
			}
		})
	}
}

// normal replaces what differs from run to run.
func normal(s string, c *spool.Control) string {
	s = strings.ReplaceAll(s, string(c.ID), "ID")
	s = strings.ReplaceAll(s, c.Arrival.Local().Format("Mon, 2 Jan 2006 15:04:05 -0700"), "DATE")
	s = strings.ReplaceAll(s, c.Arrival.Local().Format("Mon, 02 Jan 2006 15:04:05 -0700"), "DATE")
	return strings.ReplaceAll(s, fmt.Sprintf("userid %d", os.Getuid()), "userid UID")
}

// TestAddedHeader checks what the server that took a message adds to it, and that
// results in our name are believed from nobody else.
func TestAddedHeader(t *testing.T) {
	st := newSite(t, nil)
	env := to("joe@example.org")
	env.Submission = true
	env.Header = []string{"Authentication-Results: mail.example.org; spf=pass"}
	c := st.control(env, "Authentication-Results: (x) MAIL.example.org; dkim=pass\nAuthentication-Results: other.example; dkim=pass\nSubject: x\n\nx\n")
	h := string(c.Groups[0].Header)
	ours := strings.Index(h, "\nAuthentication-Results: mail.example.org; spf=pass\n")
	if ours < 0 || ours > strings.Index(h, "\nSubject") || !strings.Contains(h, "other.example") || strings.Contains(h, "MAIL.example.org") {
		t.Errorf("got\n%s", h)
	}
	for _, name := range []string{"Message-ID", "Date", "From"} {
		if !strings.Contains(h, "\n"+name+": ") {
			t.Errorf("no %s in\n%s", name, h)
		}
	}
}

func TestHeaderRecipients(t *testing.T) {
	st := newSite(t, nil)
	c := st.control(&spool.Envelope{HasFrom: true, From: "joe"}, "To: Ann <ann>, x@remote.example\nCc: joe\nBcc: y@remote.example\n\n")
	if got, want := rcpts(c), "[joe@example.org]; local ann ann@example.org; smtp remote.example x@remote.example; local joe joe@example.org; smtp remote.example y@remote.example"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	c = st.control(&spool.Envelope{HasFrom: true, From: "joe"}, "To: ann, <x@remote.example, b c\n\n")
	if got, want := rcpts(c), "[joe@example.org]; local ann ann@example.org; "; !strings.HasPrefix(got, want) || !strings.Contains(got, "; error 5.1.1 ") {
		t.Errorf("what cannot be read is not reported: %s", got)
	}
	c = st.control(&spool.Envelope{HasFrom: true, From: "joe"}, "Subject: nobody\n\n")
	if got, want := rcpts(c), "[joe@example.org]; error 5.1.3 undisclosed-recipients message names no recipient"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// TestRewriting: hosts outside see other names than people here.
func TestRewriting(t *testing.T) {
	st := newSite(t, map[string]string{
		"zmailer.conf":  "POSTOFFICE=%d/spool\nHOSTNAME=mail.example.org\nMYDOMAIN=example.org\nSPOOLSYNC=none\nMASQUERADE=example.org\nSRSSECRETS=x\n",
		"db/mailnames":  "joe Joe.Doe@example.org\n",
		"db/localnames": ".example.org\n",
	})
	env := &spool.Envelope{HasFrom: true, From: "joe", To: []spool.Recipient{{Addr: "ann"}, {Addr: "x@far.example"}, {Addr: "y@far.example"}}}
	c := st.control(env, "From: Joe <joe>\nTo: ann@pc.example.org,\n x@far.example\nSubject: joe@example.org\n\n")
	if got, want := rcpts(c), "[joe@example.org]; local ann ann@example.org; [Joe.Doe@example.org]; smtp far.example x@far.example; smtp far.example y@far.example"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for i, want := range []string{
		"From: Joe <joe@example.org>\nTo: ann@pc.example.org,\n x@far.example\nSubject: joe@example.org\n",
		"From: Joe <Joe.Doe@example.org>\nTo: ann@example.org,\n x@far.example\nSubject: joe@example.org\n",
	} {
		if !strings.Contains(string(c.Groups[i].Header), want) {
			t.Errorf("no %q in\n%s", want, c.Groups[i].Header)
		}
	}
	// A report to a sender that was rewritten goes back to him.
	p, release := st.r.policy.Acquire()
	defer release()
	s := p.Session(context.Background(), &policy.Message{Sender: "s@other.example"})
	defer s.Close()
	var from string
	s.Route(policy.Recipient{Addr: "both@example.org"}, func(d *policy.Decision) bool {
		if d.HasSender {
			from = d.Sender
		}
		return true
	})
	c = st.control(&spool.Envelope{HasFrom: true, External: true, To: []spool.Recipient{{Addr: from}}}, "\n")
	if got, want := rcpts(c), "[]; smtp other.example s@other.example"; got != want {
		t.Errorf("%s: got  %s\nwant %s", from, got, want)
	}
}

// TestSetHeader: the function process changes the header for all recipients.
func TestSetHeader(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\nprocess() {\n\tsetheader X-Junk\n\tsetheader Subject \"[out] $(header Subject)\"\n\tsetheader X-Seen 'a\nb'\n}\n"})
	c := st.control(to("joe@example.org", "x@far.example"), "X-Junk: 1\nFrom: s@remote.example\nx-junk: 2\nSubject: old\n text\n\n")
	for _, g := range c.Groups {
		if got, want := string(g.Header), "From: s@remote.example\nSubject: [out] old text\nX-Seen: a b\n\n"; !strings.HasSuffix(got, want) {
			t.Errorf("got\n%s", got)
		}
	}
}

// TestWaits: what the envelope says about when to try and whether holds for all
// recipients.
func TestWaits(t *testing.T) {
	st := newSite(t, nil)
	env := to("joe@example.org", "x@far.example")
	env.Hold, env.NotBefore = "a filter asked for it", time.Now().Add(time.Hour).Truncate(time.Second)
	c := st.control(env, "\n")
	for _, g := range c.Groups {
		for _, r := range g.Rcpts {
			if !r.Kept || !r.NotBefore.Equal(env.NotBefore) {
				t.Errorf("%+v", r)
			}
		}
	}
	env = to("joe@example.org")
	env.NotBefore = time.Now().Add(-time.Hour)
	if r := st.control(env, "\n").Groups[0].Rcpts[0]; r.Kept || !r.NotBefore.IsZero() {
		t.Errorf("%+v", r)
	}
}

// TestListHeader: members of a list see the list's fields, others do not.
func TestListHeader(t *testing.T) {
	st := newSite(t, map[string]string{"lists/talk": "joe\nx@far.example\n"})
	c := st.control(to("talk@example.org", "ann@example.org"), "From: s@remote.example\nList-Id: <old>\nSubject: x\n\n")
	if got, want := rcpts(c), "[talk-owner@example.org]; local joe joe@example.org; smtp far.example x@far.example; [sender@remote.example]; local ann ann@example.org"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if got, want := string(c.Groups[0].Header), "From: s@remote.example\nList-Id: <talk.example.org>\nSubject: x\nList-Post: <mailto:talk@example.org>\nList-Owner: <mailto:talk-owner@example.org>\n\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s", got)
	}
	if got, want := string(c.Groups[1].Header), "From: s@remote.example\nList-Id: <old>\nSubject: x\n\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

func TestLoop(t *testing.T) {
	st := newSite(t, nil)
	c := st.control(to("joe@example.org"), strings.Repeat("Received: from a by b; now\n", 50)+"\nbody\n")
	if got, want := rcpts(c), "[sender@remote.example]; error 5.4.6 joe@example.org mail loop: message has passed 50 hosts"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSetAside(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": `. cf/router.cf
process() {
	case $(header Subject) in
	freeze) freeze 'as told' ;;
	discard) discard ;;
	loop) while :; do :; done ;;
	defer) defer 4.7.1 later ;;
	esac
}`})
	for _, tt := range []struct{ subject, dir string }{
		{"freeze", spool.FreezerDir},
		{"discard", ""},
		{"loop", spool.DeferredDir},
		{"defer", spool.DeferredDir},
	} {
		id := st.submit(to("joe@example.org"), "Subject: "+tt.subject+"\n\n")
		err := st.route(id)
		if (tt.dir == spool.DeferredDir) != errors.Is(err, errDeferred) {
			t.Errorf("%s: %v", tt.subject, err)
		}
		if tt.dir != "" && !st.in(tt.dir, id) || st.in(spool.RouterDir, id) {
			t.Errorf("%s: not in %s", tt.subject, tt.dir)
		}
	}
	if !strings.Contains(st.log.String(), "router.cf:6") {
		t.Errorf("no position of the endless loop in the log:\n%s", st.log)
	}
	if err := os.WriteFile(st.spool.Path(spool.RouterDir, "0000000000000001"), []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := st.route("0000000000000001"); err != nil || !st.in(spool.PostmanDir, "0000000000000001") {
		t.Errorf("bad envelope: %v", err)
	}
	if err := os.Symlink("/etc/passwd", st.spool.Path(spool.RouterDir, "0000000000000002")); err != nil {
		t.Fatal(err)
	}
	if err := st.route("0000000000000002"); err != nil || !st.in(spool.PostmanDir, "0000000000000002") {
		t.Errorf("symbolic link: %v", err)
	}
}

func TestDeferredExpires(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\nrelation -t text -f %d/missing gone\nelsewhere() { gone \"$2\"; reject 5.1.2 'no such place'; }\n"})
	id := st.submit(to("joe@example.org", "x@far.example"), plainMessage)
	if err := st.route(id); !errors.Is(err, errDeferred) {
		t.Fatalf("%v\n%s", err, st.log)
	}
	j := job{id: id, dir: spool.DeferredDir}
	if err := st.routeFrom(j); !errors.Is(err, errDeferred) || !st.in(spool.DeferredDir, id) {
		t.Fatal(err)
	}
	st.r.now = func() time.Time { return time.Now().Add(6 * 24 * time.Hour) }
	if err := st.routeFrom(j); err != nil {
		t.Fatal(err)
	}
	if got := rcpts(st.read(id)); !strings.HasPrefix(got, "[sender@remote.example]; local joe joe@example.org; error 5.4.7 x@far.example address could not be looked up in time") || strings.Contains(got, "gone") {
		t.Error(got)
	}
	if !strings.Contains(st.log.String(), "in time: gone: ") {
		t.Errorf("no reason in the log:\n%s", st.log)
	}
}

func TestRun(t *testing.T) {
	st := newSite(t, nil)
	before := st.submit(to("joe@example.org"), plainMessage)
	w, err := st.spool.WatchRouter()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.r.Run(ctx, 2, w) }()
	ids := []spool.ID{before}
	for range 20 {
		ids = append(ids, st.submit(to("joe@example.org"), plainMessage))
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, id := range ids {
		for {
			if c, err := spool.ReadControl(st.spool.ControlPath(id)); err == nil && c.Complete {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s was not routed\n%s", id, st.log)
			}
			time.Sleep(time.Millisecond)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(st.log.String(), "msg=message"); n != len(ids) {
		t.Errorf("%d messages routed, want %d", n, len(ids))
	}
}

// TestReleased: what the administrator released is not frozen again, neither as a
// message nor for an address, and the note of it goes with the routing.
func TestReleased(t *testing.T) {
	st := newSite(t, map[string]string{"router.cf": `. cf/router.cf
process() {
	if test "$(header Subject)" = spam; then freeze 'spam'; fi
}
intercept() {
	case $3 in ice.example) freeze 'cold' ;; down.example) freeze; defer 4.4.3 'down' ;; esac
}`})
	for _, addr := range []string{"joe@example.org", "x@ice.example"} {
		subject := "x"
		if addr == "joe@example.org" {
			subject = "spam"
		}
		id := st.submit(to(addr), "Subject: "+subject+"\n\n")
		if err := st.route(id); err != nil || !st.in(spool.FreezerDir, id) {
			t.Fatalf("%s: not frozen: %v", addr, err)
		}
		if err := st.spool.Release(id); err != nil {
			t.Fatal(err)
		}
		if err := st.route(id); err != nil {
			t.Fatalf("%s: %v\n%s", addr, err, st.log)
		}
		if got := rcpts(st.read(id)); !strings.Contains(got, addr) || strings.Contains(got, "error") {
			t.Errorf("%s: %s", addr, got)
		}
		if st.spool.Released(id) {
			t.Errorf("%s: the note is still there", addr)
		}
	}
	id := st.submit(to("x@down.example"), "Subject: x\n\n")
	if err := st.route(id); err != nil {
		t.Fatal(err)
	}
	if err := st.spool.Release(id); err != nil {
		t.Fatal(err)
	}
	if err := st.route(id); !errors.Is(err, errDeferred) || !st.spool.Released(id) {
		t.Errorf("deferred: %v, released %v", err, st.spool.Released(id))
	}
}

// TestReturned: a frozen message that the administrator returns goes back for all its
// recipients, also those that stand in its header, whatever the policy would do now.
func TestReturned(t *testing.T) {
	for name, env := range map[string]*spool.Envelope{
		"envelope": to("joe@example.org", "x@far.example"),
		"header":   {HasFrom: true, From: "sender@remote.example"},
		"report":   {HasFrom: true, ErrorMsg: true, To: to("joe@example.org", "x@far.example").To},
	} {
		st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\nprocess() { if test -e %d/cold; then freeze 'cold'; fi; }\n", "cold": ""})
		id := st.submit(env, "To: joe@example.org, x@far.example\nSubject: x\n\n")
		if err := st.route(id); err != nil || !st.in(spool.FreezerDir, id) {
			t.Fatalf("not frozen: %v", err)
		}
		if err := os.Remove(filepath.Join(st.dir, "cold")); err != nil {
			t.Fatal(err)
		}
		if err := st.spool.Return(id, "5.7.0", "not\nhere"); err != nil {
			t.Fatal(err)
		}
		if st.in(spool.FreezerDir, id) {
			t.Errorf("%s: still frozen", name)
		}
		if err := st.route(id); err != nil {
			t.Fatalf("%v\n%s", err, st.log)
		}
		want := "; error 5.7.0 joe@example.org not here; error 5.7.0 x@far.example not here"
		if got := rcpts(st.read(id)); !strings.HasSuffix(got, want) {
			t.Errorf("%s: got  %s\nwant %s", name, got, want)
		}
		if st.spool.Released(id) {
			t.Errorf("%s: the note is still there", name)
		}
	}
}

// TestReleasedUndecided: where the policy has nothing but "freeze" to say, the stock
// policy decides about a released message, and what the policy says besides counts.
func TestReleasedUndecided(t *testing.T) {
	for name, tt := range map[string]struct{ policy, to, want string }{
		"router":         {`router() { freeze 'all of it'; }`, "joe@example.org", "local joe joe@example.org"},
		"router, remote": {`router() { freeze 'all of it'; }`, "x@far.example", "smtp far.example x@far.example"},
		"hook of stock":  {`elsewhere() { freeze 'out'; }`, "x@far.example", "smtp far.example x@far.example"},
		"below a list":   {`elsewhere() { freeze 'out'; }`, "both@example.org", "smtp far.example x@far.example; local joe joe@example.org"},
		"a decision":     {`router() { freeze 'all of it'; deliver hold '' "$1"; }`, "joe@example.org", "hold  joe@example.org"},
	} {
		st := newSite(t, map[string]string{"router.cf": ". cf/router.cf\n" + tt.policy + "\n", "db/aliases": "both: x@far.example, joe\n"})
		id := st.submit(to(tt.to), "Subject: x\n\n")
		if err := st.route(id); err != nil || !st.in(spool.FreezerDir, id) {
			t.Fatalf("%s: not frozen: %v", name, err)
		}
		if err := st.spool.Release(id); err != nil {
			t.Fatal(err)
		}
		if err := st.route(id); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, st.log)
		}
		if got := rcpts(st.read(id)); got != "[sender@remote.example]; "+tt.want {
			t.Errorf("%s: %s", name, got)
		}
		if st.spool.Released(id) {
			t.Errorf("%s: the note is still there", name)
		}
	}
}
