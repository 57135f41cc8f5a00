package smtpserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"zmailer/shellcfg/shell"
)

// shared TABLE: greylisting and rates are kept in the Redis server of the table, by
// all hosts that say so together. Without it each host keeps its own.
func (c *config) sharedStore(call *shell.Call) error {
	if len(call.Args) != 1 {
		return errors.New("want the name of a table of type redis")
	}
	for _, t := range c.use.tables {
		if t.Name() != call.Args[0] {
			continue
		}
		if !t.IsRedis() {
			return fmt.Errorf("%s: not a table of type redis", t.Name())
		}
		c.shared = t
		return nil
	}
	return fmt.Errorf("%s: no such table: declare it before, with relation -t redis", call.Args[0])
}

// sharedPrefix begins all keys.
const sharedPrefix = "zmailer:smtpserver:"

// rateScript is rates.allow for windows that begin at the same moment on all hosts:
// it counts an event unless there were too many, and forgets the count by itself.
const rateScript = `local now = tonumber(redis.call('GET', KEYS[1]) or '0')
local was = tonumber(redis.call('GET', KEYS[2]) or '0')
if now + was * tonumber(ARGV[2]) + 1 > tonumber(ARGV[1]) then return '0' end
redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return '1'`

// sharedRate counts an event in windows of a length.
func (c *config) sharedRate(ctx context.Context, key string, most int, length time.Duration, now time.Time) (bool, error) {
	n := now.UnixNano() / int64(length)
	rest := 1 - float64(now.UnixNano()%int64(length))/float64(length)
	// The braces keep both keys on one server of a cluster.
	name := func(n int64) string { return sharedPrefix + "rate:{" + key + "}:" + strconv.FormatInt(n, 10) }
	v, found, err := c.shared.Redis(ctx, "EVAL", rateScript, "2", name(n), name(n-1),
		strconv.Itoa(most), strconv.FormatFloat(rest, 'f', 6, 64), strconv.FormatInt(2*length.Milliseconds(), 10))
	if err == nil && !found {
		err = errors.New("no answer to a count")
	}
	return v == "1", err
}

// sharedGrey is greylist.allow. What is over is forgotten by the server.
func (c *config) sharedGrey(ctx context.Context, network, key string, delay time.Duration, now time.Time) (bool, error) {
	seconds := func(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }
	at := strconv.FormatInt(now.Unix(), 10)
	known, try := sharedPrefix+"known:"+network, sharedPrefix+"tried:"+key
	if _, found, err := c.shared.Redis(ctx, "GET", known); err != nil {
		return false, err
	} else if found {
		_, _, err := c.shared.Redis(ctx, "SET", known, at, "EX", seconds(greyKeep))
		return true, err
	}
	if _, set, err := c.shared.Redis(ctx, "SET", try, at, "NX", "EX", seconds(greyRetry)); err != nil || set && delay > 0 {
		return false, err
	}
	first, found, err := c.shared.Redis(ctx, "GET", try)
	if err != nil || !found {
		return false, err
	}
	begun, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return false, fmt.Errorf("%s is %.40q", try, first)
	}
	if now.Unix()-begun < int64(delay/time.Second) {
		return false, nil
	}
	_, _, err = c.shared.Redis(ctx, "SET", known, at, "EX", seconds(greyKeep))
	return true, err
}
