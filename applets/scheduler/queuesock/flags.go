package queuesock

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"zmailer/spool"
	"zmailer/spool/proc"
)

// SelectFlags are the options by which every command selects recipients.
type SelectFlags struct {
	sel                             *Selection
	older, younger, larger, smaller string
}

// AddSelectFlags adds the options to f; short gives them the names that
// they have in mailq. Finish must be called when the options are parsed.
func AddSelectFlags(f *pflag.FlagSet, sel *Selection, short bool) *SelectFlags {
	channel, host, status := "", "", "status"
	if short {
		channel, host, status = "c", "h", "dsn" // --status is a report of mailq
	}
	s := &SelectFlags{sel: sel}
	f.StringVar(&sel.Sender, "sender", "", "sender; <> is the null sender (* and ? match)")
	f.StringVar(&sel.Recipient, "recipient", "", "address of the recipient")
	f.StringVar(&sel.Domain, "domain", "", "domain of the recipient's address")
	f.StringVarP(&sel.Channel, "channel", channel, "", "channel")
	f.StringVarP(&sel.Host, "host", host, "", "host")
	f.StringVar(&sel.Reason, "reason", "", "part of the last reply")
	f.StringVar(&sel.Status, status, "", "status of the last reply, such as 4.4.*")
	f.StringVar(&sel.State, "state", "", "ready, waiting, running or held")
	f.StringVar(&s.older, "older", "", "age at least, such as 90m or 2d")
	f.StringVar(&s.younger, "younger", "", "age at most")
	f.StringVar(&s.larger, "larger", "", "size at least, such as 500k or 10M")
	f.StringVar(&s.smaller, "smaller", "", "size at most")
	return s
}

// Finish checks the options and the ids that are the arguments, and completes the
// selection. Its errors carry the exit status of wrong usage.
func (s *SelectFlags) Finish(ids []string) (err error) {
	s.sel.IDs = nil
	for _, arg := range ids {
		id, err := ParseID(arg)
		if err != nil {
			return err
		}
		s.sel.IDs = append(s.sel.IDs, string(id))
	}
	for _, f := range []struct {
		name, v string
		dst     *int64
		parse   func(string) (int64, error)
	}{
		{"older", s.older, &s.sel.MinAge, parseAge}, {"younger", s.younger, &s.sel.MaxAge, parseAge},
		{"larger", s.larger, &s.sel.MinSize, parseSize}, {"smaller", s.smaller, &s.sel.MaxSize, parseSize},
	} {
		if f.v == "" {
			continue
		}
		if *f.dst, err = f.parse(f.v); err != nil {
			return proc.Exit(proc.Usage, "--%s %s: %w", f.name, f.v, err)
		}
	}
	return nil
}

// ParseID reads the id of a message as people write it.
func ParseID(s string) (spool.ID, error) {
	id, err := spool.ParseID(strings.ToUpper(s))
	if err != nil {
		return "", proc.Exit(proc.Usage, "%w", err)
	}
	return id, nil
}

// parseAge reads a time such as 90m, 36h or 2d, in seconds.
func parseAge(s string) (int64, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errors.New("want a time such as 90m, 36h or 2d")
		}
		return int64(n) * 24 * 60 * 60, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Second {
		return 0, errors.New("want a time such as 90m, 36h or 2d")
	}
	return int64(d / time.Second), nil
}

// parseSize reads a number of bytes, with k, M or G.
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKMG")
	n, err := strconv.ParseUint(digits, 10, 32)
	shift := map[string]uint{"": 0, "k": 10, "K": 10, "M": 20, "G": 30}
	by, ok := shift[s[len(digits):]]
	if err != nil || !ok || n == 0 {
		return 0, errors.New("want a size such as 4000, 500k or 10M")
	}
	return int64(n) << by, nil
}
