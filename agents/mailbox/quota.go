package mailbox

import (
	"fmt"
	"strconv"
	"strings"
)

// A quota is how much a mailbox may hold; 0 is without limit. An mbox has no count
// of messages.
type quota struct {
	bytes, count int64
}

// parseQuota parses words such as "100M", "1G,20000C", "0" and what the first line
// of a maildirsize says: numbers with S (or nothing) for bytes and C for messages;
// K, M and G are units of 1024.
func parseQuota(text string) (q quota, err error) {
	for word := range strings.SplitSeq(text, ",") {
		bad := fmt.Errorf("quota %.40q: want a size such as 500M, a number of messages such as 10000C, or both with a comma", text)
		digits := strings.TrimRight(word, "KMGSC")
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 {
			return q, bad
		}
		to, shift := &q.bytes, 0
		switch unit := word[len(digits):]; unit {
		case "C":
			to = &q.count
		case "", "S":
		case "K", "M", "G":
			shift = 10 * (1 + strings.Index("KMG", unit))
		default:
			return q, bad
		}
		if n > (1<<62)>>shift {
			return q, bad
		}
		*to = n << shift
	}
	return q, nil
}

// String is the quota as a maildirsize begins with it.
func (q quota) String() string {
	switch {
	case q.count == 0:
		return fmt.Sprintf("%dS", q.bytes)
	case q.bytes == 0:
		return fmt.Sprintf("%dC", q.count)
	}
	return fmt.Sprintf("%dS,%dC", q.bytes, q.count)
}

func (q quota) limited() bool { return q != quota{} }

// overQuota is the error of a letter that does not fit in the mailbox any more.
type overQuota struct {
	path  string
	quota quota
}

func (o *overQuota) Error() string { return fmt.Sprintf("%s has a quota of %s", o.path, o.quota) }

// allows says whether an mbox of that size may get a letter more.
func (q quota) allows(path string, size, letter int64) error {
	if q.bytes > 0 && size+letter > q.bytes {
		return &overQuota{path, quota{bytes: q.bytes}}
	}
	return nil
}

// fits says whether that much is within the quota.
func (q quota) fits(bytes, count int64) bool {
	return (q.bytes == 0 || bytes <= q.bytes) && (q.count == 0 || count <= q.count)
}
