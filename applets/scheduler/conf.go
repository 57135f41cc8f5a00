package scheduler

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"strconv"
	"strings"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/shell"
)

// Stock is the scheduler.conf of the program. It is used when the instance has
// none, and copied out by the installer.
//
//go:embed scheduler.conf
var Stock []byte

// maxConf bounds scheduler.conf and the files it reads.
const maxConf = 1 << 20

// LoadConfig runs the scheduler.conf at path, or the stock one if there is none.
// vars are visible to it as shell variables.
func LoadConfig(ctx context.Context, path string, vars map[string]string) (*Config, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		src, err, path = Stock, nil, "(stock)/scheduler.conf"
	}
	if err != nil {
		return nil, err
	}
	if len(src) > maxConf {
		return nil, fmt.Errorf("%s: %d bytes: too large", path, len(src))
	}
	return parseConfig(ctx, path, src, vars)
}

// Agents loads the instance's scheduler.conf, and returns what says whether it has a
// command for a destination.
func Agents(ctx context.Context, conf *shellcfg.Conf) (has func(channel, host string) bool, err error) {
	c, err := LoadConfig(ctx, conf.Path(confName), conf.Vars())
	if err != nil {
		return nil, err
	}
	return func(channel, host string) bool { return c.Match(channel, host).Command != "" }, nil
}

// CheckConf says what is wrong with the instance's scheduler.conf.
func CheckConf(ctx context.Context, conf *shellcfg.Conf) error {
	_, err := LoadConfig(ctx, conf.Path(confName), conf.Vars())
	return err
}

func parseConfig(ctx context.Context, path string, src []byte, vars map[string]string) (*Config, error) {
	l := &loader{conf: baseConfig(path), base: baseClause()}
	opts := shell.Options{
		Commands: map[string]shell.Command{"match": l.command(l.match), "queue": l.command(l.queue)},
		Vars:     vars,
		Open:     shell.FileOpener,
		Log:      func(pos shell.Position, line string) { l.said = append(l.said, pos.String()+": "+line) },
	}
	ctx, cancel := context.WithTimeout(ctx, loadTime)
	defer cancel()
	if _, err := shell.Load(ctx, opts, path, bytes.NewReader(src)); err != nil {
		return nil, err
	}
	if len(l.said) > 0 {
		return nil, fmt.Errorf("%s", l.said[0])
	}
	l.conf.Clauses = append(l.conf.Clauses, &l.base)
	return l.conf, nil
}

const loadTime = 10 * time.Second

// A loader runs the commands of scheduler.conf.
type loader struct {
	conf *Config
	base Clause // "*/*" as it is so far: what a new clause starts from
	said []string
}

func (l *loader) command(fn func(pos string, args []string) error) shell.Command {
	return func(c *shell.Call) int {
		if err := fn(c.Pos.String(), c.Args); err != nil {
			return c.Fail(fmt.Errorf("%s: %w", c.Name, err))
		}
		return 0
	}
}

// match 'channel/host' key=value...
func (l *loader) match(pos string, args []string) error {
	if len(args) == 0 {
		return errors.New("want a pattern channel/host and attributes key=value")
	}
	cl := l.base
	cl.Retries = append([]int(nil), cl.Retries...)
	cl.Pattern, cl.Where = args[0], pos
	channel, host, ok := strings.Cut(strings.ToLower(args[0]), "/")
	if !ok {
		host = "*"
	}
	cl.channel, cl.host = channel, host
	if err := checkGlob(channel, host); err != nil {
		return err
	}
	for _, arg := range args[1:] {
		key, v, hasValue := strings.Cut(arg, "=")
		if err := cl.set(key, v, hasValue); err != nil {
			return err
		}
	}
	if cl.isDefault() {
		if len(l.conf.Clauses) > 0 {
			return errors.New("*/* holds the defaults of the clauses behind it: put it first")
		}
		l.base = cl
		return nil
	}
	l.conf.Clauses = append(l.conf.Clauses, &cl)
	return nil
}

func checkGlob(halves ...string) error {
	for _, p := range halves {
		if p == "" {
			return errors.New("pattern with an empty half")
		}
		for _, pair := range []string{"[]", "{}"} {
			if strings.Count(p, pair[:1]) != strings.Count(p, pair[1:]) {
				return fmt.Errorf("pattern %q: %s without %s", p, pair[:1], pair[1:])
			}
		}
		// Each star can try every place: more than a few would let a host name of
		// the right kind keep the matcher busy.
		if strings.Count(p, "*") > 6 || strings.Count(p, "{") > 3 {
			return fmt.Errorf("pattern %q: too many * or {", p)
		}
	}
	return nil
}

