package shellcfg

import (
	"fmt"
	"path/filepath"
	"strings"

	"zmailer/spool"
	"zmailer/spool/proc"
)

// Confine keeps a daemon that speaks with strangers from files that it has no use
// for: it can write below the spool, LOGDIR, db/ and the system's directories for
// what is temporary, and cannot read below hide. It must be called before anything
// is opened; see proc.Confine. In zmailer.conf, LANDLOCK=no turns it off, and
// LANDLOCK_WRITE and LANDLOCK_READ are lists of other directories, for tables,
// sockets and programs that need them. Programs that the daemon starts are confined
// in the same way.
func (c *Conf) Confine(hide ...string) error {
	switch v := c.Get("LANDLOCK"); v {
	case "", "yes":
	case "no":
		return nil
	default:
		return fmt.Errorf("%s: LANDLOCK=%s: want yes or no", c.File, v)
	}
	rules := proc.Confinement{
		Write: []string{c.Postoffice, c.LogDir, c.Path("db"), "/tmp", "/var/tmp", "/dev", "/run"},
		Read:  []string{c.MailVar, c.MailShare, filepath.Dir(c.File)},
		Hide:  hide,
	}
	// Parts of the spool can be links to other disks.
	for _, d := range spool.Dirs {
		rules.Write = append(rules.Write, filepath.Join(c.Postoffice, d.Name))
	}
	for name, list := range map[string]*[]string{"LANDLOCK_WRITE": &rules.Write, "LANDLOCK_READ": &rules.Read} {
		for _, dir := range strings.Fields(c.Get(name)) {
			if !filepath.IsAbs(dir) {
				return fmt.Errorf("%s: %s: %s is not an absolute path", c.File, name, dir)
			}
			*list = append(*list, dir)
		}
	}
	_, err := proc.Confine(rules)
	return err
}
