package policy

import (
	"strings"
	"testing"
	"time"

	"zmailer/spool/rfc5322"
)

func TestSRS(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	s := srs{secrets: []string{"new", "old"}, now: func() time.Time { return now }}
	for _, tt := range []rfc5322.Address{
		{Local: "joe", Domain: "far.example"}, {Local: "a=b", Domain: "far.example"}, {Local: "a b", Domain: "far.example"},
		{Local: "joe+x", Domain: "sub.far.example"}, {Local: "ümläut", Domain: "far.example"},
	} {
		f := s.forward(tt, "ours.example")
		if f.Domain != "ours.example" || !strings.HasPrefix(f.Local, "SRS0=") {
			t.Fatalf("%v: %v", tt, f)
		}
		if back, err := s.reverse(f.Local); err != nil || back != tt {
			t.Errorf("%v: %v, %v", tt, back, err)
		}
		lower := strings.ToLower(f.Local)
		if back, err := s.reverse(lower); err != nil || !strings.EqualFold(back.Local, tt.Local) {
			t.Errorf("lower case %v: %v, %v", lower, back, err)
		}
		// The next host on the way, and the one after it.
		second := s.forward(f, "second.example")
		third := s.forward(second, "third.example")
		if len(third.Local) != len(second.Local) {
			t.Errorf("grows: %v, %v", second, third)
		}
		back, err := s.reverse(third.Local)
		if err != nil || back.String() != f.String() {
			t.Errorf("%v: %v, %v", third, back, err)
		}
		past := srs{secrets: []string{"old"}, now: s.now}
		if _, err := s.reverse(past.forward(tt, "x").Local); err != nil {
			t.Errorf("secret that was replaced: %v", err)
		}
		other := srs{secrets: []string{"other"}, now: s.now}
		if _, err := other.reverse(f.Local); err == nil {
			t.Error("hash of another secret is good")
		}
		old := srs{secrets: s.secrets, now: func() time.Time { return now.Add(22 * 24 * time.Hour) }}
		if _, err := old.reverse(f.Local); err == nil {
			t.Error("an old address is good")
		}
	}
	for _, bad := range []string{"", "joe", "SRS0=", "SRS0=a=b=c", "SRS0=a=b=c=d", "SRS1=a=b", "SRS1=a=b==c", "SRS0====", "SRS1===", "srs0"} {
		if a, err := s.reverse(bad); err == nil {
			t.Errorf("%q: %v", bad, a)
		}
	}
}

func FuzzSRS(f *testing.F) {
	s := srs{secrets: []string{"x"}, now: func() time.Time { return time.Unix(0, 0) }}
	f.Add("SRS0=HHHH=TT=d=l", "d.example")
	f.Fuzz(func(t *testing.T, local, domain string) {
		if a, err := s.reverse(local); err == nil {
			t.Logf("%v", a)
		}
		s.forward(rfc5322.Address{Local: local, Domain: domain}, "ours.example")
	})
}
