package smtpserver

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"zmailer/applets/smtpserver/saslauth"
	"zmailer/shellcfg/relations"
	"zmailer/shellcfg/shell"
)

// passwords FILE: those who may log in.
func (c *config) passwordFile(call *shell.Call) error {
	if len(call.Args) != 1 {
		return errors.New("want one file of lines made by zmailer passwd")
	}
	f, err := saslauth.OpenFile(c.path(call.Args[0]))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (made by: zmailer passwd USER)", err)
	}
	if err != nil {
		return err
	}
	c.auth.checkers = append(c.auth.checkers, f)
	c.auth.keys, c.auth.hasKeys = f, f.HasKeys
	return nil
}

// auth_with KIND ...: where else passwords are checked. See authKinds.
func (c *config) authWith(call *shell.Call) error {
	if len(call.Args) == 0 {
		return errAuthKinds
	}
	kind, args := call.Args[0], call.Args[1:]
	f := authKinds[kind]
	if f == nil {
		return errAuthKinds
	}
	if err := f(c, args); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	return nil
}

var errAuthKinds = errors.New("want saslauthd, dovecot, shadow, checkpassword, table or ldap")

var authKinds = map[string]func(c *config, args []string) error{
	"saslauthd":     (*config).withSaslauthd,
	"dovecot":       (*config).withDovecot,
	"shadow":        (*config).withShadow,
	"checkpassword": (*config).withProgram,
	"table":         (*config).withTable,
	"ldap":          (*config).withLDAP,
}

func (c *config) addChecker(k saslauth.Checker) { c.auth.checkers = append(c.auth.checkers, k) }

// saslauthd [SOCKET] [service=NAME] [realm=NAME]
func (c *config) withSaslauthd(args []string) error {
	s := &saslauth.Saslauthd{Socket: saslauth.SaslauthdSocket}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		switch {
		case strings.HasPrefix(arg, "/"):
			s.Socket = arg
		case ok && name == "service":
			s.Service = value
		case ok && name == "realm":
			s.Realm = value
		default:
			return fmt.Errorf("%s: want the path of a socket, service=NAME or realm=NAME", arg)
		}
	}
	c.addChecker(s)
	return nil
}

// dovecot SOCKET
func (c *config) withDovecot(args []string) error {
	if len(args) != 1 || !strings.HasPrefix(args[0], "/") {
		return errors.New("want the path of Dovecot's socket for clients, such as /run/dovecot/auth-client")
	}
	c.auth.dovecot = &saslauth.Dovecot{Socket: args[0]}
	return nil
}

// shadow [FILE]
func (c *config) withShadow(args []string) error {
	path := "/etc/shadow"
	if len(args) == 1 {
		path = c.path(args[0])
	} else if len(args) > 1 {
		return errors.New("want one file like /etc/shadow")
	}
	f, err := saslauth.OpenShadow(path)
	if err != nil {
		return fmt.Errorf("%w; the account of the server needs the group of the file, or ask PAM: auth_with saslauthd", err)
	}
	c.addChecker(f)
	return nil
}

// checkpassword PROGRAM [ARGUMENT...]
func (c *config) withProgram(args []string) error {
	if len(args) == 0 || !strings.HasPrefix(args[0], "/") {
		return errors.New("want the path of a program")
	}
	c.addChecker(saslauth.NewCheckPassword(args...))
	return nil
}

// table NAME [scram]
func (c *config) withTable(args []string) error {
	if len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != "scram" {
		return errors.New("want the name of a table, and scram if all users have keys for it")
	}
	rel, err := c.table(args[0])
	if err != nil {
		return err
	}
	t := saslauth.NewTable(args[0], rel.Lookup)
	c.addChecker(t)
	if len(args) == 2 {
		c.auth.keys, c.auth.hasKeys = t, nil
	}
	return nil
}

// ldap NAME: the user is searched in the table, and the server itself judges the
// password.
func (c *config) withLDAP(args []string) error {
	if len(args) != 1 {
		return errors.New("want the name of a table of type ldap")
	}
	rel, err := c.table(args[0])
	if err != nil {
		return err
	}
	if !rel.CanVerify() {
		return fmt.Errorf("%s is no table of type ldap", args[0])
	}
	c.addChecker(saslauth.CheckerFunc(rel.Verify))
	return nil
}

// table finds a table that was declared before.
func (c *config) table(name string) (*relations.Relation, error) {
	for _, rel := range c.use.tables {
		if rel.Name() == name {
			return rel, nil
		}
	}
	return nil, fmt.Errorf("%s: no such table; declare it before, with relation", name)
}

// auth_offer MECHANISM...: offers no others.
func (c *config) authOffer(call *shell.Call) error {
	c.auth.only = []string{}
	for _, arg := range call.Args {
		name := strings.ToUpper(arg)
		if !slices.Contains(mechanismNames, name) {
			return fmt.Errorf("%s: there are %s", arg, strings.Join(mechanismNames, " "))
		}
		c.auth.only = append(c.auth.only, name)
	}
	return nil
}

// auth_clear NETWORK...: clients that may log in without TLS.
func (c *config) authClear(call *shell.Call) error {
	return addNetworks(&c.auth.clear, call.Args)
}

// checkAuth finds what only the whole file can show.
func (c *config) checkAuth() error {
	a := &c.auth
	switch {
	case a.dovecot != nil && len(a.checkers) > 0:
		return errors.New("auth_with dovecot: Dovecot judges alone; take the others away")
	case len(a.checkers) > 1:
		a.keys = nil // the others know no keys
	}
	if a.any() && c.tls == nil && len(a.clear) == 0 {
		c.log.Warn("nobody can log in: there is no certificate (tls CERT KEY, or acme NAME), and no client may do without (auth_clear)")
	}
	return nil
}
