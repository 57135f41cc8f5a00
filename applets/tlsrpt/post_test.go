package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zmailer/agents/dkim"
	"zmailer/agents/tlsrpt"
	"zmailer/spool/rfc5322"
)

// TestPost posts reports, and sends nothing twice while a place is out of order.
func TestPost(t *testing.T) {
	var got []string
	status := http.StatusServiceUnavailable
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
			return
		}
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		var report tlsrpt.Report
		if err := json.NewDecoder(z).Decode(&report); err != nil {
			t.Error(err)
		}
		got = append(got, r.Method+" "+r.Header.Get("Content-Type")+" "+report.ID)
		w.WriteHeader(status)
	}))
	defer srv.Close()
	r, out := newTest(t, `_smtp._tls.x.test TXT "v=TLSRPTv1; rua=mailto:tls@x.test,`+srv.URL+`/"`, `_smtp._tls.y.test TXT "v=TLSRPTv1; rua=`+srv.URL+`/moved"`)
	r.client = srv.Client()
	r.client.CheckRedirect = newClient().CheckRedirect
	count(t, r, "2026-11-24", good, `{"d":"y.test","p":"no-policy-found","n":1}`)
	if err := r.run(context.Background(), now); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "307") {
		t.Errorf("%v", err)
	}
	status = http.StatusCreated
	if err := r.run(context.Background(), now); err == nil || strings.Contains(err.Error(), "x.test: ") && !strings.Contains(err.Error(), "y.test") {
		t.Errorf("%v", err)
	}
	if n := len(mails(t, r)); n != 1 {
		t.Errorf("%d mails", n)
	}
	const want = "POST application/tlsrpt+gzip 2026-11-24_x.test@us.test"
	if len(got) != 2 || got[0] != want || got[1] != want {
		t.Errorf("got %q", got)
	}
	if err := r.run(context.Background(), now.Add(keepDays*24*time.Hour)); err == nil || len(got) != 2 || len(mails(t, r)) != 1 {
		t.Errorf("%v, %q", err, got)
	}
	if days, err := tlsrpt.Days(r.dir); err != nil || len(days) != 0 {
		t.Errorf("left are %v, %v", days, err)
	}
	if s := out.String(); s != "2026-11-24 x.test: tls@x.test\n2026-11-24 x.test: "+srv.URL+"/\n" {
		t.Errorf("said %s", s)
	}
}

// TestPostInside: a record cannot lead us to hosts that only we can reach, nor to one
// that proves nothing about itself.
func TestPostInside(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("was connected to") }))
	defer srv.Close()
	r, _ := newTest(t)
	if err := r.post(context.Background(), &tlsrpt.Report{}, srv.URL); err == nil || !strings.Contains(err.Error(), "no address on the Internet") {
		t.Errorf("%v", err)
	}
	r.client = &http.Client{}
	if err := r.post(context.Background(), &tlsrpt.Report{}, srv.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
	for ip, want := range map[string]bool{"192.0.2.1": true, "2001:db8::1": true, "127.0.0.1": false, "10.0.0.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "::1": false, "fe80::1": false, "fd00::1": false, "224.0.0.1": false, "::ffff:10.0.0.1": false, "255.255.255.255": false} {
		if got := isPublic(netip.MustParseAddr(ip).Unmap()); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	for place, want := range map[string]bool{"https://x.test/r": true, "HTTPS://x.test": true, "http://x.test": false, "https:///x": false, "https://u:p@x.test/": false, "mailto:a@x": false} {
		if got := isPost(place); got != want {
			t.Errorf("%s: %v", place, got)
		}
	}
}

// TestReportSigned: the agents sign a report with the key of its domain, and the
// signature holds: RFC 8460 §3 wants no others.
func TestReportSigned(t *testing.T) {
	r, _ := newTest(t, `_smtp._tls.x.test TXT "v=TLSRPTv1; rua=mailto:tls@x.test"`)
	count(t, r, "2026-11-24", good)
	if err := r.run(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "dkim")
	place := dkim.Place{Dir: dir, UID: os.Getuid(), GID: os.Getgid()}
	key, _, err := place.Generate("us.test", "s1", "ed25519")
	if err != nil {
		t.Fatal(err)
	}
	record, err := key.Record()
	if err != nil {
		t.Fatal(err)
	}
	_, message, _ := strings.Cut(mails(t, r)[0], "env-end\n")
	header, _, err := rfc5322.ParseHeader([]byte(message))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := (&dkim.Keys{Dir: dir}).For(context.Background(), header)
	if err != nil || len(keys) != 1 {
		t.Fatal(keys, err)
	}
	field, err := dkim.Sign(keys, func(w io.Writer) error { _, err := io.WriteString(w, message); return err })
	if err != nil {
		t.Fatal(err)
	}
	signed := append(bytes.Clone(field), message...)
	header, at, err := rfc5322.ParseHeader(signed)
	if err != nil {
		t.Fatal(err)
	}
	v, err := dkim.Verify(context.Background(), func(context.Context, string) ([]string, error) { return []string{record}, nil }, header, bytes.NewReader(signed[at:]), 1)
	if err != nil || len(v) != 1 || v[0].Status != dkim.Pass || v[0].Domain != "us.test" {
		t.Errorf("%+v, %v", v, err)
	}
}