// queue key=value...: settings of the queue as a whole.
func (l *loader) queue(_ string, args []string) error {
	for _, arg := range args {
		key, v, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "report-interval":
			l.conf.ReportInterval, err = duration(v, time.Second)
		case "double-bounce":
			l.conf.DoubleBounce = v
		case "start-rate":
			l.conf.StartRate, err = number(v, 1, 1000)
		case "metrics":
			if err = checkMetrics(v); err == nil {
				l.conf.Metrics = v
			}
		default:
			err = errors.New("unknown setting")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
	}
	return nil
}

// set sets one attribute of a clause.
func (c *Clause) set(key, v string, hasValue bool) error {
	a, ok := attributes[key]
	if !ok {
		if instead := dropped[key]; instead != "" {
			return fmt.Errorf("attribute %s is one of ZMailer that is gone: %s", key, instead)
		}
		if name := shell.Nearest(key, maps.Keys(attributes)); name != "" {
			return fmt.Errorf("unknown attribute %q (did you mean %s?)", key, name)
		}
		return fmt.Errorf("unknown attribute %q", key)
	}
	if !hasValue {
		if !a.flag {
			return fmt.Errorf("attribute %s: want %s=value", key, key)
		}
		v = "yes"
	}
	if err := a.set(c, v); err != nil {
		return fmt.Errorf("%s=%s: %w", key, v, err)
	}
	return nil
}

// An attribute of a match command.
type attribute struct {
	flag bool // may stand without a value
	set  func(c *Clause, v string) error
}

var attributes = map[string]attribute{
	"interval":           {set: timeAttr(func(c *Clause) *time.Duration { return &c.Interval }, time.Second)},
	"expiry":             {set: timeAttr(func(c *Clause) *time.Duration { return &c.Expiry }, time.Second)},
	"expiry2":            {set: timeAttr(func(c *Clause) *time.Duration { return &c.Expiry2 }, 0)},
	"delay-warning":      {set: timeAttr(func(c *Clause) *time.Duration { return &c.DelayWarning }, 0)},
	"deliver-by-window":  {set: timeAttr(func(c *Clause) *time.Duration { return &c.ByWindow }, 0)},
	"idlemax":            {set: timeAttr(func(c *Clause) *time.Duration { return &c.IdleMax }, 0)},
	"deadline":           {set: timeAttr(func(c *Clause) *time.Duration { return &c.Deadline }, time.Second)},
	"retries":            {set: func(c *Clause, v string) (err error) { c.Retries, err = retries(v); return err }},
	"skew":               {set: intAttr(func(c *Clause) *int { return &c.Skew }, 0, 100)},
	"maxta":              {set: intAttr(func(c *Clause) *int { return &c.MaxTA }, 1, 10_000)},
	"maxchannel":         {set: intAttr(func(c *Clause) *int { return &c.MaxChannel }, 1, 10_000)},
	"maxring":            {set: intAttr(func(c *Clause) *int { return &c.MaxRing }, 1, 10_000)},
	"maxthr":             {set: intAttr(func(c *Clause) *int { return &c.MaxThr }, 1, 10_000)},
	"initial":            {set: intAttr(func(c *Clause) *int { return &c.Initial }, 1, 10_000)},
	"overfeed":           {set: intAttr(func(c *Clause) *int { return &c.Overfeed }, 0, 10_000)},
	"nice":               {set: intAttr(func(c *Clause) *int { return &c.Nice }, -20, 19)},
	"rate":               {set: rateAttr(func(c *Clause) *Rate { return &c.Rate.Messages })},
	"sender-rate":        {set: rateAttr(func(c *Clause) *Rate { return &c.SenderRate.Messages })},
	"channel-rate":       {set: rateAttr(func(c *Clause) *Rate { return &c.ChannelRate.Messages })},
	"rate-rcpts":         {set: rateAttr(func(c *Clause) *Rate { return &c.Rate.Rcpts })},
	"sender-rate-rcpts":  {set: rateAttr(func(c *Clause) *Rate { return &c.SenderRate.Rcpts })},
	"channel-rate-rcpts": {set: rateAttr(func(c *Clause) *Rate { return &c.ChannelRate.Rcpts })},
	"command":            {set: func(c *Clause, v string) error { c.Command = v; return nil }},
	"user":               {set: func(c *Clause, v string) error { c.User = v; return nil }},
	"group":              {set: func(c *Clause, v string) error { c.Group = v; return nil }},
	"ageorder":           {flag: true, set: flagAttr(func(c *Clause) *bool { return &c.AgeOrder })},
	"queueonly":          {flag: true, set: flagAttr(func(c *Clause) *bool { return &c.QueueOnly })},
	"byhost":             {flag: true, set: flagAttr(func(c *Clause) *bool { return &c.ByHost })},
}

