package fsck

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/journal"
)

// journal checks the segments and done logs. Their content is what recovery makes of
// it: it takes the records that are whole and stops at the first that is not.
func (c *checker) journal() {
	c.each(spool.JournalDir, func(name string) {
		rel := filepath.Join(spool.JournalDir, name)
		path := filepath.Join(c.s.Root, rel)
		segment, done := strings.HasSuffix(name, ".seg"), strings.HasPrefix(name, "done.")
		if name == "lock" {
			return
		}
		if !segment && !done {
			c.unknown(rel, "smtpserver")
			return
		}
		c.count("journal")
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			c.trouble(rel, &fs.PathError{Op: "stat", Path: path, Err: err})
			return
		}
		if what := kind(&st); what != "" {
			c.report(&finding{Path: rel, State: wrongType, What: what + " in the journal", Needs: "smtpserver",
				Steps: c.aside(rel, "found as "+rel+": "+what)})
			return
		}
		if !segment {
			return // torn and foreign lines of a done log are passed over
		}
		info, err := journal.Inspect(path)
		switch {
		case err != nil:
			c.trouble(rel, err)
		case info.Kind == journal.Damaged:
			c.report(&finding{Path: rel, State: damaged, What: "no journal segment, and not an empty one", Needs: "smtpserver",
				Steps: c.aside(rel, "found as "+rel+": its header is damaged; messages in it can be read as text")})
		case info.Kind == journal.Earlier:
			c.report(&finding{Path: rel, State: "journal", Note: true,
				What: fmt.Sprintf("of an earlier boot, %d messages: the router replays it when it starts", info.Records)})
		}
	})
}
