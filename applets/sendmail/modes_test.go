package sendmail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/applets/scheduler/queuesock"
	"zmailer/spool"
	"zmailer/spool/proc"
)

// A scheduler answers on the control socket with a list of entries, a new one each
// time it is asked.
type scheduler struct {
	mu       sync.Mutex
	requests []queuesock.Request
	lists    [][]queuesock.Entry // the last one stays
}

func (in *instance) scheduler(lists ...[]queuesock.Entry) *scheduler {
	in.t.Helper()
	l, err := net.Listen("unix", filepath.Join(in.root, spool.RunDir, queuesock.Socket))
	if err != nil {
		in.t.Fatal(err)
	}
	s := &scheduler{lists: lists}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(c)
		}
	})
	in.t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return s
}

func (s *scheduler) serve(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var req queuesock.Request
	if json.Unmarshal(line, &req) != nil {
		return
	}
	s.requests = append(s.requests, req)
	out := json.NewEncoder(c)
	switch req.Op {
	case queuesock.OpList:
		for i := range s.lists[0] {
			if e := &s.lists[0][i]; req.Select.All || slices.Contains(req.Select.IDs, e.QueueID) || e.QueueID == "" {
				out.Encode(queuesock.Answer{Entry: e})
			}
		}
		if len(s.lists) > 1 {
			s.lists = s.lists[1:]
		}
	case queuesock.OpStatus:
		out.Encode(queuesock.Answer{Status: &queuesock.Status{Messages: 7}})
	case queuesock.OpFlush:
		out.Encode(queuesock.Answer{Changed: &queuesock.Changed{Recipients: 3}, Done: true})
		return
	}
	out.Encode(queuesock.Answer{Done: true})
}

func (s *scheduler) last() queuesock.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[len(s.requests)-1]
}

func rcpt(addr, channel, host string) queuesock.Recipient {
	return queuesock.Recipient{Address: addr, Channel: channel, Host: host, State: "waiting", NextTry: time.Now().Unix() + 600}
}

func TestQueueRun(t *testing.T) {
	in := newInstance(t)
	s := in.scheduler([]queuesock.Entry{
		{QueueID: "AAA1", Sender: "ann@x.example", Recipients: []queuesock.Recipient{rcpt("joe@y.example", "smtp", "mx.y.example")}},
		{QueueID: "AAA2", Sender: "bob@x.example", Recipients: []queuesock.Recipient{rcpt("joe@y.example", "smtp", "mx.y.example"), rcpt("eve@z.example", "smtp", "mx.z.example")}},
		{QueueID: "BBB3", Sender: "", Recipients: []queuesock.Recipient{rcpt("ann", "local", "")}},
	})
	for _, tt := range []struct {
		args, ids string // ids tried, "all" for all
	}{
		{"-q", "all"}, {"-q15m", "all"}, {"-qf", "all"},
		{"-qIaaa", "AAA1 AAA2"}, {"-qIAAA1 -qIBBB", "AAA1 BBB3"}, {"-qI!AAA", "none"}, {"-q!IAAA", "BBB3"},
		{"-qSx.example", "AAA1 AAA2"}, {"-qSbob", "AAA2"}, {"-qS<>", "BBB3"}, {"-qRz.example", "AAA2"}, {"-qRJOE", "AAA1 AAA2"},
		{"-q!RJOE", "BBB3"}, {"-qRjoe -qSann", "AAA1"}, {"-qGlocal", "BBB3"}, {"-qGmx.z", "AAA2"}, {"-qGsmtp/mx.y", "AAA1 AAA2"},
	} {
		out, err := sendmail("", optionWords(tt.args)...)
		if err != nil || out != "" {
			t.Errorf("%s: %q, %v", tt.args, out, err)
			continue
		}
		got := "none"
		if req := s.last(); req.Op == queuesock.OpFlush {
			if got = strings.Join(req.Select.IDs, " "); req.Select.All {
				got = "all"
			}
		}
		if got != tt.ids {
			t.Errorf("%s: %s, want %s", tt.args, got, tt.ids)
		}
	}
	if out, err := sendmail("", "-q", "-v"); err != nil || out != "3 recipients are tried now\n" {
		t.Errorf("-v: %q, %v", out, err)
	}
	if out, err := sendmail("", "-bP"); err != nil || out != "7\n" {
		t.Errorf("-bP: %q, %v", out, err)
	}
	// -q does not take the address for its value, and the message is sent.
	if got := in.one("\n", "-q", "joe@x").to(); got != "joe@x" {
		t.Errorf("-q joe@x: %s", got)
	}
}

