package spool

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A DeliverBy is what the sender asks of the time of delivery: RFC 2852. The zero
// DeliverBy asks nothing.
type DeliverBy struct {
	At     time.Time // in whole seconds
	Return bool      // mode R: what is not delivered by then goes back; else (N) the sender hears of it
	Trace  bool      // T: he hears of each host that the message is passed on to
	Told   bool      // N: the time was over when the message came, and the host before has told him
}

// MaxBy is the largest number of seconds of RFC 2852: nine digits.
const MaxBy = 999_999_999

// IsZero says that nothing was asked.
func (d DeliverBy) IsZero() bool { return d.At.IsZero() }

// Mode is "R" or "N", with a T behind it if there is to be a trace.
func (d DeliverBy) Mode() string {
	mode := "N"
	if d.Return {
		mode = "R"
	}
	if d.Trace {
		mode += "T"
	}
	return mode
}

// Left is the time that is left in seconds, as BY has it; it is negative when the
// time has passed.
func (d DeliverBy) Left(now time.Time) int64 {
	return min(max(d.At.Unix()-now.Unix(), -MaxBy), MaxBy)
}

// String is the form of files: seconds since 1970, a blank, and the mode, with an O
// behind it if the sender is told.
func (d DeliverBy) String() string {
	if d.IsZero() {
		return ""
	}
	s := strconv.FormatInt(d.At.Unix(), 10) + " " + d.Mode()
	if d.Told {
		s += "O"
	}
	return s
}

// ParseDeliverBy reads what String writes.
func ParseDeliverBy(s string) (d DeliverBy, err error) {
	at, mode, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n <= 0 || n > 1<<40 {
		return d, fmt.Errorf("deliverby %.40q is no time", s)
	}
	d.At = time.Unix(n, 0)
	mode, d.Told = strings.CutSuffix(mode, "O")
	return d, d.SetMode(mode)
}

// SetMode reads N or R, and T.
func (d *DeliverBy) SetMode(mode string) error {
	mode, d.Trace = strings.CutSuffix(mode, "T")
	d.Return = mode == "R"
	if mode != "R" && mode != "N" {
		return fmt.Errorf("mode %.10q: want R, N, RT or NT", mode)
	}
	return nil
}
