package smtp

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
	"zmailer/shellcfg/resolver/dnstest"
	"zmailer/spool/dsn"
)

func TestParseDest(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"example.net", "name=example.net"},
		{"Example.NET.", "name=example.net"},
		{"example.net:587", "name=example.net port=587"},
		{"[mx.example.net]", "name=mx.example.net exact"},
		{"[mx.example.net]:2525", "name=mx.example.net port=2525 exact"},
		{"[192.0.2.1]", "addr=192.0.2.1 exact"},
		{"[192.0.2.1]:2600", "addr=192.0.2.1 port=2600 exact"},
		{"[IPv6:2001:db8::1]:25", "addr=2001:db8::1 port=25 exact"},
		{"[::ffff:192.0.2.1]", "addr=192.0.2.1 exact"},
		{"192.0.2.1", "addr=192.0.2.1 exact"},
		{"192.0.2.1:26", "addr=192.0.2.1 port=26 exact"},
		{"2001:db8::1", "addr=2001:db8::1 exact"},
		{"bücher.example", "name=xn--bcher-kva.example"},
		{"/run/lmtp.sock", "path=/run/lmtp.sock"},
		{"[smtp.example.org]:465", "name=smtp.example.org port=465 exact wrap"},
		{"smtps://[smtp.example.org]", "name=smtp.example.org port=465 exact wrap"},
		{"SMTPS://example.org:2465", "name=example.org port=2465 wrap"},
		{"smtps://", ""}, {"smtps:///run/lmtp.sock", ""}, {"smtps://smtps://a", ""},
		{"", ""}, {"[", ""}, {"[]", ""}, {"[a]x", ""}, {"[a]:0", ""}, {"[a]:65536", ""}, {"a:", ""}, {"a..b", ""}, {"a b", ""},
		{"a\nb", ""}, {"[IPv6:1.2.3.4]", ""}, {"/" + strings.Repeat("x", 200), ""}, {"[1.2.3.4", ""}, {":25", ""},
	} {
		d, err := parseDest(tt.in)
		if got := describe(d); (err != nil) != (tt.want == "") || err == nil && got != tt.want {
			t.Errorf("%q: got %s, %v; want %s", tt.in, got, err, tt.want)
		}
	}
}

func describe(d dest) string {
	var words []string
	if d.name != "" {
		words = append(words, "name="+d.name)
	}
	if d.addr.IsValid() {
		words = append(words, "addr="+d.addr.String())
	}
	if d.path != "" {
		words = append(words, "path="+d.path)
	}
	if d.port != 0 {
		words = append(words, "port="+strconv.Itoa(d.port))
	}
	if d.exact {
		words = append(words, "exact")
	}
	if d.wrap {
		words = append(words, "wrap")
	}
	return strings.Join(words, " ")
}

func FuzzParseDests(f *testing.F) {
	f.Add("a, [b]:25, /c")
	f.Add("[IPv6:::1]:1")
	f.Add("smtps://[a]:1")
	f.Fuzz(func(t *testing.T, s string) {
		dests, err := parseDests(s)
		if err == nil && (len(dests) == 0 || len(dests) > maxDests) {
			t.Fatalf("%q: %d places", s, len(dests))
		}
		for _, d := range dests {
			if d.name == "" && d.path == "" && !d.addr.IsValid() {
				t.Fatalf("%q: nowhere", s)
			}
		}
	})
}

