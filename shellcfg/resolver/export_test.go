package resolver

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zmailer/shellcfg/resolver/internal/zone"
)

// Trusts tells whether the AD bit of the first server would be believed.
func Trusts(t *testing.T, conf string) bool {
	rc, err := parseResolvConf(strings.NewReader(conf), "resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	return rc.servers[0].local || rc.trustAD
}

// SetClock stops the clock of c and returns a function that advances it.
func SetClock(c *Client) func(time.Duration) {
	start := time.Now()
	var passed atomic.Int64
	c.now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
	return func(d time.Duration) { passed.Add(int64(d)) }
}

// WaitFor returns when n callers wait for lookups.
func WaitFor(c *Client, n int) {
	for {
		c.mu.Lock()
		waiting := 0
		for _, f := range c.flights {
			waiting += f.waiters
		}
		c.mu.Unlock()
		if waiting == n {
			return
		}
		runtime.Gosched()
	}
}

// WireSeeds are answers as they go over the network.
func WireSeeds(records []string) (out [][]byte) {
	z, err := zone.Parse(records...)
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"example.org.", "c0.example.", "txt.example.", "null.example.", "nowhere.example."} {
		for _, typ := range []Type{TypeMX, TypeA, TypeTXT} {
			wire, err := z.Reply(newQuery(name, uint16(typ))).Pack()
			if err != nil {
				panic(err)
			}
			out = append(out, wire)
		}
	}
	return out
}

// Digest reads a message as the answer to a question.
func Digest(wire []byte, name string, t Type) (*Answer, error) {
	ch := newChase(name, t)
	q := newQuery(ch.owner, uint16(t))
	if len(wire) > 1 {
		q.Id = uint16(wire[0])<<8 | uint16(wire[1])
	}
	m, err := parseReply(wire, q)
	if err != nil {
		return nil, err
	}
	if _, err := ch.absorb(m, false); err != nil {
		return nil, err
	}
	return &ch.ans, nil
}

// ParseFiles reads text as each of the files of this package.
func ParseFiles(t *testing.T, text string) {
	if rc, err := parseResolvConf(strings.NewReader(text), "resolv.conf"); err == nil {
		if n := len(rc.servers); n < 1 || n > maxServers || rc.timeout > maxTimeout || rc.attempts > maxAttempts || rc.attempts < 1 {
			t.Errorf("%q: %+v", text, rc)
		}
	}
	h, err := parseHosts(strings.NewReader(text), "hosts")
	if err != nil {
		t.Errorf("%q: %v", text, err)
	}
	for name := range h.addrs {
		if c, ok := clean(name); !ok || c != name {
			t.Errorf("host name %q", name)
		}
	}
	f, err := NewFake(text)
	if err == nil {
		f.Query(t.Context(), "a.example", TypeMX)
	}
}
