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
// what is temporary, and cannot read below hide. See ConfineTo.
func (c *Conf) Confine(hide ...string) error {
	rules := proc.Confinement{
		Write: []string{c.LogDir, c.Path("db"), "/tmp", "/var/tmp", "/dev", "/run"},
		Hide:  hide,
	}
	rules.Write = append(rules.Write, c.spoolDirs()...)
	return c.ConfineTo(rules)
}

// ConfineTo confines a program of the mailer to rules; the configuration and the
// spool can be read besides. It must be called before anything is opened; see
// proc.Confine. In zmailer.conf, LANDLOCK=no turns it off, and LANDLOCK_WRITE and
// LANDLOCK_READ are lists of other directories, for tables, sockets and programs that
// need them. Programs that it starts are confined in the same way.
func (c *Conf) ConfineTo(rules proc.Confinement) error {
	switch v := c.Get("LANDLOCK"); v {
	case "", "yes":
	case "no":
		return nil
	default:
		return fmt.Errorf("%s: LANDLOCK=%s: want yes or no", c.File, v)
	}
	rules.Read = append(rules.Read, c.MailVar, c.MailShare, filepath.Dir(c.File))
	rules.Read = append(rules.Read, c.spoolDirs()...)
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

// spoolDirs is the spool and its parts, which can be links to other disks.
func (c *Conf) spoolDirs() []string {
	dirs := []string{c.Postoffice}
	for _, d := range spool.Dirs {
		dirs = append(dirs, filepath.Join(c.Postoffice, d.Name))
	}
	return dirs
}

// Private is where people, and the mail of users, have their files: nothing for a
// program that speaks with the network.
func Private() []string {
	return []string{"/home", "/root", "/boot", "/var/mail", "/var/spool/mail", "/var/spool/cron"}
}
