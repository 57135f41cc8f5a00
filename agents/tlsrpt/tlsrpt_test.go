package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var day = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// recorder counts at a time that the test sets.
func recorder(t *testing.T, dir, name string, now *time.Time) *Recorder {
	r := NewRecorder(dir, func(err error) { t.Error(err) })
	r.name, r.now = name, func() time.Time { return *now }
	return r
}

// TestReport counts in two processes over midnight and makes the report of a day.
func TestReport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tlsrpt")
	now := day.Add(23 * time.Hour)
	a, b := recorder(t, dir, "a", &now), recorder(t, dir, "b", &now)
	sts := Fact{Domain: "x.test", Policy: STS, Text: "version: STSv1\nmode: testing", MX: "*.x.test\nmx.y.test", Host: "mx.x.test", IP: "192.0.2.1"}
	expired := sts
	expired.Result, expired.Reason = "certificate-expired", "since yesterday"
	for range 3 {
		a.Add(sts)
		b.Add(sts)
		b.Add(expired)
	}
	a.Add(Fact{Domain: "x.test", Policy: NoPolicy, Host: "mx.x.test"})
	b.Add(Fact{Domain: "z.test", Policy: NoPolicy, Result: "starttls-not-supported"})
	b.Close()
	b.Add(sts) // and once more into the same file
	now = now.Add(2 * time.Hour)
	a.Add(sts)
	a.Close()
	b.Close()
	(*Recorder)(nil).Add(sts)
	(*Recorder)(nil).Close()

	days, err := Days(dir)
	if err != nil || len(days) != 2 || !days[0].Equal(day) {
		t.Fatalf("%v %v", days, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "2026-11-24", ".new-1"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDay(dir, day)
	if err != nil || strings.Join(d.Domains(), " ") != "x.test z.test" {
		t.Fatalf("%v %v", d.Domains(), err)
	}
	report := d.Report("x.test", "us.test", "tls@us.test")
	packed, err := report.Gzip()
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.NewDecoder(z).Decode(&got); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(got)
	const want = `{"contact-info":"tls@us.test","date-range":{"end-datetime":"2026-11-24T23:59:59Z","start-datetime":"2026-11-24T00:00:00Z"},"organization-name":"us.test",` +
		`"policies":[{"policy":{"policy-domain":"x.test","policy-type":"no-policy-found"},"summary":{"total-failure-session-count":0,"total-successful-session-count":1}},` +
		`{"failure-details":[{"failed-session-count":3,"failure-reason-code":"since yesterday","receiving-ip":"192.0.2.1","receiving-mx-hostname":"mx.x.test","result-type":"certificate-expired"}],` +
		`"policy":{"mx-host":["*.x.test","mx.y.test"],"policy-domain":"x.test","policy-string":["version: STSv1","mode: testing"],"policy-type":"sts"},` +
		`"summary":{"total-failure-session-count":3,"total-successful-session-count":7}}],"report-id":"2026-11-24_x.test@us.test"}`
	if err != nil || string(text) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, text, want)
	}
	if err := Remove(dir, day); err != nil {
		t.Fatal(err)
	}
	if days, err := Days(dir); err != nil || len(days) != 1 {
		t.Errorf("%v %v", days, err)
	}
}

// TestBounds counts more than there is room for.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	now := day
	var said []string
	r := recorder(t, dir, "a", &now)
	r.log = func(err error) { said = append(said, err.Error()) }
	for i := range maxFacts + 7 {
		r.Add(Fact{Domain: fmt.Sprintf("d%d.test", i), Policy: NoPolicy})
	}
	r.Add(Fact{Domain: "d1.test", Policy: NoPolicy})
	r.Close()
	if len(said) != 1 || !strings.Contains(said[0], "7 are lost") {
		t.Errorf("said %q", said)
	}
	d, err := ReadDay(dir, day)
	if err != nil || len(d.Domains()) != maxFacts || d.Report("d1.test", "us.test", "").Policies[0].Summary.Successes != 2 {
		t.Errorf("%d domains, %v", len(d.Domains()), err)
	}
	now = now.Add(24 * time.Hour)
	r.Add(Fact{Domain: "x.test", Reason: strings.Repeat("x", 10*maxText)})
	r.Close()
	if d, err := ReadDay(dir, now); err != nil || len(d.Domains()) != 1 {
		t.Errorf("%v %v", d.Domains(), err)
	}
}

// A file that cannot be read is said, and the others count.
func TestBadFile(t *testing.T) {
	dir := t.TempDir()
	now := day
	r := recorder(t, dir, "good", &now)
	r.Add(Fact{Domain: "x.test", Policy: NoPolicy})
	r.Close()
	for name, text := range map[string]string{"bad": "{\n", "empty": "{}\n", "negative": `{"d":"x.test","n":-1}` + "\n", "long": strings.Repeat("x", maxLine+1)} {
		path := filepath.Join(dir, "2026-11-24", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := ReadDay(dir, day)
		if err == nil || len(d.Domains()) != 1 || d.Report("x.test", "", "").Policies[0].Summary.Successes != 1 {
			t.Errorf("%s: %v, %v", name, d.Domains(), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

var records = map[string]string{
	"v=TLSRPTv1; rua=mailto:a@x.test":                                "mailto:a@x.test",
	"v=TLSRPTv1;rua=mailto:a@x.test,https://x.test/v1 , mailto:b@x;": "mailto:a@x.test https://x.test/v1 mailto:b@x",
	"v=TLSRPTv1 ; x=y; rua=mailto:a@x.test":                          "mailto:a@x.test",
	"v=TLSRPTv1":                                                     "",
	"v=TLSRPTv12; rua=mailto:a":                                      "",
	"v=spf1 -all":                                                    "",
	"":                                                               "",
	"v=TLSRPTv1; rua=mailto:1,mailto:2,mailto:3,mailto:4,mailto:5,mailto:6": "mailto:1 mailto:2 mailto:3 mailto:4 mailto:5",
}

func TestPlaces(t *testing.T) {
	for text, want := range records {
		if got := strings.Join(Places([]string{"other", text}), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := Places([]string{"v=TLSRPTv1; rua=mailto:a@x.test", "v=TLSRPTv1; rua=mailto:b@x.test"}); got != nil {
		t.Errorf("two records: %q", got)
	}
}

func FuzzPlaces(f *testing.F) {
	for text := range records {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got := Places([]string{text}); len(got) > maxPlaces {
			t.Errorf("%q", got)
		}
	})
}
