package vacation

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"zmailer/shellcfg"
	"zmailer/shellcfg/users"
	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// An account is the user who is away.
type account struct {
	login    string
	fullName string
	domain   string   // completes login to an address
	names    []string // local parts and addresses that are his, in lower case
	hosts    []string // domains where login is he, in lower case

	memory string // paths
	texts  []string

	conf *shellcfg.Conf
}

const (
	memoryFile   = ".vacation.memory"
	textFile     = ".vacation.msg"
	week         = 7 * 24 * time.Hour
	intervalName = "VACATIONINTERVAL" // in zmailer.conf, as in ZMailer
)

func newAccount(o *options) (*account, error) {
	conf, err := shellcfg.LoadConf(shellcfg.ConfPath())
	if err != nil {
		return nil, proc.Exit(proc.Config, "%w", err)
	}
	a := &account{login: o.login, domain: conf.MyDomain, conf: conf}
	a.hosts = []string{"", "localhost", strings.ToLower(conf.Hostname), strings.ToLower(conf.MyDomain)}
	home := ""
	if !o.virtual {
		if home, err = a.lookup(conf); err != nil {
			return nil, err
		}
	}
	a.memory = within(home, o.memory, memoryFile)
	a.texts = []string{within(home, o.text, textFile)}
	if o.text == "" {
		a.texts = append(a.texts, filepath.Join(conf.MailShare, "vacation.msg"))
	}
	for _, name := range append([]string{a.login}, o.aliases...) {
		if addr, err := rfc5322.ParseAddress(name); err == nil {
			name = addr.String()
		}
		a.names = append(a.names, strings.ToLower(name))
	}
	return a, nil
}

// usualInterval is what counts when neither the user nor his memory says one.
func (a *account) usualInterval() (time.Duration, error) {
	v := a.conf.Get(intervalName)
	if v == "" {
		return week, nil
	}
	d, err := parseInterval(v)
	if err != nil {
		return 0, proc.Exit(proc.Config, "%s: %s=%s: %w", a.conf.File, intervalName, v, err)
	}
	return d, nil
}

// lookup finds the user's entry and returns his home directory.
func (a *account) lookup(conf *shellcfg.Conf) (home string, err error) {
	known := users.New(users.System(conf.Path("db/users")))
	var u users.User
	var found bool
	if a.login == "" {
		u, found, err = known.LookupUID(os.Getuid())
	} else {
		u, found, err = known.Lookup(a.login)
	}
	switch {
	case err != nil:
		return "", proc.Exit(proc.TempFail, "look up %q: %w", a.login, err)
	case !found && a.login == "":
		return "", proc.Exit(proc.NoUser, "uid %d is no user: name the login", os.Getuid())
	case !found:
		return "", proc.Exit(proc.NoUser, "no such user %.60q", a.login)
	}
	a.login = u.Name
	a.fullName = fullName(u)
	return u.Home, nil
}

// fullName reads the name in the first part of the GECOS field, where "&" stands
// for the login.
func fullName(u users.User) string {
	name, _, _ := strings.Cut(u.Gecos, ",")
	if strings.Contains(name, "&") && u.Name != "" {
		name = strings.ReplaceAll(name, "&", strings.ToUpper(u.Name[:1])+u.Name[1:])
	}
	return rfc5322.OneLine(strings.TrimSpace(name), 100)
}

// within is the path that an option names, relative to the home directory, or the
// default there.
func within(home, given, def string) string {
	if given == "" {
		given = def
	}
	if filepath.IsAbs(given) {
		return given
	}
	return filepath.Join(home, given)
}

// owns says whether an address in To or Cc is the user: a name without a domain
// is he in any domain, as mail reaches him by domains that only the router knows.
func (a *account) owns(addr rfc5322.Address) bool {
	local, _, _ := strings.Cut(strings.ToLower(addr.Local), "+")
	whole := strings.ToLower(addr.String())
	for _, name := range a.names {
		if name == local || name == whole || name == strings.ToLower(addr.Local) {
			return true
		}
	}
	return false
}

// isSelf says whether a sender is the user himself.
func (a *account) isSelf(addr rfc5322.Address) bool {
	domain := strings.ToLower(addr.Domain)
	whole := strings.ToLower(addr.String())
	for _, name := range a.names {
		if strings.Contains(name, "@") && name == whole {
			return true
		}
	}
	for _, host := range a.hosts {
		if domain == host {
			return a.owns(addr)
		}
	}
	return false
}
