package smtp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"zmailer/shellcfg/resolver"
)

// A network lets each address answer as a test wants it.
type network struct {
	to     string            // where connections go
	state  map[string]string // by IP: "slow" (never), "refused", "late" (after all others), "" (at once)
	mu     sync.Mutex
	dialed []string
	at     []time.Time
	open   sync.WaitGroup // attempts under way
}

func (n *network) dial(ctx context.Context, su *setup, _ time.Time) (net.Conn, error) {
	n.open.Add(1)
	defer n.open.Done()
	host, _, err := net.SplitHostPort(su.target.address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.dialed, n.at = append(n.dialed, host), append(n.at, time.Now())
	n.mu.Unlock()
	switch n.state[host] {
	case "refused":
		return nil, errors.New("refused")
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "late":
		<-ctx.Done() // but the handshake was over at this moment
	}
	var d net.Dialer
	return d.DialContext(context.WithoutCancel(ctx), "tcp", n.to)
}

// The addresses of a host are tried beside each other after a quarter of a second,
// hosts one after the other.
func TestRace(t *testing.T) {
	const v4, v6, backup = "192.0.2.1", "2001:db8::1", "192.0.2.2"
	zone := []string{
		"d.test MX 10 mx.test", "d.test MX 20 backup.test", "mx.test A " + v4, "mx.test AAAA " + v6, "backup.test A " + backup,
		"many.test MX 10 many.test", "many.test A 192.0.2.11", "many.test A 192.0.2.12", "many.test A 192.0.2.13", "many.test AAAA 2001:db8::11",
	}
	for _, tt := range []struct {
		name, dest string
		state      map[string]string
		want       string
		dialed     []string // in this order; nil: not looked at
	}{
		{"the first answers", "d.test", nil, "ok", []string{v4}},
		{"the first is silent", "d.test", map[string]string{v4: "slow"}, "ok", []string{v4, v6}},
		{"the first refuses", "d.test", map[string]string{v4: "refused"}, "ok", []string{v4, v6}},
		{"both answer late", "d.test", map[string]string{v4: "late"}, "ok", []string{v4, v6}},
		{"all refuse", "d.test", map[string]string{v4: "refused", v6: "refused", backup: "refused"}, "retryat", []string{v4, v6, backup}},
		{"the better host is away", "d.test", map[string]string{v4: "refused", v6: "refused"}, "ok", []string{v4, v6, backup}},
		{"one refuses, one is silent", "d.test", map[string]string{v4: "slow", v6: "refused"}, "ok", []string{v4, v6, backup}},
		{"the last of many", "many.test", map[string]string{"192.0.2.11": "slow", "192.0.2.12": "slow", "2001:db8::11": "refused"}, "ok", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSink(t, "PIPELINING")
			fake, err := resolver.NewFake(zone...)
			if err != nil {
				t.Fatal(err)
			}
			n := &network{to: strings.NewReplacer("[", "", "]", "").Replace(s.host()), state: tt.state}
			d := start(t, func(o *options) {
				quick(o)
				o.resolver = fake
				o.timeouts.connect = time.Second
			})
			d.c.dial = func(ctx context.Context, su *setup, limit time.Time) (net.Conn, error) {
				ctx, cancel := context.WithDeadline(ctx, limit)
				defer cancel()
				return n.dial(ctx, su, limit)
			}
			res := d.deliver(simple("a@x.test"), tt.dest)
			if got := res[0].Action.String(); got != tt.want {
				t.Errorf("got %+v", res)
			}
			d.stop()
			n.open.Wait() // nothing is left behind
			if tt.dialed != nil && !slices.Equal(n.dialed, tt.dialed) {
				t.Errorf("dialed %v, want %v", n.dialed, tt.dialed)
			}
			for i := range n.dialed {
				if first := tt.state[n.dialed[0]]; i == 1 && (first == "slow" || first == "late") && n.at[1].Sub(n.at[0]) < attemptDelay {
					t.Errorf("the second began after %v", n.at[1].Sub(n.at[0]))
				}
			}
			if want := map[string]int{"ok": 1}[tt.want]; len(s.received()) != want {
				t.Errorf("%d messages arrived", len(s.received()))
			}
		})
	}
}

// An address that takes connections and then does not speak SMTP leaves the others
// of its host to be tried.
func TestRaceWonBySomebodyElse(t *testing.T) {
	good, bad := newSink(t), newSink(t)
	bad.script = func(_ *sinkConn, at, _ string) string {
		if at == "banner" {
			return "554 5.7.1 not here"
		}
		return ""
	}
	fake, err := resolver.NewFake("mx.test A 192.0.2.1", "mx.test A 192.0.2.2")
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, func(o *options) {
		quick(o)
		o.resolver = fake
	})
	ports := map[string]int{"192.0.2.1": bad.port(), "192.0.2.2": good.port()}
	d.c.dial = func(ctx context.Context, su *setup, _ time.Time) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(su.target.address)
		var nd net.Dialer
		return nd.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", ports[host]))
	}
	if res := d.deliver(simple("a@x.test"), "[mx.test]"); outcome(res) != "ok 2.0.0" {
		t.Errorf("%+v", res)
	}
}
