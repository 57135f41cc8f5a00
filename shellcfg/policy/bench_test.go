package policy_test

import (
	"context"
	"fmt"
	"testing"

	"zmailer/shellcfg/policy"
)

// BenchmarkRoute routes one address of a message with the stock policy and the
// tables of the tests. On one core of an AMD EPYC, in addresses a second: alias 16,000
// (two addresses: itself and the user it leads to), user 35,000, unknown 45,000, remote
// 68,000. The largest items of the profile, which overlap:
//
//	alias   43 % $(...): running a command and keeping its output
//	        15 % memory allocation, and 10 % the write barrier of the collector
//	        11 % system calls that open ~/.forward
//	remote  36 % $(...)
//	        25 % lookups in tables, most of them without a file
//	        25 % memory allocation
func BenchmarkRoute(b *testing.B) {
	p := newHost(b, stockFiles()).load()
	for _, bb := range []struct{ name, addr string }{
		{"alias", "ann@example.org"},
		{"user", "joe@example.org"},
		{"remote", "x@remote.example.com"},
		{"unknown", "nosuch@example.org"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				s := p.Session(context.Background(), &policy.Message{Sender: "ann@example.net"})
				s.Route(policy.Recipient{Addr: bb.addr}, func(*policy.Decision) bool { n++; return true })
				s.Close()
			}
			if n == 0 {
				b.Fatal("no decisions")
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "addrs/s")
		})
	}
}

// BenchmarkExpand expands an alias of many members.
func BenchmarkExpand(b *testing.B) {
	files := stockFiles()
	list := []byte("big: joe")
	const members = 10_000
	for i := range members {
		list = fmt.Appendf(list, ",\n\tuser%d@remote%d.example", i, i%500)
	}
	files["db/aliases"] = string(list) + "\n"
	p := newHost(b, files).load()
	for b.Loop() {
		s := p.Session(context.Background(), &policy.Message{Sender: "ann@example.net"})
		n := 0
		s.Route(policy.Recipient{Addr: "big"}, func(*policy.Decision) bool { n++; return true })
		s.Close()
		if n != members+1 {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "members/s")
}