var routeZone = []string{
	"plain.test MX 20 b.plain.test", "plain.test MX 10 a.plain.test",
	"a.plain.test A 192.0.2.1", "a.plain.test AAAA 2001:db8::1", "b.plain.test A 192.0.2.2",
	"equal.test MX 10 e1.equal.test", "equal.test MX 10 e2.equal.test", "e1.equal.test A 192.0.2.3", "e2.equal.test A 192.0.2.4",
	"null.test MX 0 .",
	"address.test A 192.0.2.5",
	"empty.test TXT nothing",
	"servfail.test SERVFAIL MX",
	"refused.test REFUSED MX",
	"lame.test MX 10 lame.lame.test", "lame.lame.test SERVFAIL A", "lame.lame.test SERVFAIL AAAA",
	"partly.test MX 10 x.partly.test", "partly.test MX 20 a.plain.test", "x.partly.test SERVFAIL A", "x.partly.test SERVFAIL AAAA",
	"gone.test MX 10 no.such.test",
	"loop.test MX 10 a.plain.test", "loop.test MX 20 us.test", "loop.test MX 20 e1.equal.test", "loop.test MX 30 b.plain.test", "us.test A 192.0.2.100",
	"best.test MX 5 us.test", "best.test MX 10 a.plain.test",
	"byaddr.test MX 5 alias.test", "alias.test A 192.0.2.100",
	"self.test A 192.0.2.100",
	"local.test A 127.0.0.1",
	"zero.test MX 10 zero.zero.test", "zero.zero.test A 0.0.0.0", "zero.test MX 20 a.plain.test",
}

func TestRoute(t *testing.T) {
	fake, err := resolver.NewFake(routeZone...)
	if err != nil {
		t.Fatal(err)
	}
	o := defaultOptions()
	o.hello, o.resolver = "us.test", fake
	o.self = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.100")} }
	for _, tt := range []struct{ host, want string }{
		{"plain.test", "a.plain.test[192.0.2.1]:25 a.plain.test[2001:db8::1]:25 b.plain.test[192.0.2.2]:25"},
		{"plain.test:26", "a.plain.test[192.0.2.1]:26 a.plain.test[2001:db8::1]:26 b.plain.test[192.0.2.2]:26"},
		{"[b.plain.test]", "b.plain.test[192.0.2.2]:25"},
		{"[192.0.2.9]:2600", "[192.0.2.9]:2600"},
		{"[127.0.0.1]:2600", "[127.0.0.1]:2600"},
		{"/run/x", "/run/x"},
		{"address.test", "address.test[192.0.2.5]:25"},
		{"null.test", "error 5.1.10"},
		{"nxdomain.test", "error 5.1.2"},
		{"[nxdomain.test]", "error 5.1.2"},
		{"empty.test", "error 5.4.4"},
		{"servfail.test", "retryat 4.4.3"},
		{"refused.test", "retryat 4.4.3"},
		{"lame.test", "retryat 4.4.3"},
		{"partly.test", "a.plain.test[192.0.2.1]:25 a.plain.test[2001:db8::1]:25"},
		{"gone.test", "error 5.4.4"},
		{"loop.test", "a.plain.test[192.0.2.1]:25 a.plain.test[2001:db8::1]:25"},
		{"best.test", "error 5.4.6"},
		{"byaddr.test", "error 5.4.6"},
		{"self.test", "error 5.4.6"},
		{"local.test", "error 5.4.6"},
		{"[local.test]:2600", "local.test[127.0.0.1]:2600"},
	} {
		d, err := parseDest(tt.host)
		if err != nil {
			t.Fatal(err)
		}
		targets, fail := o.route(t.Context(), &d)
		var got []string
		for _, x := range targets {
			got = append(got, x.relay)
		}
		if fail != nil {
			got = append(got, fail.Action.String(), fail.Status)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: got %s, want %s", tt.host, s, tt.want)
		}
	}
}

