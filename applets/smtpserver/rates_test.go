package smtpserver

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	var r rates
	t0 := time.Unix(1e9, 0)
	got := ""
	for _, s := range []int{0, 1, 2, 30, 61, 62, 75, 89, 95, 300, 301, 302} {
		if r.allow("k", 2, time.Minute, t0.Add(time.Duration(s)*time.Second)) {
			got += "+"
		} else {
			got += "-"
		}
	}
	// Two at the beginning; the second window has room as they slide out.
	if want := "++------+++-"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for i := range 3 * maxRates {
		r.allow(fmt.Sprint(i), 1, time.Hour, t0)
	}
	if len(r.m) > maxRates {
		t.Errorf("%d windows", len(r.m))
	}
}

func TestListName(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7":   "7.2.0.192.l",
		"2001:db8::f": "f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.l",
	} {
		if got := listName(netip.MustParseAddr(in), "l"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
