package smtpserver

import (
	"net/netip"
	"sync"
	"time"
)

// logins remembers failed logins: of each neighbourhood, whose further attempts
// are not looked at when there were too many, and of each user, from wherever they
// came. A user's own places, from which a login has worked before, stay open to
// him while strangers try his password.
type logins struct {
	mu     sync.Mutex
	begun  time.Time
	from   [2]tally[netip.Prefix] // of the window, and of the one before
	user   [2]tally[string]
	places [2]map[place]bool // where users have logged in
}

type place struct {
	user string
	from netip.Prefix
}

const (
	loginWindow = 10 * time.Minute
	maxFailing  = 10000 // neighbourhoods, and users, that are counted
	maxPlaces   = 20000
)

// A tally counts events of very many keys in bounded room, by Misra and Gries: a
// new key that finds no room takes one off all others. So a key may lose a
// maxFailing-th of all events, and one that is far above the others stays.
type tally[K comparable] map[K]int

func (t tally[K]) add(k K) int {
	if _, ok := t[k]; !ok && len(t) >= maxFailing {
		for other := range t {
			if t[other]--; t[other] <= 0 {
				delete(t, other)
			}
		}
		return 0
	}
	t[k]++
	return t[k]
}

// turn begins a new window when it is time.
func (l *logins) turn() {
	now := time.Now()
	past := now.Sub(l.begun)
	if past <= loginWindow && l.from[0] != nil {
		return
	}
	l.begun = now
	l.from[1], l.user[1] = l.from[0], l.user[0]
	if past > 2*loginWindow {
		l.from[1], l.user[1] = nil, nil
	}
	l.from[0], l.user[0] = make(tally[netip.Prefix]), make(tally[string])
}

// failed counts a failed login. It says what is blocked by it from now on, if
// something is.
func (l *logins) failed(user string, from netip.Prefix, limit *limits) (blocked string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	if n := l.from[0].add(from) + l.from[1][from]; n == limit.logins {
		blocked = "failures from this address"
	}
	if user == "" || len(user) > maxUser {
		return blocked
	}
	if n := l.user[0].add(user) + l.user[1][user]; n == limit.userLogins {
		blocked = "failures of this user"
	}
	return blocked
}

func (l *logins) fromBlocked(from netip.Prefix, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	return l.from[0][from]+l.from[1][from] >= limit
}

func (l *logins) userBlocked(user string, from netip.Prefix, limit int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.turn()
	if l.user[0][user]+l.user[1][user] < limit {
		return false
	}
	p := place{user, from}
	return !l.places[0][p] && !l.places[1][p]
}

// succeeded remembers from where a user logs in.
func (l *logins) succeeded(user string, from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[0] == nil || len(l.places[0]) >= maxPlaces/2 {
		l.places[1], l.places[0] = l.places[0], make(map[place]bool)
	}
	l.places[0][place{user, from}] = true
}
