package scheduler

import (
	"math/rand/v2"
	"strings"
	"time"
)

// A Clause is one "match" of scheduler.conf: how the threads it matches are run.
type Clause struct {
	Pattern       string // "channel/host" with *, ?, [a-z] and {a,b}
	Where         string // file:line
	channel, host string // the pattern's halves, in lower case

	Interval     time.Duration // unit of Retries
	Retries      []int
	Skew         int // percent of a delay that is added at random, so that retries spread
	Expiry       time.Duration
	Expiry2      time.Duration // added to Expiry for recipients that this scheduler has not tried yet
	DelayWarning time.Duration // 0: none
	ByWindow     time.Duration // so long before a sender's deadline there is a last attempt

	MaxTA      int // agents of all channels together
	MaxChannel int // agents of this channel
	MaxRing    int // agents of this pool
	MaxThr     int // jobs at once for one thread
	Initial    int // jobs at once for a thread that has not proved itself
	Overfeed   int // jobs an agent gets beyond the first; -1: as many as it asks for

	Command  string
	User     string
	Group    string
	Nice     int
	IdleMax  time.Duration
	Deadline time.Duration // an agent that holds a job for longer is killed

	Rate        Limit // to one destination
	SenderRate  Limit // of one sender, over the threads of the clause
	ChannelRate Limit // of the channel

	AgeOrder  bool // oldest message first
	QueueOnly bool // started by flush alone
	ByHost    bool // agents are not shared between hosts
}

// baseClause holds the defaults, before scheduler.conf says anything.
func baseClause() Clause {
	return Clause{
		Pattern: "*/*", channel: "*", host: "*",
		Interval: time.Minute, Retries: []int{1, 2, 4, 8, 15, 30, 60, 120, 180, 240}, Skew: 10,
		Expiry: 5 * 24 * time.Hour, Expiry2: 24 * time.Hour, DelayWarning: 4 * time.Hour, ByWindow: time.Minute,
		MaxTA: 100, MaxChannel: 100, MaxRing: 4, MaxThr: 20, Initial: 5, Overfeed: -1,
		IdleMax: 4 * time.Minute, Deadline: 40 * time.Minute,
	}
}

// A Config is a loaded scheduler.conf.
type Config struct {
	File    string
	Clauses []*Clause

	ReportInterval time.Duration // failures of a message that goes on are collected this long
	DoubleBounce   string        // who gets reports about mail without a sender; empty: they are logged
	StartRate      int           // agents started in a second
	Metrics        string        // loopback address or socket where they are served by HTTP; empty: not at all
}

func baseConfig(file string) *Config {
	return &Config{File: file, ReportInterval: 5 * time.Minute, StartRate: 30}
}

// Match returns the first clause that matches; "*/*" matches what no other does.
func (c *Config) Match(channel, host string) *Clause {
	channel, host = strings.ToLower(channel), strings.ToLower(host)
	var last *Clause
	for _, cl := range c.Clauses {
		if cl.isDefault() {
			last = cl
		} else if glob(cl.channel, channel) && glob(cl.host, host) {
			return cl
		}
	}
	return last
}

func (c *Clause) isDefault() bool { return c.channel == "*" && c.host == "*" }

// delay returns how long to wait after the given number of failed attempts. The
// last element of the table repeats.
func (c *Clause) delay(failures int) time.Duration {
	i := min(max(failures, 1), len(c.Retries)) - 1
	d := time.Duration(c.Retries[i]) * c.Interval
	if spread := d * time.Duration(c.Skew) / 100; spread > 0 {
		d += rand.N(spread)
	}
	return max(d, time.Second)
}

// command returns the words of the clause's command for a thread. Words before
// the program of the form NAME=value belong to its environment.
func (c *Clause) command(channel, host string) (env, argv []string) {
	expand := strings.NewReplacer("${host}", host, "${channel}", channel, "$host", host, "$channel", channel)
	for _, w := range strings.Fields(c.Command) {
		w = expand.Replace(w)
		if len(argv) == 0 && strings.Contains(w, "=") {
			env = append(env, w)
		} else {
			argv = append(argv, w)
		}
	}
	return env, argv
}

// perHost says that the clause's agents serve one host each.
func (c *Clause) perHost() bool {
	return c.ByHost || strings.Contains(c.Command, "$host") || strings.Contains(c.Command, "${host}")
}

// glob matches s against a pattern of *, ?, [abc], [a-z], [^a] and {x,y}.
func glob(p, s string) bool {
	for p != "" {
		switch p[0] {
		case '*':
			p = strings.TrimLeft(p, "*")
			if p == "" {
				return true
			}
			for i := 0; i <= len(s); i++ {
				if glob(p, s[i:]) {
					return true
				}
			}
			return false
		case '{':
			list, rest, ok := strings.Cut(p[1:], "}")
			if !ok {
				return false
			}
			for _, alt := range strings.Split(list, ",") {
				if glob(alt+rest, s) {
					return true
				}
			}
			return false
		case '[':
			set, rest, ok := strings.Cut(p[1:], "]")
			if !ok || s == "" || !inSet(set, s[0]) {
				return false
			}
			p, s = rest, s[1:]
		default:
			if s == "" || p[0] != '?' && p[0] != s[0] {
				return false
			}
			p, s = p[1:], s[1:]
		}
	}
	return s == ""
}

func inSet(set string, c byte) bool {
	negated := strings.HasPrefix(set, "^")
	set = strings.TrimPrefix(set, "^")
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= c && c <= set[i+2] {
				return !negated
			}
			i += 2
		} else if set[i] == c {
			return !negated
		}
	}
	return negated
}
