package smtpserver

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// rates count events by name in sliding windows: what happened in this window,
// and of the one before the part that the sliding window still covers.
type rates struct {
	mu sync.Mutex
	m  map[string]rateWindow
}

type rateWindow struct {
	begun    time.Time
	length   time.Duration
	now, was int
}

const (
	maxRates   = 100_000
	maxRateKey = 512
)

// allow counts an event, unless there have been max of them. What is refused
// does not count, or a client that tries again and again would never come in.
func (r *rates) allow(key string, most int, length time.Duration, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, known := r.m[key]
	if !known || w.length != length || now.Sub(w.begun) >= 2*length || now.Before(w.begun) {
		w = rateWindow{begun: now, length: length}
	} else if now.Sub(w.begun) >= length {
		w.begun, w.was, w.now = w.begun.Add(length), w.now, 0
	}
	rest := 1 - float64(now.Sub(w.begun))/float64(length)
	if float64(w.now)+float64(w.was)*rest+1 > float64(most) {
		return false
	}
	if !known && len(r.m) >= maxRates {
		r.makeRoom(now)
	}
	if r.m == nil {
		r.m = make(map[string]rateWindow)
	}
	w.now++
	r.m[key] = w
	return true
}

// makeRoom forgets windows that are over, and if that is not enough some that
// are not: memory is bounded even when clients are not.
func (r *rates) makeRoom(now time.Time) {
	for key, w := range r.m {
		if now.Sub(w.begun) >= 2*w.length {
			delete(r.m, key)
		}
	}
	for key := range r.m {
		if len(r.m) <= maxRates/4*3 {
			return
		}
		delete(r.m, key)
	}
}

// rate NUMBER/TIME KEY...: counts an event of that key. Status 0: it is one of
// the first NUMBER in the TIME that has just gone by; 1: it is one too many.
func rate(call *shell.Call) int {
	s, ok := call.Host.(*session)
	if !ok {
		return call.Fail(errors.New("rate: there is no client while the file is loaded"))
	}
	if len(call.Args) < 2 {
		return call.Fail(errors.New("rate: want NUMBER/TIME and what to count, such as 100/1h \"$client_net\""))
	}
	number, length, _ := strings.Cut(call.Args[0], "/")
	most, err := parseNumber(number)
	if err != nil {
		return call.Fail(fmt.Errorf("rate: %s: %w", call.Args[0], err))
	}
	window, err := time.ParseDuration(length)
	if err != nil || window < time.Second {
		return call.Fail(fmt.Errorf("rate: %s: want a time of a second or more, such as 100/1h", call.Args[0]))
	}
	key := strings.Join(call.Args, "\x00")
	if len(key) > maxRateKey {
		key = key[:maxRateKey]
	}
	if s.cfg.shared != nil && !s.probe {
		ok, err := s.cfg.sharedRate(call.Ctx, key, most, window, time.Now())
		switch {
		case err != nil:
			s.log.Error("rate cannot be counted", "client", s.clientText, "err", err)
			return proc.TempFail
		case ok:
			return 0
		}
		return 1
	}
	if s.probe || s.srv.rates.allow(key, most, window, time.Now()) {
		return 0
	}
	return 1
}
