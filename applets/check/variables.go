package check

import (
	"fmt"
	"os"
	"os/user"
	"regexp"
	"slices"
	"sort"
	"strconv"

	"zmailer/shellcfg"
	"zmailer/shellcfg/shell"
)

// variables are those of zmailer.conf(5).
var variables = []string{
	"ARCDOMAIN", "CONFVERSION", "DEFAULTUSER", "DKIMTABLE", "HOSTNAME", "LANDLOCK", "LANDLOCK_READ", "LANDLOCK_WRITE",
	"LOG", "LOGDIR", "LOGFORMAT", "LOGLEVEL", "MAILBOX", "MAILBOXTABLE", "MAILHOOK", "MAILQUOTA", "MAILSHARE", "MAILSTORE",
	"MAILVAR", "MASQUERADE", "MBOXLOCKS", "MYDOMAIN", "NOBODY", "POSTOFFICE", "ROUTEREXPIRY", "ROUTERTIME", "SELFADDRESSES",
	"SMARTHOST", "SMTPLISTEN", "SPOOLSYNC", "SRSDOMAIN", "SRSSECRETS", "TLSPOLICY", "TLSREPORTS", "TRUSTED", "TRUSTEDUSER",
	"VACATION",
}

// checkVariables looks for names that are close to a variable of ours, and for users that
// do not exist. Other names are the policy's.
func checkVariables(f *Findings, conf *shellcfg.Conf) {
	vars := conf.Vars()
	names := make([]string, 0, len(vars))
	for name := range vars {
		if !slices.Contains(variables, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if near := shell.Nearest(name, slices.Values(variables)); near != "" {
			f.warnf("%s: %s means nothing to the mailer: %s?", where(conf.File, name), name, near)
		}
	}
	for _, name := range []string{"TRUSTEDUSER", "DEFAULTUSER", "NOBODY"} {
		account := vars[name]
		if _, err := strconv.Atoi(account); err == nil || account == "" {
			continue
		}
		if _, err := user.Lookup(account); err != nil {
			f.errorf("%s: %s=%s: there is no such user", where(conf.File, name), name, account)
		}
	}
}

// where is the file, with the line that sets the variable if there is one.
func where(file, name string) string {
	src, err := os.ReadFile(file)
	if err != nil {
		return file
	}
	loc := regexp.MustCompile(`(?m)^[ \t]*(export[ \t]+)?` + regexp.QuoteMeta(name) + `=`).FindIndex(src)
	if loc == nil {
		return file
	}
	line := 1
	for _, c := range src[:loc[0]] {
		if c == '\n' {
			line++
		}
	}
	return fmt.Sprintf("%s:%d", file, line)
}
