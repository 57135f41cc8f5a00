package vacation

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/spool"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// A home is a user joe with a home directory, in an instance of his own.
type home struct {
	t         testing.TB
	dir, root string
}

func newHome(t testing.TB) *home {
	t.Helper()
	dir := t.TempDir()
	h := &home{t, filepath.Join(dir, "home"), filepath.Join(dir, "postoffice")}
	if err := spool.Create(h.root, false); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(h.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.file("../zmailer.conf", "POSTOFFICE="+h.root+"\nHOSTNAME=host.example\nMYDOMAIN=my.example\nMAILSHARE="+dir+"\nSPOOLSYNC=none\n")
	h.file("../db/users", fmt.Sprintf("joe %d %d %s\n", os.Getuid(), os.Getgid(), h.dir))
	t.Setenv("ZCONFIG", filepath.Join(dir, "zmailer.conf"))
	t.Setenv("SENDER", "")
	os.Unsetenv("SENDER")
	return h
}

func (h *home) file(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func vacation(in string, args ...string) (string, error) {
	cmd := Command()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(in))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

// An answer is what lies in the spool.
type answerFile struct {
	env    *spool.Envelope
	header rfc5322.Header
	body   string
}

// answers takes all answers out of the spool.
func (h *home) answers() []answerFile {
	h.t.Helper()
	dir := filepath.Join(h.root, spool.RouterDir)
	names, err := os.ReadDir(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	var list []answerFile
	for _, n := range names {
		path := filepath.Join(dir, n.Name())
		b, err := os.ReadFile(path)
		if err != nil {
			h.t.Fatal(err)
		}
		env, offset, err := spool.ReadEnvelope(bufio.NewReader(bytes.NewReader(b)))
		if err != nil {
			h.t.Fatal(err)
		}
		msg := b[offset:]
		header, body, err := rfc5322.ParseHeader(msg)
		if err != nil || body == header.Len() {
			h.t.Fatalf("header of the answer: %v\n%s", err, msg)
		}
		list = append(list, answerFile{env, header, string(msg[body:])})
		if err := os.Remove(path); err != nil {
			h.t.Fatal(err)
		}
	}
	return list
}

const (
	from = "From ann@example.net Mon Jan  1 10:00:00 2024\n"
	toMe = "To: joe@my.example\n"
)

// incomingTests are messages and whether they are answered.
var incomingTests = []struct {
	name, in string
	args     string
	answered bool
}{
	{"plain", from + toMe + "Subject: s\n\nhi\n", "", true},
	{"cc", from + "To: x@y.example\nCc: Joe <joe@other.example>\n\nhi\n", "", true},
	{"resent-to", from + "To: x@y.example\nResent-To: joe\n\n", "", true},
	{"in a group", from + "To: us: ann@x.example, joe@my.example;\n\n", "", true},
	{"folded to", from + "To: ann@x.example,\n joe@my.example\n\n", "", true},
	{"case", from + "TO: JOE@MY.EXAMPLE\n\n", "", true},
	{"detail", from + "To: joe+shop@my.example\n\n", "", true},
	{"comment", from + "To: joe@my.example (Joe Doe)\n\n", "", true},
	{"other list element is broken", from + "To: @@,, joe@my.example\n\n", "", true},
	{"not to me", from + "To: ann@x.example\nSubject: joe\n\n", "", false},
	{"name as a part", from + "To: joey@my.example, ajoe@my.example, x@joe\n\n", "", false},
	{"name in a phrase", from + "To: joe <ann@x.example>\n\n", "", false},
	{"no to", from + "Subject: s\n\n", "", false},
	{"no header", from + "\nTo: joe\n", "", false},
	{"-j", from + "Subject: s\n\n", "-j", true},
	{"-a name", from + "To: info@x.example\n\n", "-a info", true},
	{"-a address", from + "To: info@x.example\n\n", "-a info@x.example", true},
	{"-a other address", from + "To: info@y.example\n\n", "-a info@x.example", false},
	{"null sender", "From <> Mon Jan 1\n" + toMe + "\n", "", false},
	{"MAILER-DAEMON line", "From MAILER-DAEMON Mon Jan 1\n" + toMe + "\n", "", false},
	{"null return path", "Return-Path: <>\n" + toMe + "\n", "", false},
	{"return path", "Return-Path: <ann@example.net>\n" + toMe + "\n", "", true},
	{"line before return path", "From <> x\nReturn-Path: <ann@example.net>\n" + toMe + "\n", "", false},
	{"no sender", toMe + "From: ann@example.net\n\n", "", false},
	{"unreadable sender", "From a@b@c Mon\n" + toMe + "\n", "", false},
	{"postmaster", "From postmaster@x.example Mon\n" + toMe + "\n", "", false},
	{"mailer-daemon", "From Mailer-Daemon@x.example Mon\n" + toMe + "\n", "", false},
	{"uucp", "From uucp@x.example Mon\n" + toMe + "\n", "", false},
	{"-request", "From list-request@x.example Mon\n" + toMe + "\n", "", false},
	{"-relay", "From a-relay@x.example Mon\n" + toMe + "\n", "", false},
	{"owner-", "From Owner-list@x.example Mon\n" + toMe + "\n", "", false},
	{"-owner", "From list-owner@x.example Mon\n" + toMe + "\n", "", false},
	{"verp", "From list-bounces+joe=my.example@x.example Mon\n" + toMe + "\n", "", false},
	{"no-reply", "From no-reply@x.example Mon\n" + toMe + "\n", "", false},
	{"contains request", "From requester@x.example Mon\n" + toMe + "\n", "", true},
	{"self", "From joe@my.example Mon\n" + toMe + "\n", "", false},
	{"self by hostname", "From joe@HOST.example Mon\n" + toMe + "\n", "", false},
	{"self unqualified", "From joe Mon\n" + toMe + "\n", "", false},
	{"self by alias", "From info@x.example Mon\n" + toMe + "\n", "-a info@x.example", false},
	{"same name elsewhere", "From joe@elsewhere.example Mon\n" + toMe + "\n", "", true},
	{"precedence bulk", from + toMe + "Precedence: bulk\n\n", "", false},
	{"precedence list", from + toMe + "precedence:  List\n\n", "", false},
	{"precedence junk", from + toMe + "Precedence: junk (really)\n\n", "", false},
	{"precedence first-class", from + toMe + "Precedence: first-class\n\n", "", true},
	{"list-id", from + toMe + "List-Id: <x.example>\n\n", "", false},
	{"list-unsubscribe", from + toMe + "LIST-UNSUBSCRIBE: <mailto:x@y>\n\n", "", false},
	{"list as a name", from + toMe + "X-Wish-List: pony\n\n", "", true},
	{"auto-generated", from + toMe + "Auto-Submitted: auto-generated\n\n", "", false},
	{"auto-replied", from + toMe + "Auto-Submitted: Auto-Replied (vacation)\n\n", "", false},
	{"auto-notified", from + toMe + "Auto-Submitted: auto-notified; owner-email=\"a@b\"\n\n", "", false},
	{"auto-submitted no", from + toMe + "Auto-Submitted: no\n\n", "", true},
	{"auto-submitted no with a comment", from + toMe + "Auto-Submitted: NO (by hand)\n\n", "", true},
	{"report", from + toMe + "Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n", "", false},
	{"spam", from + toMe + "X-Spam-Flag: YES\n\n", "", false},
	{"suppress", from + toMe + "X-Auto-Response-Suppress: DR, OOF\n\n", "", false},
	{"suppress other", from + toMe + "X-Auto-Response-Suppress: RN, NRN\n\n", "", true},
	{"x-autoreply", from + toMe + "X-Autoreply: yes\n\n", "", false},
	{"crlf", strings.ReplaceAll(from+toMe+"Subject: s\n\nhi\n", "\n", "\r\n"), "", true},
	{"field in the body", from + toMe + "\nPrecedence: bulk\n", "", true},
	{"empty", "", "", false},
}

func TestIncoming(t *testing.T) {
	h := newHome(t)
	for _, tt := range incomingTests {
		t.Run(tt.name, func(t *testing.T) {
			h.t = t
			args := append(strings.Fields(tt.args), "-d", "-r", "0", "joe")
			out, err := vacation(tt.in, args...)
			if err != nil {
				t.Fatal(err)
			}
			list := h.answers()
			if len(list) != map[bool]int{true: 1}[tt.answered] {
				t.Fatalf("%d answers\n%s", len(list), out)
			}
			if tt.answered {
				checkAnswer(t, list[0])
			}
		})
	}
}

// checkAnswer looks for what every answer must have.
func checkAnswer(t *testing.T, a answerFile) {
	t.Helper()
	if !a.env.HasFrom || a.env.From != "" || len(a.env.To) != 1 || a.env.To[0].Notify != "NEVER" {
		t.Errorf("envelope %+v", a.env)
	}
	for name, want := range map[string]string{
		"Auto-Submitted": "auto-replied", "Precedence": "bulk", "To": a.env.To[0].Addr, "From": "joe@my.example", "MIME-Version": "1.0",
	} {
		if got := a.header.All(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Date", "Message-ID", "Subject", "Content-Type"} {
		if a.header.Count(name) != 1 {
			t.Errorf("%d fields %s", a.header.Count(name), name)
		}
	}
}

func (h *home) one(in string, args ...string) answerFile {
	h.t.Helper()
	if out, err := vacation(in, append(args, "joe")...); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	list := h.answers()
	if len(list) != 1 {
		h.t.Fatalf("%d answers", len(list))
	}
	return list[0]
}

func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, text, in string
		want           map[string]string // fields; "body" is the body, "" an absent field
	}{
		{"threads", "gone\n", "Message-ID: <1@x>\nReferences: <a@x>\n <b@x>\n", map[string]string{
			"In-Reply-To": "<1@x>", "References": "<a@x> <b@x> <1@x>", "body": "gone\n"}},
		{"first answer in a thread", "gone\n", "Message-ID: <1@x>\nIn-Reply-To: <a@x>\n", map[string]string{
			"In-Reply-To": "<1@x>", "References": "<a@x> <1@x>"}},
		{"no id", "gone\n", "References: <a@x>\n", map[string]string{"In-Reply-To": "", "References": ""}},
		{"subject", "gone\n", "Subject: Hello\n", map[string]string{"Subject": "Auto: Hello", "Content-Type": "text/plain; charset=us-ascii"}},
		{"subject of the text", "Subject: away (was: $SUBJECT)\nX-A: $FROM\n\nDear $FROM, on \"$SUBJECT\": gone", "Subject: Hello\n", map[string]string{
			"Subject": "away (was: Hello)", "X-A": "ann@example.net", "body": "Dear ann@example.net, on \"Hello\": gone\n"}},
		{"encoded subject", "Subject: Re: $SUBJECT\n\n$SUBJECT\n", "Subject: =?iso-8859-1?q?Gr=FC=DFe?=\n", map[string]string{
			"Subject": rfc5322.EncodeWord("Re: Grüße"), "body": "Grüße\n", "Content-Type": "text/plain; charset=utf-8", "Content-Transfer-Encoding": "8bit"}},
		{"subject that breaks out", "Subject: $SUBJECT\n\n$SUBJECT\n", "Subject: =?utf-8?q?a=0ABcc:_x@y?=\n", map[string]string{
			"Subject": "a Bcc: x@y", "Bcc": "", "body": "a Bcc: x@y\n"}},
		{"text names fields that are ours", "To: x@y\nBcc: z@y\nAuto-Submitted: no\nPrecedence: first-class\nSubject: s\n\nb\n", "", map[string]string{
			"To": "ann@example.net", "Bcc": "", "Auto-Submitted": "auto-replied", "Subject": "s"}},
		{"from of the text", "From: Jö Doe <j@my.example>\nSubject: weg – bald zurück\n\nb\n", "", map[string]string{
			"From": rfc5322.EncodeWord("Jö") + " Doe <j@my.example>"}},
		{"utf-8 text", "für Sie nicht da\n", "", map[string]string{"body": "für Sie nicht da\n", "Content-Type": "text/plain; charset=utf-8"}},
		{"latin-1 text", "f\xfcr Sie\n", "", map[string]string{"body": "f\xfcr Sie\n", "Content-Type": "text/plain; charset=unknown-8bit"}},
		{"text like a header", "Note: I am away\nuntil Monday\n", "", map[string]string{"body": "Note: I am away\nuntil Monday\n", "Note": ""}},
		{"mime", "MIME-Version: 1.0\nContent-Type: text/html\nSubject: s\n\n<p>$SUBJECT\n", "Subject: <script>\n", map[string]string{
			"Content-Type": "text/html", "body": "<p>$SUBJECT\n"}},
		{"base64", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n$SUBJECT\n", "Subject: x\n", map[string]string{"body": "$SUBJECT\n"}},
		{"crlf", "Subject: s\r\n\r\nb\r\n", "", map[string]string{"Subject": "s", "body": "b\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHome(t)
			h.file(textFile, tt.text)
			a := h.one(from + toMe + tt.in + "\nhi\n")
			for name, want := range tt.want {
				got := a.header.Get(name)
				if name == "body" {
					got = a.body
				}
				if got != want && !(name == "From" && rfc5322.DecodeWords(got) == rfc5322.DecodeWords(want)) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			for _, f := range a.header {
				if hasHighBit(f.Raw) {
					t.Errorf("not ASCII: %q", f.Raw)
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	h := newHome(t)
	if a := h.one(from+toMe+"\n", "-s", "bob@x.example", "-R", "joe@my.example"); a.to() != "bob@x.example" || a.env.From != "joe@my.example" {
		t.Errorf("-s, -R: %+v", a.env)
	}
	h.file("other.msg", "Subject: other\n\n")
	if a := h.one(from+toMe+"\n", "-m", "other.msg", "-z", "-f", "m2"); a.header.Get("Subject") != "other" {
		t.Errorf("-m: %s", a.header.Bytes())
	}
	if _, err := os.Stat(filepath.Join(h.dir, "m2")); err != nil {
		t.Errorf("-f: %v", err)
	}
	if _, err := vacation(from+"To: nobody@x.example\n\n", "-U", "-f", h.dir+"/m3", "-m", h.dir+"/other.msg", "nobody"); err != nil || len(h.answers()) != 1 {
		t.Errorf("-U: %v", err)
	}
	t.Setenv("SENDER", "env@x.example")
	if a := h.one(toMe + "\n"); a.to() != "env@x.example" {
		t.Errorf("SENDER: %+v", a.env)
	}
	for _, tt := range []struct {
		args string
		code int
	}{
		{"-I", proc.OK}, {"-i joe", proc.OK}, {"-l joe", proc.OK}, {"-x joe", proc.OK}, {"-I -r 3 joe", proc.OK}, {"-I -t 4w joe", proc.OK},
		{"-Z joe", proc.Usage}, {"joe ann", proc.Usage}, {"-r", proc.Usage}, {"-r 3x joe", proc.Usage}, {"-U joe", proc.Usage},
		{"-R a@b@c joe", proc.Usage}, {"-s @ joe", proc.Usage}, {"no-such-user", proc.NoUser},
	} {
		if _, err := vacation("", strings.Fields(tt.args)...); proc.Code(err) != tt.code {
			t.Errorf("%s: %v, want status %d", tt.args, err, tt.code)
		}
	}
	if out, err := vacation("", "--help"); err != nil || !strings.Contains(out, "-x ") {
		t.Errorf("--help: %q, %v", out, err)
	}
}

func (a answerFile) to() string { return a.env.To[0].Addr }

// A spool that cannot be used now defers the message and leaves no entry.
func TestSpoolGone(t *testing.T) {
	h := newHome(t)
	if err := os.Rename(h.root, h.root+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := vacation(from+toMe+"\n", "joe"); proc.Code(err) != proc.TempFail {
		t.Errorf("error %v", err)
	}
	if err := os.Rename(h.root+".away", h.root); err != nil {
		t.Fatal(err)
	}
	h.one(from + toMe + "\n")
}

func FuzzIncoming(f *testing.F) {
	for _, tt := range incomingTests {
		f.Add(tt.in)
	}
	a := &account{login: "joe", names: []string{"joe"}, hosts: []string{""}}
	f.Fuzz(func(t *testing.T, in string) {
		msg, err := readIncoming(strings.NewReader(in))
		if err != nil {
			t.Fatal(err)
		}
		msg.silence(a, false)
	})
}
