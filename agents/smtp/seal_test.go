package smtp

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zmailer/agents/arc"
	"zmailer/agents/dkim"
	"zmailer/shellcfg"
	"zmailer/spool/rfc5322"
)

// Mail of strangers that leaves again is sealed with what was found when it came;
// our own is not.
func TestSealing(t *testing.T) {
	dir, records := signers(t)
	s := newSink(t, "PIPELINING", "SIZE")
	sealer := &sealer{domain: "us.test", names: []string{"mx.us.test", "us.test"}}
	chain := func(m string) arc.Result {
		h, at, err := rfc5322.ParseHeader([]byte(m))
		if err != nil {
			t.Fatal(err)
		}
		return arc.Verify(context.Background(), func(_ context.Context, name string) ([]string, error) {
			return []string{records[name]}, nil
		}, h, strings.NewReader(m[at:]))
	}
	const from = "From: ann@a.test\nSubject: x\n\n"
	results := "Authentication-Results: MX.us.test; spf=pass smtp.mailfrom=ann@a.test;\n\tdmarc=pass header.from=a.test; arc="
	first := ""
	for _, tt := range []struct {
		name, header string
		ours, off    bool
		want         arc.Status
		sealers      int
	}{
		{"first", results + "none smtp.remote-ip=192.0.2.1\n" + from, false, false, arc.Pass, 1},
		{"second", "", false, false, arc.Pass, 2}, // what arrived, with what is found then
		{"not looked at", from, false, false, arc.None, 0},
		{"somebody else's results", strings.Replace(results, "MX.us.test", "mx.a.test", 1) + "none\n" + from, false, false, arc.None, 0},
		{"ours", results + "none\n" + from, true, false, arc.None, 0},
		{"switched off", results + "none\n" + from, false, true, arc.None, 0},
	} {
		d := start(t, func(o *options) {
			quick(o)
			o.keys = &dkim.Keys{Dir: dir}
			if !tt.off {
				o.sealer = sealer
			}
		})
		header := tt.header
		if header == "" {
			header = results + "pass\n" + strings.ReplaceAll(first[:strings.Index(first, "\r\n\r\n")+4], "\r\n", "\n")
		}
		l := letterOf(header, ".\nhello \n\n", "a@x.test")
		l.attr.Ours = tt.ours
		if res := d.deliver(l, s.host()); outcome(res) != "ok 2.0.0" {
			t.Fatalf("%s: %+v", tt.name, res)
		}
		m := s.received()
		got := m[len(m)-1].data
		if first == "" {
			first = got
		}
		if r := chain(got); r.Status != tt.want || len(r.Sealers) != tt.sealers || tt.sealers > 0 && !strings.HasPrefix(r.Sealers[tt.sealers-1].Results, "MX.us.test; spf=pass") {
			t.Errorf("%s: %+v of\n%s", tt.name, r, got)
		}
	}
	// A chain of which nobody knows whether it holds is not added to.
	for status, want := range map[string]int{"temperror": 1, "none": 1, "fail": 2} {
		d := start(t, func(o *options) {
			quick(o)
			o.keys, o.sealer = &dkim.Keys{Dir: dir}, sealer
		})
		header := results + status + "\n" + strings.ReplaceAll(first[:strings.Index(first, "\r\n\r\n")+4], "\r\n", "\n")
		if res := d.deliver(letterOf(header, "x\n", "a@x.test"), s.host()); outcome(res) != "ok 2.0.0" {
			t.Fatalf("%s: %+v", status, res)
		}
		m := s.received()
		if n := strings.Count(m[len(m)-1].data, "ARC-Seal: "); n != want {
			t.Errorf("%s: %d seals, want %d", status, n, want)
		}
	}
}

// The domain that seals is a matter of zmailer.conf.
func TestSealer(t *testing.T) {
	for vars, want := range map[string]string{"": "us.test", "ARCDOMAIN=Other.Test\n": "other.test", "ARCDOMAIN=none\n": ""} {
		path := filepath.Join(t.TempDir(), "zmailer.conf")
		if err := os.WriteFile(path, []byte("HOSTNAME=mx.us.test\nMYDOMAIN=us.test\n"+vars), 0o644); err != nil {
			t.Fatal(err)
		}
		conf, err := shellcfg.LoadConf(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newSealer(conf)
		if err != nil || (s == nil) != (want == "") || s != nil && s.domain != want {
			t.Errorf("%q: %+v, %v", vars, s, err)
		}
	}
}
