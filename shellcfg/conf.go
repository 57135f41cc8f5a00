// Package shellcfg is the mailer's configuration: zmailer.conf (Conf), and below
// it the language of all configuration files (shell), lookup tables (relations),
// DNS (resolver), users, and the stock policy (cf).
package shellcfg

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"zmailer/spool"
	"zmailer/spool/disk"
)

// A Conf is zmailer.conf: what all programs of an instance share.
type Conf struct {
	File string // its path; etc/zmailer/zmailer.conf

	Postoffice string // the spool
	LogDir     string // router, scheduler, smtpserver logs
	MailShare  string // forms and other files that come with the program
	MailVar    string // the other configuration files and db/; by default the directory of File
	Mailbox    string // template of a user's mailbox: "mbox:/var/mail/%u" or "maildir:%h/Maildir"
	Hostname   string // this host in Received:, EHLO and reports
	MyDomain   string // completes unqualified addresses
	SmartHost  string // where all mail that is not local goes; "[addr]:port" without MX lookup
	SMTPListen string // addresses the SMTP server listens on, when smtpserver.conf does not say
	SpoolSync  string // journal, file or none

	vars map[string]string
}

// systemConf is the zmailer.conf of a program that a package has installed.
const systemConf = "/etc/zmailer/zmailer.conf"

// ConfPath is the zmailer.conf that this process works with: ZCONFIG in the
// environment, else etc/zmailer/zmailer.conf beside the directory of the
// program (PREFIX/bin, PREFIX/sbin, PREFIX/lib), else /etc/zmailer/zmailer.conf.
func ConfPath() string {
	// A caller with more rights than the one who started the program must not be
	// led to another configuration.
	if path := os.Getenv("ZCONFIG"); path != "" && os.Getuid() == os.Geteuid() && os.Getgid() == os.Getegid() {
		return path
	}
	if exe, err := os.Executable(); err == nil {
		for dir, i := filepath.Dir(exe), 0; i < 3; i++ {
			dir = filepath.Dir(dir)
			path := filepath.Join(dir, "etc/zmailer/zmailer.conf")
			if _, err := os.Stat(path); err == nil {
				return path
			}
		}
	}
	return systemConf
}

// ConfVersion is the version of the configuration's format. zmailer.conf names it as
// CONFVERSION; the installer, init and import write it. Without it, it is 1. A program
// reads its own version and all before it.
const ConfVersion = 1

// MaxConfSize bounds every configuration file.
const MaxConfSize = 1 << 20

// LoadConf reads the zmailer.conf at path. Most are plain assignments and are
// read without starting the shell; one that is more is run as shell.
func LoadConf(path string) (*Conf, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	src, err := readConf(path)
	if err != nil {
		return nil, err
	}
	vars, plain := parseAssignments(src)
	if !plain {
		if vars, err = runAssignments(path, src); err != nil {
			return nil, err
		}
	}
	return newConf(path, vars)
}

func readConf(path string) ([]byte, error) {
	src, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no configuration at %s: install the mailer with install.sh, or name its zmailer.conf in ZCONFIG or with --zconfig: %w", path, err)
	}
	if err == nil && len(src) > MaxConfSize {
		err = fmt.Errorf("%s: %d bytes: too large", path, len(src))
	}
	return src, err
}

// readFile reads a file without the poller of the runtime, whose start costs as much
// as the rest of what a submission does with this file.
func readFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 4<<10)
	for len(b) <= MaxConfSize {
		n, err := unix.Read(fd, b[len(b):cap(b)])
		switch {
		case err == unix.EINTR:
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		case n == 0:
			return b, nil
		default:
			b = b[:len(b)+n]
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
	}
	return b, nil
}

