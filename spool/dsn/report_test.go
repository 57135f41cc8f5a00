package dsn

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var wantsTests = []struct {
	notify                  string
	failure, delay, success bool
}{
	{"", true, true, false},
	{"NEVER", false, false, false},
	{"FAILURE", true, false, false},
	{"DELAY", false, true, false},
	{"SUCCESS", false, false, true},
	{"SUCCESS,FAILURE", true, false, true},
	{"success, delay", false, true, true},
	{"SUCCESS,FAILURE,DELAY", true, true, true},
	{"FAILURES", false, false, false},
}

func TestWantsReport(t *testing.T) {
	for _, tt := range wantsTests {
		got := [...]bool{WantsReport(tt.notify, FailureReport), WantsReport(tt.notify, DelayReport), WantsReport(tt.notify, SuccessReport)}
		if got != [...]bool{tt.failure, tt.delay, tt.success} {
			t.Errorf("%q: %v", tt.notify, got)
		}
	}
}

const (
	testHeader = "From: a@example.org\nMessage-ID: <orig@example.org>\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\n\n"
	testBody   = "hello\n--" + "ID/\n"
)

func sample(kind Kind) *Report {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return &Report{
		Kind: kind, ID: "0123456789ABCDEF", Date: at, ReportingMTA: "mx.example.org",
		Sender: "a@example.org", OriginalID: "0123456789ABCDEE", Arrival: at.Add(-time.Hour), EnvID: "env+2Bid",
		Rcpts: []ReportRcpt{
			{Final: "joe@example.net", ORcpt: "rfc822;joe+2Bx@example.net", Last: at, Until: at.Add(time.Hour),
				Result: Result{Action: Failed, Status: "5.1.1", Text: "550 5.1.1 no\r\nsuch user", Relay: "mx.example.net[192.0.2.7]:25", Remote: true}},
			{Final: "|/usr/lib/secret/prog --password=x", Result: Result{Action: Failed}},
			{Final: "jürgen@example.net", Result: Perm("5.2.2", "mailbox %s is full", strings.Repeat("long ", 60))},
		},
		Header: []byte(testHeader), Body: strings.NewReader(testBody), BodySize: int64(len(testBody)),
	}
}

// parts parses the report with the standard library, as a stranger would.
func parts(t *testing.T, r *Report) (h mail.Header, types, bodies []string, raw string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	raw = b.String()
	if strings.Contains(raw, "\r") {
		t.Error("report holds CR")
	}
	for line := range strings.SplitSeq(raw, "\n") {
		if len(line) > 998 {
			t.Errorf("line of %d octets", len(line))
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	mr := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := mr.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		typ, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		types, bodies = append(types, typ), append(bodies, string(body))
	}
	return m.Header, types, bodies, raw
}

// A Message-ID that fills a line has no room in one of the report.
func TestLongMessageID(t *testing.T) {
	r := sample(FailureReport)
	r.Header = []byte("Message-ID: <" + strings.Repeat("x", 990) + "@y>\n\n")
	raw, _ := r.Build()
	for line := range strings.Lines(string(raw[:bytes.Index(raw, []byte("\n\n"))])) {
		if len(line) > 998 {
			t.Errorf("a line of %d octets: %.40s", len(line), line)
		}
	}
}

func TestFailureReport(t *testing.T) {
	h, types, bodies, raw := parts(t, sample(FailureReport))
	if got := strings.Join(types, " "); got != "text/plain message/delivery-status message/rfc822" {
		t.Fatalf("parts %s\n%s", got, raw)
	}
	if h.Get("Auto-Submitted") != "auto-replied" || h.Get("References") != "<orig@example.org>" || h.Get("To") != "<a@example.org>" {
		t.Errorf("header %v", h)
	}
	for _, want := range []string{"<joe+x@example.net>\n    by way of <joe@example.net>\n", "said: 550 5.1.1 no", "<|prog>", "jürgen@example.net", "postmaster@mx.example.org"} {
		if !strings.Contains(bodies[0], want) {
			t.Errorf("no %q in text:\n%s", want, bodies[0])
		}
	}
	const status = `Original-Envelope-Id: env+id
Reporting-MTA: dns; mx.example.org
X-Spool-Id: 0123456789ABCDEE
Arrival-Date: Wed, 4 Mar 2026 04:06:07 +0000

Original-Recipient: rfc822; joe+x@example.net
Final-Recipient: rfc822; joe@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1 no such user`
	if !strings.HasPrefix(bodies[1], status) {
		t.Errorf("status:\n%s", bodies[1])
	}
	if strings.Contains(raw, "secret") || strings.Contains(raw, "password") {
		t.Error("report shows how a local program is called")
	}
	if !strings.Contains(bodies[1], `Final-Recipient: utf-8; j\x{FC}rgen@example.net`) {
		t.Errorf("status:\n%s", bodies[1])
	}
	if want := strings.TrimSuffix(testHeader+testBody, "\n"); strings.TrimSuffix(bodies[2], "\n") != want {
		t.Errorf("returned %q, want %q", bodies[2], want)
	}
}

func TestReportReturns(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Report)
		want   string
	}{
		{"ret full", func(r *Report) { r.Ret = "FULL" }, "message/rfc822"},
		{"ret hdrs", func(r *Report) { r.Ret = "HDRS" }, "text/rfc822-headers"},
		{"too large", func(r *Report) { r.MaxReturn = 20 }, "text/rfc822-headers"},
		{"no body", func(r *Report) { r.Body = nil }, "text/rfc822-headers"},
		{"short body", func(r *Report) { r.BodySize++ }, "text/rfc822-headers"},
		{"delay", func(r *Report) { r.Kind = DelayReport }, "text/rfc822-headers"},
		{"success", func(r *Report) { r.Kind = SuccessReport }, "text/rfc822-headers"},
		{"smtputf8", func(r *Report) { r.SMTPUTF8 = true }, "message/global"},
		{"smtputf8 header", func(r *Report) { r.SMTPUTF8, r.Ret = true, "HDRS" }, "message/global-headers"},
		{"empty header", func(r *Report) { r.Header = nil }, "message/rfc822"},
	} {
		r := sample(FailureReport)
		tt.change(r)
		_, types, bodies, raw := parts(t, r)
		if len(types) != 3 || types[2] != tt.want {
			t.Errorf("%s: %v", tt.name, types)
			continue
		}
		if r.SMTPUTF8 && (!strings.Contains(raw, "report-type=global-delivery-status") || !strings.Contains(bodies[1], "utf-8; jürgen@example.net")) {
			t.Errorf("%s: not a report of RFC 6533:\n%s", tt.name, raw)
		}
		if r.Kind == DelayReport && (!strings.Contains(bodies[1], "Action: delayed") || !strings.Contains(bodies[1], "Will-Retry-Until: Wed, 4 Mar 2026 06:06:07 +0000")) {
			t.Errorf("%s: %s", tt.name, bodies[1])
		}
		if r.Kind == SuccessReport && !strings.Contains(bodies[1], "Action: relayed") {
			t.Errorf("%s: %s", tt.name, bodies[1])
		}
	}
}