func TestModes(t *testing.T) {
	in := newInstance(t)
	if out, err := sendmail("", "-bp"); err != nil || !strings.Contains(out, "Mail queue is empty") {
		t.Errorf("-bp: %q, %v", out, err)
	}
	if out, err := sendmail("", "-bP"); err != nil || out != "0\n" {
		t.Errorf("-bP: %q, %v", out, err)
	}
	etc := filepath.Dir(os.Getenv("ZCONFIG"))
	aliases := filepath.Join(etc, "db/aliases")
	if err := os.Mkdir(filepath.Dir(aliases), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"-bi", "-I", "-bi -oA" + aliases, "-bi -O AliasFile=" + aliases} {
		if err := os.WriteFile(aliases, []byte("root: joe\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := sendmail("", strings.Fields(args)...)
		if err != nil || out != aliases+": 1 aliases, longest 3 bytes, 7 bytes total\n" {
			t.Errorf("%s: %q, %v", args, out, err)
		}
		if err := os.Remove(aliases + ".cdb"); err != nil {
			t.Fatal(err)
		}
	}
	out, err := sendmail("EHLO me\r\nMAIL FROM:<ann@x.example>\r\nRCPT TO:<joe@y.example>\r\nDATA\r\nSubject: s\r\n\r\nb\r\n.\r\nQUIT\r\n", "-bs")
	if err != nil || !strings.HasPrefix(out, "220 ") || !strings.Contains(out, "\r\n221 ") {
		t.Errorf("-bs: %q, %v", out, err)
	}
	if list := in.take(); len(list) != 1 || list[0].env.From != "ann@x.example" || list[0].to() != "joe@y.example" {
		t.Errorf("-bs: %+v", list)
	}
	out, err = sendmail("MAIL FROM:<ann@x.example>\r\nRCPT TO:<joe@y.example>\r\nDATA\r\nSubject: s\r\n", "-bs", "-odb", "-oem")
	if proc.Code(err) != proc.IOErr || len(in.take()) > 0 {
		t.Errorf("-bs cut: %q, %v", out, err)
	}
}

// -bv and -bt ask the policy that delivery asks.
func TestVerify(t *testing.T) {
	in := newInstance(t)
	etc := filepath.Dir(os.Getenv("ZCONFIG"))
	for name, text := range map[string]string{
		"db/aliases": "both: joe, ann@remote.example\n",
		"db/users":   fmt.Sprintf("joe %d %d %s\n", os.Getuid(), os.Getgid(), etc),
	} {
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args, want string
		code       int
	}{
		{"-bv joe", "deliver local joe", 0},
		{"-bv both", "deliver smtp remote.example", 0},
		{"-bv -v both", "aliases both: ", 0},
		{"-bv -f ann@x.example joe", "deliver local joe", 0},
		{"-bv no-such-user", "5.1.1", proc.NoUser},
		{"-bv joe no-such-user", "deliver local joe", proc.NoUser},
		{"-bv", "", proc.Usage},
		{"-bv a@b@c", "", proc.DataErr},
	} {
		out, err := sendmail("", strings.Fields(tt.args)...)
		if proc.Code(err) != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("%s: %v, want status %d\n%s", tt.args, err, tt.code, out)
		}
	}
	if out, err := sendmail("joe\n", "-bt"); err != nil || !strings.Contains(out, "local") {
		t.Errorf("-bt: %q, %v", out, err)
	}
	if list := in.take(); len(list) > 0 {
		t.Errorf("%d messages were sent", len(list))
	}
}

func TestBatch(t *testing.T) {
	in := newInstance(t)
	const head = "HELO x\nMAIL FROM:<ann@x.example>\nRCPT TO:<joe@y.example>\n"
	for _, tt := range []struct {
		name, in string
		want     string // messages, "|" between: envelope lines and first text
		says     string
		code     int
	}{
		{"one", head + "DATA\nS: s\n\nb\n.\nQUIT\n", "with BSMTP; from <ann@x.example>; to <joe@y.example>: S: s\n\nb\n", "", 0},
		{"crlf", strings.ReplaceAll(head+"DATA\nS: s\n\n..b\n.\nQUIT\n", "\n", "\r\n"), "with BSMTP; from <ann@x.example>; to <joe@y.example>: S: s\n\n.b\n", "", 0},
		{"no QUIT", head + "DATA\nS: s\n\nb\n.\n", "with BSMTP; from <ann@x.example>; to <joe@y.example>: S: s\n\nb\n", "", 0},
		{"two", head + "DATA\n\na\n.\nmail from:<>\nrcpt to: <bob>\ndata\n\nb\n.\nRSET\n",
			"with BSMTP; from <ann@x.example>; to <joe@y.example>: \na\n|with BSMTP; from <>; to <bob>: \nb\n", "", 0},
		{"parameters", "MAIL FROM:<ann@x> BODY=8bitmime RET=hdrs ENVID=e1 SIZE=5\nRCPT TO:<joe> NOTIFY=never ORCPT=rfc822;joe@z\nDATA\n\n.\n",
			"with BSMTP; bodytype 8BITMIME; envid e1; notaryret HDRS; from <ann@x>; todsn NOTIFY=NEVER ORCPT=rfc822;joe@z; to <joe>: \n", "", 0},
		{"bad parameters", "MAIL FROM:<ann@x> BODY=9 RET=x ENVID=+ FOO=1\nRCPT TO:<joe> NOTIFY=x ORCPT=y BAR\nDATA\n\n.\n",
			"with BSMTP; from <ann@x>; to <joe>: \n", "line 2: RCPT", 65},
		{"bad recipient", head + "RCPT TO:<a@b@c>\nDATA\n\n.\n", `with BSMTP; from <ann@x.example>; to <joe@y.example>; to <"TO:<a@b@c>">: ` + "\n", "line 4: RCPT", 65},
		{"bad sender", "MAIL FROM:<a@b@c>\nRCPT TO:<joe>\nDATA\n\nb\n.\nNOOP\n", "", "line 1: MAIL", 65},
		{"unknown command", "FOO\n" + head + "DATA\n\n.\n", "with BSMTP; from <ann@x.example>; to <joe@y.example>: \n", `line 1: unknown command "FOO"`, 65},
		{"no recipient", "MAIL FROM:<ann>\nDATA\nx\n.\n", "", "line 2: DATA without MAIL and RCPT", 65},
		{"ends in the message", head + "DATA\nS: s\n\nb\n", "", "", 65},
		{"ends in the transaction", head, "", "which is dropped", 65},
		{"bcc", head + "DATA\nTo: x\nBcc: y\n\nb\n.\n", "with BSMTP; from <ann@x.example>; to <joe@y.example>: To: x\n\nb\n", "", 0},
		{"long command", "MAIL FROM:<" + strings.Repeat("x", 100000) + ">\n" + head + "DATA\n\n.\n", "with BSMTP; from <ann@x.example>; to <joe@y.example>: \n", "line 1: ", 65},
		{"bad sender within a transaction", head + "MAIL FROM:<a@b@c>\nRCPT TO:<bob>\nDATA\n\nb\n.\n", "", "line 5: RCPT without MAIL", 65},
		{"utf-8", "MAIL FROM:<ann@x>\nRCPT TO:<jörg@y>\nDATA\n\n.\n", "with BSMTP; smtputf8; from <ann@x>; to <jörg@y>: \n", "", 0},
		{"empty", "", "", "", 0},
	} {
		out, err := sendmail(tt.in, "-bS")
		var got []string
		for _, m := range in.take() {
			got = append(got, m.lines()+": "+m.msg)
		}
		if proc.Code(err) != tt.code || strings.Join(got, "|") != tt.want || !strings.Contains(out, tt.says) {
			t.Errorf("%s: %v, want status %d\n%q\n%q\n%s", tt.name, err, tt.code, got, tt.want, out)
		}
	}
}

// -v shows what the scheduler says until the first attempts are over.
func TestFollow(t *testing.T) {
	in := newInstance(t)
	state := func(s string, next int64) []queuesock.Entry {
		r := queuesock.Recipient{Address: "joe@y.example", Channel: "smtp", Host: "mx", State: s, NextTry: next, DelayReason: "450 later"}
		return []queuesock.Entry{{Recipients: []queuesock.Recipient{r}}}
	}
	later := time.Now().Unix() + 600
	for _, tt := range []struct {
		name  string
		lists [][]queuesock.Entry
		says  []string
	}{
		{"deferred", [][]queuesock.Entry{nil, state("ready", 0), state("running", 0), state("waiting", later)}, []string{"accepted", " ready", " running", " waiting: 450 later"}},
		{"delivered", [][]queuesock.Entry{state("running", 0), nil}, []string{"accepted", " running", "out of the queue"}},
		{"held", [][]queuesock.Entry{state("held", 0)}, []string{"accepted", " held"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := newInstance(t)
			in.scheduler(tt.lists...)
			o, err := parseOptions([]string{"-v", "joe"})
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			f, err := o.newFollower(&out)
			if err != nil {
				t.Fatal(err)
			}
			f.follow(context.Background(), spool.NewID())
			text := out.String()
			for _, want := range tt.says {
				i := strings.Index(text, want)
				if i < 0 {
					t.Fatalf("%q is not in its place in\n%s", want, out.String())
				}
				text = text[i:]
			}
		})
	}
	// Nobody runs: it does not wait, and the message is stored all the same.
	for _, args := range []string{"-v", "-odi"} {
		out, err := sendmail("\n", args, "joe")
		if list := in.take(); err != nil || len(list) != 1 || strings.Contains(out, "router does not run") != (args == "-v") {
			t.Errorf("%s: %q, %v", args, out, err)
		}
	}
}

func TestFollowLogs(t *testing.T) {
	in := newInstance(t)
	log := filepath.Join(filepath.Dir(in.root), "scheduler")
	id := spool.NewID()
	if err := os.WriteFile(log, []byte("msg=old spoolid="+string(id)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := &options{verbose: true}
	var out bytes.Buffer
	f, err := o.newFollower(&out)
	if err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "msg=delivered spoolid=%s to=joe\nmsg=delivered spoolid=OTHER\n", id)
	if f.showLogs(id) {
		t.Error("done too early")
	}
	fmt.Fprintf(w, "msg=done spoo")
	if f.showLogs(id) {
		t.Error("done in the middle of a line")
	}
	fmt.Fprintf(w, "lid=%s\n", id)
	w.Close()
	if !f.showLogs(id) {
		t.Error("not done")
	}
	if want := fmt.Sprintf("msg=delivered spoolid=%s to=joe\nmsg=done spoolid=%s\n", id, id); out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// Names that this program answers to for other mailers.
func TestNames(t *testing.T) {
	newInstance(t)
	for name, want := range map[string]byte{"sendmail": 'm', "send-mail": 'm', "hoststat": 'h', "purgestat": 'H', "smtpd": 'd'} {
		o := &options{mode: 'm'}
		o.named(name)
		if o.mode != want {
			t.Errorf("%s: mode %c", name, o.mode)
		}
	}
}
