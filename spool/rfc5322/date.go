package rfc5322

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

var errDate = errors.New("invalid date")

// maxDate is longer than any date with its comments.
const maxDate = 200

// FormatDate writes t as RFC 5322 §3.3 date-time, in the location of t.
func FormatDate(t time.Time) string { return t.Format("Mon, 2 Jan 2006 15:04:05 -0700") }

// ParseDate reads the date of a Date or Received field: RFC 5322 with its
// obsolete forms, and what else is seen: no seconds, asctime, dashes between
// day and month, names in full, RFC 3339. The day of the week is not checked,
// a zone nobody knows is UTC as RFC 5322 §4.3 has it.
func ParseDate(s string) (time.Time, error) {
	if len(s) > maxDate {
		return time.Time{}, errDate
	}
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(s)); err == nil {
		return t, nil
	}
	d := dateParts{year: -1, zone: time.UTC}
	p := scanner{s: s, header: true}
	for {
		if why := p.skip(); why != "" {
			return time.Time{}, errDate
		}
		if p.end() {
			return d.time()
		}
		start := p.i
		for !p.end() && class[p.s[p.i]]&isSpace == 0 && p.s[p.i] != ',' && p.s[p.i] != '(' {
			p.i++
		}
		if !d.word(p.s[start:p.i]) {
			return time.Time{}, errDate
		}
		if p.at(',') {
			p.i++
		}
	}
}

// dateParts collects what the words of a date tell, in any order but that the
// day comes before the year.
type dateParts struct {
	year, day      int
	month          time.Month
	hour, min, sec int
	clock          bool
	zone           *time.Location
}

func (d *dateParts) word(w string) bool {
	switch {
	case w == "":
		return true
	case w[0] == '+' || w[0] == '-':
		return d.offset(w)
	case strings.Contains(w, ":"):
		return d.time24(w)
	case w[0] >= '0' && w[0] <= '9':
		if strings.Count(w, "-") == 2 { // 2-Jan-06
			for part := range strings.SplitSeq(w, "-") {
				if !d.word(part) {
					return false
				}
			}
			return true
		}
		return d.number(w)
	}
	return d.name(w)
}

func (d *dateParts) number(w string) bool {
	n, ok := digits(w, 4)
	switch {
	case !ok:
		return false
	case d.day == 0 && len(w) <= 2:
		d.day = n
		return n >= 1 && n <= 31
	case d.year >= 0:
		return false
	case len(w) == 2 && n < 50: // RFC 5322 §4.3
		n += 2000
	case len(w) == 2 || len(w) == 3:
		n += 1900
	}
	d.year = n
	return len(w) > 1
}

func (d *dateParts) time24(w string) bool {
	parts := strings.SplitN(w, ":", 4)
	if d.clock || len(parts) > 3 {
		return false
	}
	var v [3]int
	for i, part := range parts {
		if i == 2 {
			part, _, _ = strings.Cut(part, ".") // fractions of seconds
		}
		var ok bool
		if v[i], ok = digits(part, 2); !ok {
			return false
		}
	}
	d.hour, d.min, d.sec, d.clock = v[0], v[1], v[2], true
	return d.hour < 24 && d.min < 60 && d.sec <= 60
}

func (d *dateParts) offset(w string) bool {
	n, ok := digits(strings.Replace(w[1:], ":", "", 1), 4)
	if !ok || len(w) < 5 || n%100 >= 60 || n/100 > 24 {
		return false
	}
	off := n/100*3600 + n%100*60
	if w[0] == '-' {
		off = -off
	}
	d.zone = time.FixedZone("", off)
	return true
}

// zones are the names that RFC 5322 §4.3 gives a meaning, and others that are
// still seen and mean one thing, in hours.
var zones = map[string]int{
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
	"CET": 1, "CEST": 2, "MET": 1, "MEST": 2, "EET": 2, "EEST": 3, "JST": 9,
}

func (d *dateParts) name(w string) bool {
	if len(w) >= 3 {
		for m := time.January; m <= time.December; m++ {
			if d.month == 0 && len(w) <= len("September") && equalFold(m.String()[:3], w[:3]) {
				d.month = m
				return true
			}
		}
		if equalFold(w[:3], "GMT") || equalFold(w[:3], "UTC") {
			return len(w) == 3 || d.offset(w[3:])
		}
		if h, ok := zones[strings.ToUpper(w)]; ok {
			d.zone = time.FixedZone(strings.ToUpper(w), h*3600)
		}
	}
	return true // a day of the week, a zone that is not known
}

func (d *dateParts) time() (time.Time, error) {
	if d.year < 0 || d.month == 0 || d.day == 0 {
		return time.Time{}, errDate
	}
	t := time.Date(d.year, d.month, d.day, d.hour, d.min, min(d.sec, 59), 0, d.zone)
	if t.Day() != d.day {
		return time.Time{}, errDate
	}
	return t, nil
}

// digits reads an unsigned number of at most max digits.
func digits(s string, max int) (int, bool) {
	if s == "" || len(s) > max || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
