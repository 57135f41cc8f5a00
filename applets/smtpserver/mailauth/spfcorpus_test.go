package mailauth

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"zmailer/shellcfg/resolver"
)

// The test suites of OpenSPF for RFC 4408 and RFC 7208, and that of pyspf, come with
// the library. Here they run through our resolver and our view of the results.

type spfSuite struct {
	Description string
	Tests       map[string]struct {
		Helo, Host, MailFrom, Skip string
		Result                     any
	}
	ZoneData map[string][]any `yaml:"zonedata"`
}

// spfExceptions are tests of which the library's author knows that they do not
// hold, each with the result that we get.
var spfExceptions = map[string]string{}

func TestSPFCorpus(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "blitiri.com.ar/go/spf").Output()
	if err != nil {
		t.Skip("no go command to find the library's files with: ", err)
	}
	total := 0
	for _, name := range []string{"rfc4408-tests.yml", "rfc7208-tests.yml", "pyspf-tests.yml"} {
		f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for d := yaml.NewDecoder(f); ; {
			var s spfSuite
			if err := d.Decode(&s); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(name, err)
			}
			total += runSPFSuite(t, name, &s)
		}
	}
	if total < 250 {
		t.Errorf("%d tests only", total)
	}
	t.Logf("%d tests", total)
}

func runSPFSuite(t *testing.T, file string, s *spfSuite) (n int) {
	d := spfZone(t, s.ZoneData)
	for name, test := range s.Tests {
		if test.Skip != "" {
			continue
		}
		n++
		var want []string
		switch r := test.Result.(type) {
		case string:
			want = []string{r}
		case []any:
			for _, v := range r {
				want = append(want, v.(string))
			}
		}
		if other, ok := spfExceptions[name]; ok {
			want = append(want, other)
		}
		sender := test.MailFrom
		got := SPF(context.Background(), d, netip.MustParseAddr(test.Host), test.Helo, sender)
		if !slices.Contains(want, string(got.Value)) {
			t.Errorf("%s, %s: %s: %s, want %v", file, s.Description, name, got.Value, want)
		}
	}
	return n
}

// spfZone is what the DNS says in a suite. A record of type SPF stands for one of
// type TXT unless there is one of these.
func spfZone(t *testing.T, data map[string][]any) DNS {
	z := spfFake{t: t, records: make(map[string]map[string][]string), fails: make(map[string]bool)}
	for name, list := range data {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		z.records[name] = make(map[string][]string)
		for _, r := range list {
			if _, timeout := r.(string); timeout {
				z.fails[name] = true
				continue
			}
			for kind, value := range r.(map[string]any) {
				z.add(name, kind, value)
			}
		}
		m := z.records[name]
		if m["TXT"] == nil {
			m["TXT"] = m["SPF"]
		}
		m["TXT"] = slices.DeleteFunc(slices.Clone(m["TXT"]), func(s string) bool { return s == "NONE" })
	}
	return z
}

// spfFake answers from the suite's data.
type spfFake struct {
	t       *testing.T
	records map[string]map[string][]string
	fails   map[string]bool
}

func (z spfFake) add(name, kind string, value any) {
	text := ""
	switch v := value.(type) {
	case string:
		text = v
	case bool:
		z.fails[name] = true
		return
	case []any: // the parts of a TXT, or priority and host of an MX
		for i, part := range v {
			switch p := part.(type) {
			case int:
				text += strconv.Itoa(p) + " "
			case string:
				text += p
			default:
				z.t.Fatalf("%s %s: part %d is %v", name, kind, i, part)
			}
		}
	default:
		z.t.Fatalf("%s %s: %v", name, kind, value)
	}
	if kind == "TIMEOUT" || kind == "SERVFAIL" || kind == "CNAMELOOP" {
		z.fails[name] = true
		return
	}
	z.records[name][kind] = append(z.records[name][kind], text)
}

// find follows aliases to the records of a type.
func (z spfFake) find(name, kind string) ([]string, error) {
	for range 10 {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		for _, label := range strings.Split(name, ".") {
			if len(label) > 63 || label == "" {
				return nil, &resolver.Error{Status: resolver.NotFound, Name: name}
			}
		}
		m, known := z.records[name]
		if list := m[kind]; len(list) > 0 {
			return list, nil
		}
		if z.fails[name] {
			return nil, &resolver.Error{Status: resolver.TempFail, Name: name}
		}
		if to := m["CNAME"]; known && len(to) > 0 {
			name = to[0]
			continue
		}
		return nil, &resolver.Error{Status: resolver.NotFound, Name: name}
	}
	return nil, &resolver.Error{Status: resolver.TempFail, Name: name}
}

func (z spfFake) TXT(_ context.Context, name string) ([]string, error) { return z.find(name, "TXT") }

func (z spfFake) MX(_ context.Context, name string) (list []resolver.MX, err error) {
	texts, err := z.find(name, "MX")
	for _, s := range texts {
		pref, host, _ := strings.Cut(s, " ")
		n, e := strconv.Atoi(pref)
		if e != nil {
			z.t.Fatal(e)
		}
		list = append(list, resolver.MX{Pref: uint16(n), Host: host})
	}
	return list, err
}

func (z spfFake) PTR(_ context.Context, ip netip.Addr) ([]string, error) {
	name := ""
	raw := ip.AsSlice()
	for i := len(raw) - 1; i >= 0; i-- {
		if ip.Is4() {
			name += strconv.Itoa(int(raw[i])) + "."
		} else {
			name += strconv.FormatInt(int64(raw[i]&15), 16) + "." + strconv.FormatInt(int64(raw[i]>>4), 16) + "."
		}
	}
	if ip.Is4() {
		return z.find(name+"in-addr.arpa", "PTR")
	}
	return z.find(name+"ip6.arpa", "PTR")
}

func (z spfFake) Host(_ context.Context, name string) (*resolver.Answer, error) {
	a := new(resolver.Answer)
	var failed error
	for _, kind := range []string{"A", "AAAA"} {
		list, err := z.find(name, kind)
		if resolver.StatusOf(err) == resolver.TempFail {
			failed = err
		}
		for _, s := range list {
			a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case len(a.Addrs) == 0:
		return nil, &resolver.Error{Status: resolver.NotFound, Name: name}
	}
	return a, nil
}
