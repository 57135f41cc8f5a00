package resolver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/resolver/dnstest"
)

// records are the world of the table below, for the fake and for the server.
var records = []string{
	"example.org MX 20 b.example.org", "example.org MX 10 a.example.org", "example.org SECURE",
	"a.example.org A 192.0.2.1", "a.example.org AAAA 2001:db8::1",
	"b.example.org A 192.0.2.2", "b.example.org SERVFAIL AAAA",
	"six.example.org AAAA 2001:db8::6", "six.example.org DROP A",
	"null.example MX 0 .",
	"odd.example MX 0 .", "odd.example MX 5 a.example.org",
	"servfail.example SERVFAIL", "refused.example REFUSED", "silent.example DROP", "garbage.example GARBAGE",
	"referral.example REFERRAL",
	"gone.example A 192.0.2.9", "gone.example NXDOMAIN",
	"alias.example CNAME a.example.org", "dangling.example CNAME nowhere.example",
	"mxalias.example CNAME example.org",
	"loop1.example CNAME loop2.example", "loop2.example CNAME loop1.example",
	"c0.example CNAME c1.example", "c1.example CNAME c2.example", "c2.example CNAME c3.example",
	"c3.example CNAME c4.example", "c4.example CNAME c5.example", "c5.example CNAME c6.example",
	"c6.example CNAME c7.example", "c7.example CNAME c8.example", "c8.example A 192.0.2.8",
	"d0.example CNAME c0.example",
	"old.example A 192.0.2.77", "old.example NOEDNS",
	"big.example TXT big", "big.example TRUNCATE",
	`txt.example TXT "v=spf1 " "-all"`, `txt.example TXT "q\"uo\\te\200"`,
	"_25._tcp.a.example.org TLSA 3 1 1 00ff", "_25._tcp.a.example.org SECURE",
	"1.2.0.192.in-addr.arpa PTR a.example.org", `1.2.0.192.in-addr.arpa PTR evil\010name.example`,
	"2.2.0.192.in-addr.arpa PTR evil\\010name.example",
	"*.wild.example A 192.0.2.50",
}