func newConf(path string, vars map[string]string) (*Conf, error) {
	c := &Conf{File: path, vars: vars}
	if v := vars["CONFVERSION"]; v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%s: CONFVERSION=%.20s: want the number of a version", path, v)
		}
		if n > ConfVersion {
			return nil, fmt.Errorf("%s: CONFVERSION=%d: this program reads version %d; the configuration is of a later one: install that, or put the old configuration back", path, n, ConfVersion)
		}
	}
	c.Postoffice = c.or("POSTOFFICE", "/var/spool/postoffice")
	c.LogDir = c.or("LOGDIR", "/var/log/zmailer")
	c.MailShare = c.or("MAILSHARE", "/usr/share/zmailer")
	c.MailVar = c.or("MAILVAR", filepath.Dir(path))
	c.Mailbox = c.or("MAILBOX", "mbox:/var/mail/%u")
	c.SmartHost = c.Get("SMARTHOST")
	c.SMTPListen = c.or("SMTPLISTEN", "127.0.0.1:25")
	c.SpoolSync = c.or("SPOOLSYNC", "journal")
	switch c.SpoolSync {
	case "journal", "file", "none":
	default:
		return nil, fmt.Errorf("%s: SPOOLSYNC=%s: want journal, file or none", path, c.SpoolSync)
	}
	if _, err := c.logTargets(); err != nil {
		return nil, err
	}
	for name, dir := range map[string]string{"POSTOFFICE": c.Postoffice, "LOGDIR": c.LogDir, "MAILSHARE": c.MailShare, "MAILVAR": c.MailVar} {
		if !filepath.IsAbs(dir) {
			return nil, fmt.Errorf("%s: %s=%s: must be an absolute path", path, name, dir)
		}
	}
	if c.Hostname = c.Get("HOSTNAME"); c.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("%s: HOSTNAME is not set: %w", path, err)
		}
		c.Hostname = name
	}
	c.MyDomain = c.or("MYDOMAIN", c.Hostname)
	for _, name := range []string{"HOSTNAME", "MYDOMAIN"} {
		v := c.Hostname
		if name == "MYDOMAIN" {
			v = c.MyDomain
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`<>@"()\`, r) }) {
			return nil, fmt.Errorf("%s: %s=%q: not a domain name", path, name, v)
		}
	}
	return c, nil
}

// Get returns a variable of zmailer.conf, "" if it is not set.
func (c *Conf) Get(name string) string { return c.vars[name] }

// Vars returns a copy of all variables that the file sets, with the defaults of
// the ones Conf has fields for.
func (c *Conf) Vars() map[string]string {
	vars := map[string]string{
		"ZCONFIG": c.File, "POSTOFFICE": c.Postoffice, "LOGDIR": c.LogDir, "MAILSHARE": c.MailShare,
		"MAILVAR": c.MailVar, "MAILBOX": c.Mailbox, "HOSTNAME": c.Hostname, "MYDOMAIN": c.MyDomain,
		"SMARTHOST": c.SmartHost, "SMTPLISTEN": c.SMTPListen, "SPOOLSYNC": c.SpoolSync,
	}
	// Where the service manager has put secrets for this daemon; systemd.exec(5).
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		vars["CREDENTIALS_DIRECTORY"] = dir
	}
	for name, v := range c.vars {
		if _, known := vars[name]; !known {
			vars[name] = v
		}
	}
	return vars
}

func (c *Conf) or(name, def string) string {
	if v := c.vars[name]; v != "" {
		return v
	}
	return def
}

// Path is the path of another configuration file or table of the instance, such
// as "router.cf" or "db/aliases".
func (c *Conf) Path(name string) string { return filepath.Join(c.MailVar, name) }

// LogPath is the path of a program's log.
func (c *Conf) LogPath(name string) string { return filepath.Join(c.LogDir, name) }

// OpenSpool opens the instance's spool. The journal is not part of it: the
// daemon that needs one opens it.
func (c *Conf) OpenSpool() (*spool.Spool, error) {
	s, err := spool.Open(c.Postoffice)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.File, err)
	}
	s.NoSync = c.SpoolSync == "none"
	return s, nil
}

// EnterSpool is OpenSpool for a process that serves one spool as long as it lives.
func (c *Conf) EnterSpool() (*spool.Spool, error) {
	s, err := c.OpenSpool()
	if err == nil {
		err = disk.Enter(s.Root)
	}
	return s, err
}

// parseAssignments reads src if it is nothing but comments and assignments of
// literals, single- or double-quoted text and $NAME of earlier assignments.
// Anything else is left to the shell, which knows what it means.
func parseAssignments(src []byte) (vars map[string]string, plain bool) {
	vars = make(map[string]string)
	for len(src) > 0 {
		var line []byte
		line, src, _ = bytes.Cut(src, []byte("\n"))
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		name, rest, ok := strings.Cut(text, "=")
		if !ok || !isName(name) {
			return nil, false
		}
		v, ok := plainValue(rest, vars)
		if !ok {
			return nil, false
		}
		vars[name] = v
	}
	return vars, true
}

func isName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func plainValue(s string, vars map[string]string) (string, bool) {
	var b strings.Builder
	for s != "" {
		switch c := s[0]; {
		case c == '\'':
			text, rest, ok := strings.Cut(s[1:], "'")
			if !ok {
				return "", false // goes on in the next line
			}
			b.WriteString(text)
			s = rest
		case c == '"':
			text, rest, ok := strings.Cut(s[1:], `"`)
			if !ok || strings.ContainsAny(text, "\\`") {
				return "", false
			}
			text, ok = expandNames(text, vars)
			if !ok {
				return "", false
			}
			b.WriteString(text)
			s = rest
		case c == ' ' || c == '\t':
			s = strings.TrimLeft(s, " \t")
			return b.String(), s == "" || s[0] == '#'
		case strings.IndexByte("`\\;&|<>(){}*?[]~!#", c) >= 0:
			return "", false
		default:
			i := strings.IndexAny(s, "'\" \t`\\;&|<>()*?[]~!#")
			if i < 0 {
				i = len(s)
			}
			text, ok := expandNames(s[:i], vars)
			if !ok || text != s[:i] && strings.ContainsAny(text, " \t") {
				return "", false
			}
			b.WriteString(text)
			s = s[i:]
		}
	}
	return b.String(), true
}

// expandNames replaces $NAME and ${NAME}; other uses of $ are for the shell.
func expandNames(s string, vars map[string]string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "$")
		if strings.ContainsAny(before, "{}") {
			return "", false
		}
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		var name string
		if strings.HasPrefix(after, "{") {
			n, rest, ok := strings.Cut(after[1:], "}")
			if !ok {
				return "", false
			}
			name, s = n, rest
		} else {
			i := 0
			for i < len(after) && isName(after[:i+1]) {
				i++
			}
			name, s = after[:i], after[i:]
		}
		v, set := vars[name]
		if !isName(name) || !set {
			return "", false
		}
		b.WriteString(v)
	}
}
