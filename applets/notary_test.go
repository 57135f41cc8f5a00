package applets

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The table of RFC 3461 over real dialogues: every NOTIFY, RET, ORCPT and ENVID comes
// in by SMTP for recipients here and behind a next hop that knows DSN and one that does
// not, which are accepted, refused or put off; the reports come back by mail and are
// read by Python's email package.

var (
	notaryNotify = []string{"", "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"}
	notaryEnds   = []string{"ok", "bad", "late"}
	notaryHosts  = []string{"knows.test", "plain.test", "mx.test"}
)

// A notaryRcpt is a recipient of the table.
type notaryRcpt struct {
	host, end, notify string
	orcpt             bool
	addr              string
}

func (r *notaryRcpt) original() string {
	return "rfc822;First+2B" + strings.ReplaceAll(r.addr, "+", "+2B")
}

// wants is the action that is to be reported, or empty.
func (r *notaryRcpt) wants() string {
	asked := func(word string) bool {
		return r.notify == "" && word != "SUCCESS" || strings.Contains(r.notify, word)
	}
	switch {
	case r.end == "ok" && r.host == "plain.test" && asked("SUCCESS"):
		return "relayed"
	case r.end == "ok" && r.host == "mx.test" && asked("SUCCESS"):
		return "delivered"
	case r.end == "bad" && asked("FAILURE"):
		return "failed"
	case r.end == "late" && asked("DELAY"):
		return "delayed"
	}
	return "" // or the next hop will report
}

func notaryRcpts() (list []*notaryRcpt) {
	for _, host := range notaryHosts {
		for _, end := range notaryEnds {
			if host == "mx.test" && end != "ok" {
				continue // refused at RCPT, or it would be this host's own trouble
			}
			for n, notify := range notaryNotify {
				for _, orcpt := range []bool{false, true} {
					r := &notaryRcpt{host: host, end: end, notify: notify, orcpt: orcpt}
					r.addr = fmt.Sprintf("%s-%d-%v@%s", end, n, orcpt, host)
					if host == "mx.test" {
						r.addr = "ann+" + r.addr
					}
					list = append(list, r)
				}
			}
		}
	}
	return list
}

// A notaryMessage has all recipients; RET and ENVID are its own.
type notaryMessage struct{ ret, envid string }

func (m notaryMessage) subject() string { return "case " + m.ret + " " + m.envid }

func notaryMessages() (list []notaryMessage) {
	for _, ret := range []string{"", "FULL", "HDRS"} {
		for _, envid := range []string{"", "QQ+2B314"} {
			list = append(list, notaryMessage{ret, envid})
		}
	}
	return list
}

// A hop is a next hop; it keeps the commands of the envelopes.
type hop struct {
	dsn bool

	mu   sync.Mutex
	seen map[string]map[string]string // by MAIL command: RCPT commands by address
}

