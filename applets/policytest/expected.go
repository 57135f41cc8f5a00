package policytest

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg/policy"
)

// expected is a decision in words.
type expected []string

func parseExpected(words []string) ([]expected, error) {
	var list []expected
	for {
		end := len(words)
		for i, w := range words {
			if w == "--" {
				end = i
				break
			}
		}
		e := expected(words[:end])
		if err := e.check(); err != nil {
			return nil, err
		}
		list = append(list, e)
		if end == len(words) {
			return list, nil
		}
		words = words[end+1:]
	}
}

func (e expected) check() error {
	counts := map[string][2]int{"deliver": {4, 9}, "reject": {1, 3}, "defer": {1, 3}, "freeze": {1, 1}, "discard": {1, 1}, "nobody": {1, 1}}
	if len(e) == 0 {
		return fmt.Errorf("expect: a decision is missing")
	}
	n, known := counts[e[0]]
	if !known || len(e) < n[0] || len(e) > n[1] {
		return fmt.Errorf("expect: %q is no decision", strings.Join(e, " "))
	}
	if e[0] != "deliver" {
		return nil
	}
	_, err := e.how()
	return err
}

// how is what stands behind channel, host and user of a delivery.
type how struct {
	sender    string // pattern
	hasSender bool
	delay     time.Duration
	held      bool
}

func (e expected) how() (h how, err error) {
	for rest := e[4:]; len(rest) > 0; {
		switch {
		case rest[0] == "held":
			h.held, rest = true, rest[1:]
		case rest[0] == "from" && len(rest) > 1:
			h.sender, h.hasSender, rest = rest[1], true, rest[2:]
		case rest[0] == "after" && len(rest) > 1:
			n, err := strconv.ParseUint(rest[1], 10, 32)
			if err != nil {
				return h, fmt.Errorf("expect: after %s: not a number of seconds", rest[1])
			}
			h.delay, rest = time.Duration(n)*time.Second, rest[2:]
		default:
			return h, fmt.Errorf("expect: %q: want from SENDER, after SECONDS or held behind the user", strings.Join(e, " "))
		}
	}
	return h, nil
}

// is compares with a decision. The sender counts if the test names one.
func (h how) is(d *policy.Decision) bool {
	if h.delay != d.Delay() || h.held != d.Held() {
		return false
	}
	return !h.hasSender || d.HasSender && like(h.sender, d.Sender)
}

// like compares a text with a pattern, or with one that is no pattern.
func like(pattern, text string) bool {
	ok, err := path.Match(pattern, text)
	return pattern == text || ok && err == nil
}

func met(want []expected, got []policy.Decision) bool {
	if len(want) == 1 && want[0][0] == "nobody" {
		return len(got) == 0
	}
	if len(want) != len(got) {
		return false
	}
	for i, e := range want {
		if !e.is(&got[i]) {
			return false
		}
	}
	return true
}

func (e expected) is(d *policy.Decision) bool {
	if e[0] != d.Action.String() {
		return false
	}
	switch {
	case e[0] == "deliver":
		h, err := e.how()
		return err == nil && e[1] == d.Channel && e[2] == d.Host && e[3] == d.User && h.is(d)
	case len(e) > 1 && e[1] != d.Status:
		return false
	case len(e) > 2:
		return like(e[2], d.Text)
	}
	return true
}
