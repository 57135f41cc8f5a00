package sendmail

import (
	"context"
	"strings"
	"testing"

	"zmailer/spool/proc"
)

func TestRmail(t *testing.T) {
	in := newInstance(t)
	t.Setenv("UU_MACHINE", "uumach")
	for _, tt := range []struct {
		args, in, from, to, rcvd, msg string
		code                          int
	}{
		{"joe", "From ann Mon Jan  1 10:00:00 1990 remote from hosta\nSubject: s\n\nb\n.\nc\n", "ann@hosta", "joe", "hosta", "Subject: s\n\nb\n.\nc\n", 0},
		{"joe", "From ann Mon remote from hosta\n>From ann Sun remote from hostb\nS: s\n\nb\n", "hostb!ann@hosta", "joe", "hosta", "S: s\n\nb\n", 0},
		{"joe", "From ann Mon remote from hosta\n>From ann Sun remote from b.example\nS: s\n\nb\n", "ann@b.example", "joe", "hosta", "S: s\n\nb\n", 0},
		{"joe", "From x@y.example Mon remote from hosta\nS: s\n\n", "x@y.example", "joe", "hosta", "S: s\n\n", 0},
		{"joe", "From ann Mon\nS: s\n\n", "ann@uumach", "joe", "uumach", "S: s\n\n", 0},
		{"-h hostc joe", "From ann Mon\nS: s\n\n", "ann@hostc", "joe", "hostc", "S: s\n\n", 0},
		{"-hhostc joe x.example!hosta!ann", "From <> Mon remote from hosta\nS: s\n\n", "", "joe hosta!ann@x.example", "", "S: s\n\n", 0},
		{"joe", "S: s\n\n", "", "", "", "", proc.DataErr},
		{"joe", "From \nS: s\n\n", "", "", "", "", proc.DataErr},
		{"joe", "", "", "", "", "", proc.DataErr},
		{"", "From ann Mon\nS: s\n\n", "", "", "", "", proc.Usage},
		{"-Z joe", "From ann Mon\nS: s\n\n", "", "", "", "", proc.Usage},
		{"-h a/b joe", "From ann Mon\nS: s\n\n", "", "", "", "", proc.Usage},
		{strings.Repeat("x", 300), "From ann Mon\nS: s\n\n", "", "", "", "", proc.NoUser},
		{"joe", "From " + strings.Repeat("x", 300) + " Mon\nS: s\n\n", "", "", "", "", proc.DataErr},
		{"joe", strings.Repeat("From ann Mon\n", 200) + "S: s\n\n", "", "", "", "", proc.DataErr},
	} {
		err := rmail(context.Background(), strings.Fields(tt.args), strings.NewReader(tt.in))
		if proc.Code(err) != tt.code {
			t.Errorf("%s: %q: %v, want status %d", tt.args, tt.in, err, tt.code)
		}
		list := in.take()
		if tt.code != 0 {
			if len(list) > 0 {
				t.Errorf("%s: %q: stored in spite of %v", tt.args, tt.in, err)
			}
			continue
		}
		if len(list) != 1 {
			t.Errorf("%s: %q: %d messages", tt.args, tt.in, len(list))
			continue
		}
		m := list[0]
		if m.env.From != tt.from || !m.env.HasFrom || m.to() != tt.to || m.env.RcvdFrom != tt.rcvd || m.msg != tt.msg || !m.env.External || m.env.With != "UUCP" {
			t.Errorf("%s: %q: %+v\n%q", tt.args, tt.in, m.env, m.msg)
		}
	}
}