func (h *hop) session(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	r := bufio.NewReader(c)
	out := bufio.NewWriter(c)
	say := func(text string) { out.WriteString(text + "\r\n") }
	say("220 hop.test ESMTP")
	var mail, subject string
	rcpts := make(map[string]string)
	for {
		if r.Buffered() == 0 {
			out.Flush()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			say("250-hop.test\r\n250-PIPELINING")
			if h.dsn {
				say("250-DSN")
			}
			say("250 ENHANCEDSTATUSCODES")
		case "MAIL":
			mail = arg
			clear(rcpts)
			say("250 2.1.0 ok")
		case "RCPT":
			addr, _, _ := strings.Cut(strings.TrimPrefix(arg, "TO:<"), ">")
			switch {
			case strings.HasPrefix(addr, "bad"):
				say("550 5.1.1 no such user")
			case strings.HasPrefix(addr, "late"):
				say("451 4.2.1 not now")
			default:
				rcpts[addr] = arg
				say("250 2.1.5 ok")
			}
		case "DATA":
			if len(rcpts) == 0 {
				say("554 5.5.1 no recipients")
				break
			}
			say("354 go on")
			out.Flush()
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if v, ok := strings.CutPrefix(line, "Subject: "); ok {
					subject = strings.TrimRight(v, "\r\n")
				}
				if line == ".\r\n" {
					break
				}
			}
			h.enter(subject, mail, rcpts)
			say("250 2.0.0 stored")
		case "QUIT":
			say("221 2.0.0 bye")
			out.Flush()
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

func (h *hop) enter(subject, mail string, rcpts map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.seen[subject]
	if m == nil {
		m = make(map[string]string)
		h.seen[subject] = m
	}
	m["MAIL"] = mail
	for addr, arg := range rcpts {
		m[addr] = arg
	}
}

var hops sync.Map // by WORK directory: map[string]*hop

// hopsCmd starts the next hops and has the policy send their domains' mail there.
func hopsCmd(ts *testscript.TestScript, neg bool, args []string) {
	all := make(map[string]*hop)
	policy := "\nintercept() {\n\tcase $2@$3 in\n"
	var clauses string
	for _, name := range notaryHosts[:2] {
		h := &hop{dsn: name == "knows.test", seen: make(map[string]map[string]string)}
		all[name] = h
		// Those that are put off have a port of their own, for a clause of their own.
		late, port := h.listen(ts), h.listen(ts)
		policy += fmt.Sprintf("\tlate*@%s) deliver smtp '[127.0.0.1]:%d' \"$1\" ;;\n", name, late)
		policy += fmt.Sprintf("\t*@%s) deliver smtp '[127.0.0.1]:%d' \"$1\" ;;\n", name, port)
		// A warning names all that are pending; a busy host needs a while for the others.
		clauses += fmt.Sprintf("match 'smtp/*:%d' delay-warning=6s command=smtp\n", late)
	}
	hops.Store(ts.Getenv("WORK"), all)
	appendFile(ts, filepath.Join(ts.Getenv("ETC"), "router.cf"), policy+"\tesac\n}\n")
	path := filepath.Join(ts.Getenv("ETC"), "scheduler.conf")
	conf, err := os.ReadFile(path)
	ts.Check(err)
	before, after, found := strings.Cut(string(conf), "match 'smtp/*'")
	if !found {
		ts.Fatalf("no clause for smtp in scheduler.conf")
	}
	text := before + clauses + "match 'smtp/*'" + after + "queue report-interval=1s\n"
	ts.Check(os.WriteFile(path, []byte(text), 0o644))
}

// listen serves on a port of its own.
func (h *hop) listen(ts *testscript.TestScript) (port int) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.session(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// notaryCmd sends the messages, waits for the reports, and checks them.
func notaryCmd(ts *testscript.TestScript, neg bool, args []string) {
	work := ts.Getenv("WORK")
	for _, m := range notaryMessages() {
		ts.Check(m.send("127.0.0.1:" + ts.Getenv("PORT")))
	}
	v, _ := hops.LoadAndDelete(work)
	all := v.(map[string]*hop)
	inbox := filepath.Join(work, "home/joe/Maildir/new")
	t := &notaryTable{want: make(map[string]string)}
	for _, m := range notaryMessages() {
		for _, r := range notaryRcpts() {
			if action := r.wants(); action != "" {
				t.want[m.subject()+" "+r.addr] = action
			}
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		ts.Check(t.read(inbox))
		if t.missing() == 0 {
			break
		}
		if time.Now().After(deadline) {
			break // check says what is missing
		}
	}
	ts.Check(t.check())
	for _, m := range notaryMessages() {
		ts.Check(checkHop(all["knows.test"], m, true))
		ts.Check(checkHop(all["plain.test"], m, false))
	}
	ts.Logf("%d messages, %d recipients each, %d reports about %d recipients", len(notaryMessages()), len(notaryRcpts()), len(t.reports), len(t.want))
}

func (m notaryMessage) send(addr string) error {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	lines := []string{"EHLO client.test", "MAIL FROM:<joe@mx.test>"}
	if m.ret != "" {
		lines[1] += " RET=" + m.ret
	}
	if m.envid != "" {
		lines[1] += " ENVID=" + m.envid
	}
	for _, r := range notaryRcpts() {
		line := "RCPT TO:<" + r.addr + ">"
		if r.notify != "" {
			line += " NOTIFY=" + r.notify
		}
		if r.orcpt {
			line += " ORCPT=" + r.original()
		}
		lines = append(lines, line)
	}
	if _, _, err := c.ReadResponse(220); err != nil {
		return err
	}
	for _, line := range append(lines, "DATA") {
		if err := c.PrintfLine("%s", line); err != nil {
			return err
		}
	}
	for _, line := range lines {
		if _, _, err := c.ReadResponse(250); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	if _, _, err := c.ReadResponse(354); err != nil {
		return err
	}
	if err := c.PrintfLine("From: joe@mx.test\r\nTo: many:;\r\nSubject: %s\r\n\r\nthe body of it\r\n.", m.subject()); err != nil {
		return err
	}
	_, _, err = c.ReadResponse(250)
	return err
}

// checkHop: the parameters go on to a next hop that knows them, as they came, and to no
// other.
func checkHop(h *hop, m notaryMessage, knows bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.seen[m.subject()]
	want := "FROM:<joe@mx.test>"
	if knows && m.ret != "" {
		want += " RET=" + m.ret
	}
	if knows && m.envid != "" {
		want += " ENVID=" + m.envid
	}
	if got["MAIL"] != want {
		return fmt.Errorf("%s: MAIL %s, want %s", m.subject(), got["MAIL"], want)
	}
	for _, r := range notaryRcpts() {
		if r.end != "ok" || (r.host == "knows.test") != knows || r.host == "mx.test" {
			continue
		}
		want := "TO:<" + r.addr + ">"
		if knows && r.notify != "" {
			want += " NOTIFY=" + r.notify
		}
		if knows && r.orcpt {
			want += " ORCPT=" + r.original()
		}
		if got[r.addr] != want {
			return fmt.Errorf("%s: RCPT %s, want %s", m.subject(), got[r.addr], want)
		}
	}
	return nil
}

// A notaryTable compares the reports that came with those that are due.
type notaryTable struct {
	want    map[string]string // by subject and recipient: the action
	reports []notaryReport
}

type notaryReport struct {
	Defects    []string
	Types      []string
	Type       string `json:"report_type"`
	Auto       string
	ReturnPath string `json:"return_path"`
	Message    map[string]string
	Rcpts      []map[string]string
	Returned   string
	Subject    string
}

// read parses the mailbox.
func (t *notaryTable) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	raw := []string{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		raw = append(raw, string(b))
	}
	in, err := json.Marshal(raw)
	if err != nil {
		return err
	}
	cmd := exec.Command("python3", "../testdata/dsn/parse.py")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("python3: %w", err)
	}
	t.reports = nil
	return json.Unmarshal(out, &t.reports)
}

func (r *notaryReport) address(i int) string {
	_, addr, _ := strings.Cut(r.Rcpts[i]["final-recipient"], ";")
	return strings.TrimSpace(addr)
}

func (t *notaryTable) missing() int {
	seen := make(map[string]bool)
	for i := range t.reports {
		for j := range t.reports[i].Rcpts {
			seen[t.reports[i].Subject+" "+t.reports[i].address(j)] = true
		}
	}
	n := 0
	for key := range t.want {
		if !seen[key] {
			n++
		}
	}
	return n
}

func (t *notaryTable) check() error {
	left := make(map[string]string)
	for key, action := range t.want {
		left[key] = action
	}
	byAddr := make(map[string]*notaryRcpt)
	for _, r := range notaryRcpts() {
		byAddr[r.addr] = r
	}
	for i := range t.reports {
		r := &t.reports[i]
		at := slices.IndexFunc(notaryMessages(), func(m notaryMessage) bool { return m.subject() == r.Subject })
		if at < 0 {
			return fmt.Errorf("report about %q", r.Subject)
		}
		m := notaryMessages()[at]
		for j, rc := range r.Rcpts {
			addr := r.address(j)
			key := r.Subject + " " + addr
			if left[key] == "" || left[key] != rc["action"] {
				return fmt.Errorf("%s: reported as %s, want %q (empty: no report, or no second one)", key, rc["action"], left[key])
			}
			delete(left, key)
			if err := byAddr[addr].checkOriginal(rc["original-recipient"]); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
		if err := r.check(m); err != nil {
			return fmt.Errorf("report about %s (%s ...): %w", r.Subject, r.address(0), err)
		}
	}
	for key, action := range left {
		return fmt.Errorf("%d reports are missing, such as %s: %s", len(left), key, action)
	}
	return nil
}

func (r *notaryRcpt) checkOriginal(got string) error {
	want := strings.ReplaceAll(r.original(), "+2B", "+")
	if !r.orcpt {
		want = ""
	}
	if got = strings.ReplaceAll(got, "; ", ";"); got != want && (r.orcpt || got != "rfc822;"+r.addr) {
		return fmt.Errorf("original recipient %q, want %q", got, want)
	}
	return nil
}

func (r *notaryReport) check(m notaryMessage) error {
	full := r.Rcpts[0]["action"] == "failed" && m.ret != "HDRS"
	last := "text/rfc822-headers"
	if full {
		last = "message/rfc822"
	}
	types := "multipart/report text/plain message/delivery-status " + last
	switch {
	case len(r.Defects) > 0 || r.Type != "delivery-status" || strings.Join(r.Types, " ") != types:
		return fmt.Errorf("defects %v, types %v, want %s", r.Defects, r.Types, types)
	case strings.Contains(r.Returned, "the body of it") != full:
		return fmt.Errorf("RET=%s: content returned: %v", m.ret, !full)
	case r.ReturnPath != "<>" || !strings.HasPrefix(r.Auto, "auto-"):
		return fmt.Errorf("return path %s, Auto-Submitted %s", r.ReturnPath, r.Auto)
	case r.Message["original-envelope-id"] != strings.ReplaceAll(m.envid, "+2B", "+"):
		return fmt.Errorf("envelope id %q", r.Message["original-envelope-id"])
	}
	for _, rc := range r.Rcpts {
		if rc["action"] != r.Rcpts[0]["action"] && !strings.Contains("relayed delivered", rc["action"]) {
			return fmt.Errorf("%s beside %s", rc["action"], r.Rcpts[0]["action"])
		}
	}
	return nil
}