// What a server of the DNS can do wrong is temporary; answers that do not fit into a
// packet are had by TCP.
func TestRouteByWire(t *testing.T) {
	zone := []string{
		"big.test TRUNCATE", "big.test MX 10 mx0.big.test",
		"bogus.test GARBAGE", "drop.test DROP", "referral.test REFERRAL", "formerr.test FORMERR", "old.test NOEDNS", "old.test A 192.0.2.7",
		"partly.test MX 10 bogus.partly.test", "partly.test MX 20 good.partly.test", "bogus.partly.test GARBAGE", "good.partly.test A 192.0.2.8",
		"circle.test CNAME circle2.test", "circle2.test CNAME circle.test",
		"mute.test MX 10 mx.mute.test", "mx.mute.test DROP",
	}
	for i := range 60 {
		zone = append(zone, fmt.Sprintf("big.test MX %d mx%d.big.test", 20+i, i), fmt.Sprintf("mx%d.big.test A 192.0.2.9", i))
	}
	dns := dnstest.Start(t, zone...)
	o := defaultOptions()
	var err error
	if o.resolver, err = resolver.New(resolver.Config{Servers: []string{dns.Addr()}, Hosts: "-", Timeout: 200 * time.Millisecond, Attempts: 1}); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"big.test": "mx0.big.test[192.0.2.9]:25", "bogus.test": "retryat 4.4.3", "drop.test": "retryat 4.4.3", "referral.test": "retryat 4.4.3",
		"formerr.test": "retryat 4.4.3", "old.test": "old.test[192.0.2.7]:25", "partly.test": "good.partly.test[192.0.2.8]:25",
		"circle.test": "retryat 4.4.3", "mute.test": "retryat 4.4.3", "nowhere.test": "error 5.1.2",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			d, err := parseDest(host)
			if err != nil {
				t.Fatal(err)
			}
			targets, fail := o.route(t.Context(), &d)
			got := ""
			if fail != nil {
				got = fail.Action.String() + " " + fail.Status
			} else {
				got = targets[0].relay
			}
			if got != want {
				t.Errorf("got %s, want %s (%+v)", got, want, fail)
			}
			if len(targets) > maxExchangers {
				t.Errorf("%d targets", len(targets))
			}
		})
	}
}

func TestRouteOrder(t *testing.T) {
	fake, err := resolver.NewFake(routeZone...)
	if err != nil {
		t.Fatal(err)
	}
	o := defaultOptions()
	o.resolver = fake
	d, _ := parseDest("equal.test")
	seen := make(map[string]bool)
	for range 200 {
		targets, _ := o.route(t.Context(), &d)
		seen[targets[0].name] = true
	}
	if len(seen) != 2 {
		t.Errorf("equal exchangers are not taken at random: %v", seen)
	}
	o.self = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("2001:db8:ffff::1")} }
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::")}
	want := []netip.Addr{addrs[2], addrs[0], addrs[1]}
	if got := o.order(addrs); !slices.Equal(got, want) {
		t.Errorf("order %v", got)
	}
}

// Mail for a domain goes to the next exchanger when the first is not there.
func TestDeliverMX(t *testing.T) {
	s := newSink(t, "PIPELINING")
	fake, err := resolver.NewFake("x.test MX 10 dead.x.test", "x.test MX 20 live.x.test", "dead.x.test A 127.0.0.99", "live.x.test A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, func(o *options) {
		quick(o)
		o.port, o.resolver = s.port(), fake
	})
	for range 2 {
		res := d.deliver(simple("a@x.test"), "x.test")
		if got := outcome(res); got != "ok 2.0.0" || !strings.HasPrefix(res[0].Relay, "live.x.test[127.0.0.1]:") {
			t.Errorf("got %+v", res)
		}
	}
	res := d.deliver(simple("a@x.test"), "nowhere.test")
	if got := outcome(res); got != "error 5.1.2" {
		t.Errorf("got %+v", res)
	}
	if got := outcome(d.deliver(simple("a@x.test"), "")); got != "deferred 4.3.5" {
		t.Errorf("no host: %s", got)
	}
	if got := outcome(d.deliver(simple("a@x.test"), "bad host")); got != "error 5.1.2" {
		t.Errorf("bad host: %s", got)
	}
}

// A host with our own name behind an exchanger's address is ourselves.
func TestLoopByName(t *testing.T) {
	s := newSink(t)
	fake, err := resolver.NewFake("x.test MX 10 mx.x.test", "mx.x.test A 127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, func(o *options) {
		quick(o)
		o.hello, o.port, o.resolver = "sink.test", s.port(), fake
		o.self = func() []netip.Addr { return nil }
	})
	if got := outcome(d.deliver(simple("a@x.test"), "[mx.x.test]")); got != "ok 2.0.0" {
		t.Errorf("host chosen by the administrator: %s", got)
	}
	tg := target{network: "tcp", address: s.ln.Addr().String(), relay: "mx.x.test", dest: "x.test", looked: true}
	if _, fail := d.c.open(t.Context(), &setup{target: &tg}, time.Time{}); fail == nil || fail.Status != "5.4.6" || fail.Action != dsn.Failed {
		t.Errorf("exchanger of a domain: %+v", fail)
	}
}
