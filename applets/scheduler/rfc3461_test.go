package scheduler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"

	"zmailer/spool"
	"zmailer/spool/dsn"
)

// An endOfRcpt is how a recipient ends, and what RFC 3461 wants to hear of it.
type endOfRcpt struct {
	name   string
	result dsn.Result
	kind   string // of NOTIFY that asks for a report
	action string // in the report
}

var endsOfRcpts = []endOfRcpt{
	{"delivered here", dsn.Success("2.1.5", "delivered"), "SUCCESS", "delivered"},
	{"next hop knows DSN", dsn.Result{Action: dsn.OK, Status: "2.1.5", Remote: true, Relay: "mx.b.test", Text: "250 2.1.5 ok"}, "", ""},
	{"next hop does not", dsn.Result{Action: dsn.OK, Status: "2.1.9", Remote: true, Relay: "mx.b.test", Text: "250 ok"}, "SUCCESS", "relayed"},
	{"failed", dsn.Result{Action: dsn.Failed, Status: "5.1.1", Remote: true, Relay: "mx.b.test", Text: "550 5.1.1 no such user"}, "FAILURE", "failed"},
}

// parseReports is an independent parser of the reports.
const parseReports = "../../testdata/dsn/parse.py"

type parsedReport struct {
	Defects  []string
	Types    []string
	Type     string `json:"report_type"`
	Auto     string
	Message  map[string]string
	Rcpts    []map[string]string
	Returned string
}

// A dsnCase is a row of the table of RFC 3461.
type dsnCase struct {
	end                       endOfRcpt
	notify, ret, orcpt, envid string
	report                    string // raw; empty: none was sent
}

func (c *dsnCase) String() string {
	return fmt.Sprintf("%s NOTIFY=%s RET=%s ORCPT=%s ENVID=%s", c.end.name, c.notify, c.ret, c.orcpt, c.envid)
}

// wanted says whether a report is due.
func (c *dsnCase) wanted() bool {
	if c.notify == "" {
		return c.end.kind == "FAILURE"
	}
	return c.end.kind != "" && strings.Contains(c.notify, c.end.kind)
}

func dsnCases() (cases []*dsnCase) {
	for _, end := range endsOfRcpts {
		for _, notify := range []string{"", "NEVER", "SUCCESS", "FAILURE", "DELAY", "SUCCESS,FAILURE", "SUCCESS,DELAY", "FAILURE,DELAY", "SUCCESS,FAILURE,DELAY"} {
			for _, ret := range []string{"", "FULL", "HDRS"} {
				for _, orcpt := range []string{"", "rfc822;Joe+2Bx@first.test"} {
					for _, envid := range []string{"", "QQ+2B314159"} {
						cases = append(cases, &dsnCase{end: end, notify: notify, ret: ret, orcpt: orcpt, envid: envid})
					}
				}
			}
		}
	}
	return cases
}

// TestRFC3461 goes through every combination of NOTIFY, RET, ORCPT and ENVID for
// each way in which a recipient can end. The reports are read by Python's email.
func TestRFC3461(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is the independent parser")
	}
	cases := dsnCases()
	inBubble(t, testConf, func(t *testing.T, w *world) {
		byUser := make(map[string]*dsnCase)
		for i, c := range cases {
			byUser[fmt.Sprintf("joe%d@b.test", i)] = c
		}
		w.setAnswer(func(tr try) dsn.Result { return byUser[tr.user].end.result })
		ids := make(map[string]*dsnCase)
		for i, c := range cases {
			user := fmt.Sprintf("joe%d@b.test", i)
			id := w.queue(letter{from: "ann@a.test", to: []string{"smtp/b.test/" + user + "?" + c.notify + "?" + c.orcpt}, ret: c.ret,
				attr: spool.Attributes{EnvID: c.envid}})
			ids[string(id)] = c
			w.q.post(func() { w.q.consider(id, false, func() {}) })
		}
		synctest.Wait()
		for _, r := range w.reports() {
			_, msg, _ := strings.Cut(r, spool.EnvEnd+"\n")
			for id, c := range ids {
				if strings.Contains(msg, id) {
					if c.report != "" {
						t.Errorf("%v: two reports", c)
					}
					c.report = msg
				}
			}
		}
	})
	var raw []string
	var reported []*dsnCase
	for _, c := range cases {
		if got := c.report != ""; got != c.wanted() {
			t.Errorf("%v: report %v, want %v", c, got, c.wanted())
		} else if got {
			raw, reported = append(raw, c.report), append(reported, c)
		}
	}
	in, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, parseReports)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("python3: %v", err)
	}
	var parsed []parsedReport
	if err := json.Unmarshal(out, &parsed); err != nil || len(parsed) != len(reported) {
		t.Fatalf("%d of %d reports parsed: %v", len(parsed), len(reported), err)
	}
	t.Logf("%d combinations, %d reports", len(cases), len(parsed))
	for i := range parsed {
		if err := parsed[i].check(reported[i]); err != nil {
			t.Errorf("%v: %v\n%s", reported[i], err, reported[i].report)
		}
	}
}

func (p *parsedReport) check(c *dsnCase) error {
	full := c.end.action == "failed" && c.ret != "HDRS"
	last := "message/rfc822"
	if !full {
		last = "text/rfc822-headers"
	}
	if len(p.Defects) > 0 || p.Type != "delivery-status" || strings.Join(p.Types, " ") != "multipart/report text/plain message/delivery-status "+last {
		return fmt.Errorf("defects %v, types %v", p.Defects, p.Types)
	}
	if p.Auto != "auto-replied" && p.Auto != "auto-generated" {
		return fmt.Errorf("Auto-Submitted: %q", p.Auto)
	}
	if len(p.Rcpts) != 1 {
		return fmt.Errorf("%d recipients", len(p.Rcpts))
	}
	for _, row := range []struct {
		fields     map[string]string
		name, want string
	}{
		{p.Message, "original-envelope-id", strings.ReplaceAll(c.envid, "+2B", "+")},
		{p.Rcpts[0], "original-recipient", strings.ReplaceAll(c.orcpt, "+2B", "+")},
		{p.Rcpts[0], "action", c.end.action},
	} {
		if got := strings.ReplaceAll(row.fields[row.name], "; ", ";"); !strings.EqualFold(got, row.want) {
			return fmt.Errorf("%s is %q, want %q", row.name, got, row.want)
		}
	}
	if got := strings.Contains(p.Returned, "hello"); got != full {
		return fmt.Errorf("content returned: %v", got)
	}
	return nil
}
