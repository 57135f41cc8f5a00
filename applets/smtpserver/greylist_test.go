package smtpserver

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"zmailer/spool"
)

func TestGreylist(t *testing.T) {
	sp := &spool.Spool{Root: t.TempDir()}
	g := newGreylist(sp)
	t0 := time.Unix(1e9, 0)
	for i, step := range []struct {
		after time.Duration
		net   string
		key   string
		want  bool
	}{
		{0, "n", "n a", false},
		{time.Minute, "n", "n a", false},
		{time.Minute, "n", "n b", false},
		{6 * time.Minute, "n", "n a", true},
		{6 * time.Minute, "n", "n c", true}, // the network is known
		{6 * time.Minute, "m", "m a", false},
		{6*time.Minute + 3*24*time.Hour, "m", "m a", false}, // came again too late
		{30 * 24 * time.Hour, "n", "n x", true},
		{60 * 24 * time.Hour, "n", "n x", true}, // and so on
		{100 * 24 * time.Hour, "n", "n x", false},
	} {
		got, err := g.allow(step.net, step.key, 5*time.Minute, t0.Add(step.after))
		if err != nil || got != step.want {
			t.Errorf("step %d: %v, %v", i, got, err)
		}
		if i%2 == 0 { // it survives restarts, and a torn line
			if err := g.close(); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(f, "12")
			f.Close()
			g = newGreylist(sp)
		}
	}
}

func TestGreylistCompacts(t *testing.T) {
	sp := &spool.Spool{Root: t.TempDir()}
	g := newGreylist(sp)
	t0 := time.Unix(1e9, 0)
	for i := range 3 * compactFrom {
		// The day between makes an entry be written again.
		if _, err := g.allow(fmt.Sprint("n", i%10), "k", 0, t0.Add(time.Duration(i)*25*time.Hour/10)); err != nil {
			t.Fatal(err)
		}
	}
	if g.lines > compactFrom+1 {
		t.Errorf("%d lines for %d entries", g.lines, len(g.m))
	}
	n := len(g.m)
	if err := g.close(); err != nil {
		t.Fatal(err)
	}
	g = newGreylist(sp)
	if err := g.load(t0.Add(3 * compactFrom * 25 * time.Hour / 10).Unix()); err != nil || len(g.m) != n {
		t.Errorf("%d entries read back of %d, %v", len(g.m), n, err)
	}
}

func TestGreyNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.7": "192.0.2.0/24", "2001:db8:1:2:3::4": "2001:db8:1:2::/64"} {
		if got := greyNetwork(netip.MustParseAddr(in)); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