// dropped says what takes the place of attributes of ZMailer's scheduler.conf that are not
// here; the manual page lists them too.
var dropped = map[string]string{
	"maxchannels": "write maxchannel", "maxrings": "write maxring", "maxtransport": "write maxta", "maxtransports": "write maxta",
	"wakeuprestartonly": "new mail never wakes a destination in back-off",
	"priority":          "use nice",
	"syspriority":       "the service manager sets the scheduler's own priority",
	"sysnice":           "the service manager sets the scheduler's own nice value",
	"reporttimes":       "use delay-warning, and queue report-interval",
	"deliveryform":      "put forms into the directory forms",
	"expiryform":        "put forms into the directory forms",
	"bychannel":         "agents are never shared between channels",
	"gangschedule":      "threads of a clause share its agents already",
	"maxhost":           "use maxthr, or byhost with maxring",
}

func timeAttr(field func(*Clause) *time.Duration, least time.Duration) func(*Clause, string) error {
	return func(c *Clause, v string) (err error) {
		*field(c), err = duration(v, least)
		return err
	}
}

func intAttr(field func(*Clause) *int, least, most int) func(*Clause, string) error {
	return func(c *Clause, v string) (err error) {
		*field(c), err = number(v, least, most)
		return err
	}
}

func rateAttr(field func(*Clause) *Rate) func(*Clause, string) error {
	return func(c *Clause, v string) (err error) {
		*field(c), err = parseRate(v)
		return err
	}
}

func flagAttr(field func(*Clause) *bool) func(*Clause, string) error {
	return func(c *Clause, v string) error {
		switch v {
		case "yes":
			*field(c) = true
		case "no":
			*field(c) = false
		default:
			return errors.New("want yes or no")
		}
		return nil
	}
}

func number(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("want a number from %d to %d", least, most)
	}
	return n, nil
}

const maxRetries = 100

func retries(v string) ([]int, error) {
	var ns []int
	for _, w := range strings.Fields(v) {
		n, err := number(w, 1, 1_000_000)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", w, err)
		}
		ns = append(ns, n)
	}
	if len(ns) == 0 || len(ns) > maxRetries {
		return nil, fmt.Errorf("want 1 to %d multiples of interval", maxRetries)
	}
	return ns, nil
}

// maxDuration keeps sums of times within what a sec can hold.
const maxDuration = 10 * 365 * 24 * time.Hour

// duration reads a sum of numbers with the units d, h, m, s; a bare number is
// seconds.
func duration(v string, least time.Duration) (time.Duration, error) {
	bad := fmt.Errorf("want a time such as 90s, 5m, 1d12h, of at least %v", least)
	var d time.Duration
	for rest := v; ; {
		i := 0
		for i < len(rest) && '0' <= rest[i] && rest[i] <= '9' {
			i++
		}
		n, err := strconv.Atoi(rest[:i])
		if err != nil || n > int(maxDuration/time.Second) {
			return 0, bad
		}
		unit := time.Second
		if i < len(rest) {
			switch rest[i] {
			case 'd':
				unit = 24 * time.Hour
			case 'h':
				unit = time.Hour
			case 'm':
				unit = time.Minute
			case 's':
			default:
				return 0, bad
			}
			i++
		}
		if time.Duration(n) > maxDuration/unit {
			return 0, bad
		}
		if d += time.Duration(n) * unit; d > maxDuration {
			return 0, bad
		}
		if rest = rest[i:]; rest == "" {
			break
		}
	}
	if d < least {
		return 0, bad
	}
	return d, nil
}