func TestReportBodyType(t *testing.T) {
	r := sample(FailureReport)
	if _, typ := r.Build(); typ != "7BIT" {
		t.Errorf("ASCII message: %s", typ)
	}
	r = sample(FailureReport)
	r.Body, r.BodySize = strings.NewReader("\xe4\n"), 2
	msg, typ := r.Build()
	if typ != "8BITMIME" || !bytes.Contains(msg, []byte("Content-Transfer-Encoding: 8bit\n")) {
		t.Errorf("8-bit message: %s", typ)
	}
}

func TestReportHostileText(t *testing.T) {
	r := sample(FailureReport)
	r.EnvID = "a+0D+0ABcc:+20x"
	r.Rcpts[0].Final = "x\r\nBcc: victim@example.com"
	r.Rcpts[0].Result.Text = "\x00\x1b[2J${host}" + strings.Repeat("y", 5000)
	r.Rcpts[0].Result.Relay = "evil\r\nX: y[::1]:25"
	_, _, bodies, _ := parts(t, r)
	for _, bad := range []string{"\nBcc", "\nX: y", "\x1b"} {
		if strings.Contains(bodies[0]+bodies[1], bad) {
			t.Errorf("report holds %q", bad)
		}
	}
	if !strings.Contains(bodies[0], "${host}") {
		t.Error("a reply was expanded like a form")
	}
}

func TestForms(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("failure", "Subject: Unzustellbar: ${subject}\nLanguage: de\n\nAn ${sender}: für\n${recipients}\n$ {host} ${")
	forms, err := LoadForms(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := sample(FailureReport)
	r.Form = forms[FailureReport]
	h, _, bodies, raw := parts(t, r)
	if s, _ := new(mime.WordDecoder).DecodeHeader(h.Get("Subject")); s != "Unzustellbar: grüße" {
		t.Errorf("subject %q", s)
	}
	if !strings.Contains(bodies[0], "An a@example.org: für") || !strings.Contains(bodies[0], "$ {host} ${") || !strings.Contains(raw, "Content-Language: de\n") {
		t.Errorf("text:\n%s", raw)
	}
	for _, bad := range []string{"", "Subject: x\n", "text\n\n${recipients}", "Subject: x\n\n${recipients} ${nosuch}", "Subject: x\n\nno list", "Subject: x\nLanguage: d e\n\n${recipients}"} {
		write("failure", bad)
		if _, err := LoadForms(dir); err == nil || !strings.Contains(err.Error(), "failure") {
			t.Errorf("form %q: error %v", bad, err)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add("joe@example.net", "rfc822;x", "550 no", "mx[::1]:25", []byte(testHeader), false)
	f.Add("", "", "", "", []byte("\n\n"), true)
	f.Fuzz(func(t *testing.T, final, orcpt, text, relay string, header []byte, utf8 bool) {
		r := sample(FailureReport)
		r.SMTPUTF8 = utf8
		r.Rcpts[0] = ReportRcpt{Final: final, ORcpt: orcpt, Result: Result{Text: text, Relay: relay, Remote: utf8}}
		r.Header = header
		msg, _ := r.Build()
		if n := bytes.Count(msg, []byte("\n--"+r.ID+"/")); n < 4 {
			t.Fatalf("%d boundaries", n)
		}
	})
}