func ip(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

var lookups = []struct {
	ask    string // what NAME
	want   any
	status resolver.Status
	nx     bool
}{
	{ask: "mx example.org", want: []resolver.MX{{Host: "a.example.org", Pref: 10}, {Host: "b.example.org", Pref: 20}}},
	{ask: "mx EXAMPLE.ORG.", want: []resolver.MX{{Host: "a.example.org", Pref: 10}, {Host: "b.example.org", Pref: 20}}},
	{ask: "mx mxalias.example", want: []resolver.MX{{Host: "a.example.org", Pref: 10}, {Host: "b.example.org", Pref: 20}}},
	{ask: "mx null.example", want: []resolver.MX{{}}},
	{ask: "mx odd.example", want: []resolver.MX{{Host: "a.example.org", Pref: 5}}},
	{ask: "mx a.example.org", status: resolver.NotFound},
	{ask: "mx nowhere.example", status: resolver.NotFound, nx: true},
	{ask: "mx servfail.example", status: resolver.TempFail},
	{ask: "mx refused.example", status: resolver.TempFail},
	{ask: "mx silent.example", status: resolver.TempFail},
	{ask: "mx garbage.example", status: resolver.TempFail},
	{ask: "mx referral.example", status: resolver.TempFail},
	{ask: "mx gone.example", status: resolver.NotFound, nx: true},
	{ask: "mx loop1.example", status: resolver.TempFail},
	{ask: "mx dangling.example", status: resolver.NotFound, nx: true},
	{ask: "mx org", status: resolver.NotFound}, // there is something below it
	{ask: "addrs a.example.org", want: ip("192.0.2.1", "2001:db8::1")},
	{ask: "addrs b.example.org", want: ip("192.0.2.2")},
	{ask: "addrs six.example.org", want: ip("2001:db8::6")},
	{ask: "addrs alias.example", want: ip("192.0.2.1", "2001:db8::1")},
	{ask: "addrs c0.example", want: ip("192.0.2.8")},
	{ask: "addrs d0.example", status: resolver.TempFail},
	{ask: "addrs old.example", want: ip("192.0.2.77")},
	{ask: "addrs any.wild.example", want: ip("192.0.2.50")},
	{ask: "addrs example.org", status: resolver.NotFound},
	{ask: "addrs nowhere.example", status: resolver.NotFound, nx: true},
	{ask: "addrs servfail.example", status: resolver.TempFail},
	{ask: "addrs 192.0.2.33", want: ip("192.0.2.33")},
	{ask: "addrs ::ffff:192.0.2.33", want: ip("192.0.2.33")},
	{ask: "addrs localhost", want: ip("127.0.0.1", "::1")},
	{ask: "txt txt.example", want: []string{"v=spf1 -all", "q\"uo\\te\xc8"}},
	{ask: "txt big.example", want: []string{"big"}},
	{ask: "tlsa _25._tcp.a.example.org", want: []resolver.TLSA{{Usage: 3, Selector: 1, Matching: 1, Data: []byte{0, 255}}}},
	{ask: "tlsa _25._tcp.b.example.org", status: resolver.NotFound, nx: true},
	{ask: "cname alias.example", want: "a.example.org"},
	{ask: "cname a.example.org", status: resolver.NotFound},
	{ask: "ptr 192.0.2.1", want: []string{"a.example.org"}},
	{ask: "ptr 192.0.2.2", status: resolver.NotFound},
	{ask: "ptr 2001:db8::1", status: resolver.NotFound, nx: true},
	{ask: "mx a..b", status: resolver.NotFound, nx: true},
	{ask: "mx .", status: resolver.NotFound, nx: true},
	{ask: "mx $(reboot).example", status: resolver.NotFound, nx: true},
	{ask: "mx a\\.b.example", status: resolver.NotFound, nx: true},
	{ask: "mx new\nline.example", status: resolver.NotFound, nx: true},
	{ask: "mx " + strings.Repeat("a", 64) + ".example", status: resolver.NotFound, nx: true},
	{ask: "mx " + strings.Repeat("a.", 65536), status: resolver.NotFound, nx: true},
	{ask: "mx ünïcode.example", status: resolver.NotFound, nx: true},
}

func ask(ctx context.Context, r resolver.Resolver, what, name string) (any, error) {
	switch what {
	case "mx":
		return r.MX(ctx, name)
	case "addrs":
		return r.Addrs(ctx, name)
	case "txt":
		return r.TXT(ctx, name)
	case "tlsa":
		return r.TLSA(ctx, name)
	case "cname":
		return r.CNAME(ctx, name)
	}
	return r.PTR(ctx, netip.MustParseAddr(name))
}

func runLookups(t *testing.T, r resolver.Resolver) {
	for _, tt := range lookups {
		name := tt.ask
		if len(name) > 40 {
			name = name[:40]
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			what, name, _ := strings.Cut(tt.ask, " ")
			got, err := ask(t.Context(), r, what, name)
			if s := resolver.StatusOf(err); s != tt.status {
				t.Fatalf("status %v (%v), want %v", s, err, tt.status)
			}
			if err != nil {
				var e *resolver.Error
				if !errors.As(err, &e) || e.NXDomain != tt.nx {
					t.Errorf("error %#v, want NXDomain %v", err, tt.nx)
				}
				if errors.Is(err, resolver.ErrNotFound) == errors.Is(err, resolver.ErrTemp) {
					t.Errorf("%v is both or neither of ErrNotFound and ErrTemp", err)
				}
				if strings.ContainsAny(err.Error(), "\n\r\x00") || len(err.Error()) > 500 {
					t.Errorf("error not fit for a log: %q", err)
				}
				return
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func newFake(t testing.TB, lines ...string) *resolver.Fake {
	t.Helper()
	f, err := resolver.NewFake(lines...)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFake(t *testing.T)   { runLookups(t, newFake(t, records...)) }
func TestClient(t *testing.T) { runLookups(t, dnstest.Start(t, records...).Client()) }

func TestFakeRefusesNonsense(t *testing.T) {
	for _, line := range []string{"example.org MX", "example.org FOO bar", "x SERVFAIL NOTYPE", "$INCLUDE /etc/passwd", "x"} {
		if _, err := resolver.NewFake("a.example A 192.0.2.1", line); err == nil || !strings.Contains(err.Error(), "record 2") {
			t.Errorf("NewFake(%q) = %v, want an error that names record 2", line, err)
		}
	}
}

func TestFacts(t *testing.T) {
	for name, r := range map[string]resolver.Resolver{
		"fake": newFake(t, records...), "client": dnstest.Start(t, records...).Client(),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := r.Query(t.Context(), "example.org", resolver.TypeMX)
			if err != nil || !a.Secure {
				t.Errorf("example.org: %+v, %v; want Secure", a, err)
			}
			a, err = r.Query(t.Context(), "mxalias.example", resolver.TypeMX)
			if err != nil || a.Secure || a.CName != "example.org" || a.Name != "mxalias.example" {
				t.Errorf("mxalias.example: %+v, %v", a, err)
			}
			if d := time.Until(a.Expires); d < 50*time.Minute || d > time.Hour {
				t.Errorf("expires in %v, want an hour", d)
			}
			a, err = r.Host(t.Context(), "b.example.org")
			if err != nil || resolver.StatusOf(a.Partial) != resolver.TempFail {
				t.Errorf("b.example.org: %+v, %v; want a partial failure", a, err)
			}
			a, err = r.Host(t.Context(), "old.example")
			if err != nil || a.Partial != nil {
				t.Errorf("old.example: %+v, %v; want no partial failure", a, err)
			}
		})
	}
}

func TestADNeedsTrust(t *testing.T) {
	// A server that is not on this host is believed only if told so; none can
	// be had here, so the rule is looked at where it is applied.
	for conf, want := range map[string]bool{
		"nameserver 192.0.2.53\n":                         false,
		"nameserver 192.0.2.53\noptions edns0 trust-ad\n": true,
		"nameserver 127.0.0.1\n":                          true,
		"nameserver ::1\n":                                true,
	} {
		if got := resolver.Trusts(t, conf); got != want {
			t.Errorf("%q: trusted %v, want %v", conf, got, want)
		}
	}
}

func TestCache(t *testing.T) {
	s := dnstest.Start(t, "a.example 60 A 192.0.2.1", "zero.example 0 A 192.0.2.1")
	c := s.Client()
	clock := resolver.SetClock(c)
	for range 3 {
		c.Query(t.Context(), "a.example", resolver.TypeA)
		c.Query(t.Context(), "zero.example", resolver.TypeA)
		c.Query(t.Context(), "none.example", resolver.TypeA)
	}
	for name, want := range map[string]int{"a.example": 1, "zero.example": 3, "none.example": 1} {
		if n := s.Queries(name, "A"); n != want {
			t.Errorf("%s: asked %d times, want %d", name, n, want)
		}
	}
	clock(61 * time.Second)
	s.Set("a.example 60 A 192.0.2.2", "none.example A 192.0.2.3")
	for name, want := range map[string]string{"a.example": "192.0.2.2", "none.example": "192.0.2.3"} {
		a, err := c.Query(t.Context(), name, resolver.TypeA)
		if err != nil || a.Addrs[0].String() != want {
			t.Errorf("%s after expiry: %+v, %v", name, a, err)
		}
	}
}

func TestFailuresAreForgotten(t *testing.T) {
	s := dnstest.Start(t, "a.example SERVFAIL")
	c, err := resolver.New(resolver.Config{Servers: []string{s.Addr()}, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	clock := resolver.SetClock(c)
	for range 3 {
		if _, err := c.MX(t.Context(), "a.example"); !errors.Is(err, resolver.ErrTemp) {
			t.Fatal(err)
		}
	}
	if n := s.Queries("a.example", "MX"); n != 1 {
		t.Errorf("asked %d times within the second, want once", n)
	}
	s.Set("a.example MX 1 b.example")
	clock(time.Second)
	if _, err := c.MX(t.Context(), "a.example"); err != nil {
		t.Error(err)
	}
}

func TestSingleFlight(t *testing.T) {
	s := dnstest.Start(t, "a.example A 192.0.2.1")
	s.Hold()
	c := s.Client()
	ctx, cancel := context.WithCancel(t.Context())
	quit := make(chan error, 1)
	go func() { _, err := c.Query(ctx, "a.example", resolver.TypeA); quit <- err }()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.Query(t.Context(), "a.example", resolver.TypeA); err != nil {
				t.Error(err)
			}
		})
	}
	resolver.WaitFor(c, 21)
	cancel() // one gives up, the others get their answer
	if err := <-quit; !errors.Is(err, context.Canceled) || !errors.Is(err, resolver.ErrTemp) {
		t.Errorf("cancelled: %v", err)
	}
	s.Release()
	wg.Wait()
	if n := s.Queries("a.example", "A"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestNextServer(t *testing.T) {
	bad := dnstest.Start(t, "a.example REFUSED", "b.example DROP")
	good := dnstest.Start(t, "a.example A 192.0.2.1", "b.example A 192.0.2.2")
	path := filepath.Join(t.TempDir(), "resolv.conf")
	conf := fmt.Sprintf("# test\nnameserver %s\nnameserver %s\nsearch example.net\noptions timeout:1 attempts:1\n", bad.Addr(), good.Addr())
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := resolver.New(resolver.Config{ResolvConf: path, Hosts: "-", Timeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a.example", "b.example"} {
		if _, err := c.Addrs(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if n := good.Queries("a.example.example.net", "A"); n != 0 {
		t.Error("the search list was used")
	}
}

func TestHostsFile(t *testing.T) {
	s := dnstest.Start(t, "mail.example A 192.0.2.1", "other.example A 192.0.2.2")
	path := filepath.Join(t.TempDir(), "hosts")
	text := "127.0.0.1 localhost\n198.51.100.1\tMail.example mail # comment\n2001:db8::5 mail.example\nrubbish\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := resolver.New(resolver.Config{ResolvConf: s.ResolvConf(), Hosts: path})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Addrs(t.Context(), "mail.EXAMPLE.")
	if want := ip("198.51.100.1", "2001:db8::5"); err != nil || !slices.Equal(got, want) {
		t.Errorf("mail.example = %v, %v; want %v", got, err, want)
	}
	if names, err := c.PTR(t.Context(), netip.MustParseAddr("198.51.100.1")); err != nil || !slices.Equal(names, []string{"mail.example", "mail"}) {
		t.Errorf("PTR = %v, %v", names, err)
	}
	if got, err := c.Addrs(t.Context(), "other.example"); err != nil || !slices.Equal(got, ip("192.0.2.2")) {
		t.Errorf("other.example = %v, %v", got, err)
	}
}

func TestEqualExchangersShuffle(t *testing.T) {
	var lines []string
	for i := range 8 {
		lines = append(lines, fmt.Sprintf("a.example MX 10 m%d.example", i))
	}
	lines = append(lines, "a.example MX 5 first.example", "a.example MX 20 last.example")
	c := dnstest.Start(t, lines...).Client()
	orders := map[string]bool{}
	for range 20 {
		mx, err := c.MX(t.Context(), "a.example")
		if err != nil || mx[0].Host != "first.example" || mx[9].Host != "last.example" {
			t.Fatalf("MX = %v, %v", mx, err)
		}
		orders[fmt.Sprint(mx)] = true
	}
	if len(orders) < 2 {
		t.Error("20 times the same order")
	}
}

func TestLargeAnswerIsBounded(t *testing.T) {
	var lines []string
	for i := range 600 {
		lines = append(lines, fmt.Sprintf("a.example A 10.0.%d.%d", i/256, i%256))
	}
	got, err := dnstest.Start(t, lines...).Client().Addrs(t.Context(), "a.example")
	if err != nil || len(got) != 256 {
		t.Errorf("%d addresses, %v; want 256", len(got), err)
	}
}

func TestNoServer(t *testing.T) {
	c, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1:1"}, Timeout: time.Second, Hosts: "-"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.MX(t.Context(), "example.org"); !errors.Is(err, resolver.ErrTemp) {
		t.Errorf("got %v, want a temporary failure", err)
	}
	if _, err := resolver.New(resolver.Config{Servers: []string{"ns.example.org"}}); err == nil {
		t.Error("a server without an address was accepted")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range resolver.WireSeeds(records) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		for _, typ := range []resolver.Type{resolver.TypeMX, resolver.TypeA, resolver.TypeTXT, resolver.TypePTR, resolver.TypeTLSA} {
			resolver.Digest(bytes.Clone(wire), "example.org", typ)
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add("nameserver 127.0.0.1:5353\nnameserver ::1\noptions timeout:99999999999 attempts:-1 rotate trust-ad\n")
	f.Add("127.0.0.1 localhost # x\nfe80::1%lo link\n")
	f.Add("a.example MX 10 b.example\n*.a.example SERVFAIL MX A\n")
	f.Fuzz(resolver.ParseFiles)
}

func BenchmarkCached(b *testing.B) {
	c := dnstest.Start(b, records...).Client()
	for b.Loop() {
		if _, err := c.Query(b.Context(), "example.org", resolver.TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUncached(b *testing.B) {
	s := dnstest.Start(b, records...)
	c, err := resolver.New(resolver.Config{Servers: []string{s.Addr()}, CacheSize: -1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Query(b.Context(), "example.org", resolver.TypeMX); err != nil {
			b.Fatal(err)
		}
	}
}
