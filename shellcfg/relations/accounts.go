package relations

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"zmailer/shellcfg/internal/watch"
)

// User is an account.
type User struct {
	Name  string
	UID   uint32
	GID   uint32
	Gecos string
	Home  string
	Shell string
}

// FullName is the first field of the gecos, where '&' stands for the name.
func (u User) FullName() string {
	full, _, _ := strings.Cut(u.Gecos, ",")
	if !strings.Contains(full, "&") || u.Name == "" {
		return full
	}
	return strings.ReplaceAll(full, "&", strings.ToUpper(u.Name[:1])+u.Name[1:])
}

// Group is a group of accounts.
type Group struct {
	Name    string
	GID     uint32
	Members []string
}

// accounts finds users and groups: in the files first and then, as a static
// binary has no name service switch of its own, by the command getent, if
// nsswitch.conf names a source besides the files. Every method tells apart
// found, not found, and could not be asked.
type accounts struct {
	passwd *watch.File[index[User]]
	group  *watch.File[index[Group]]
	nss    *nss
}

// newAccounts uses the files and the getent of e.
func newAccounts(e Env) *accounts {
	passwd, group := e.Passwd, e.Group
	if passwd == "" {
		passwd = "/etc/passwd"
	}
	if group == "" {
		group = "/etc/group"
	}
	return &accounts{
		passwd: &watch.File[index[User]]{Path: passwd, Load: loadPasswd, Interval: e.Watch, Log: e.Log},
		group:  &watch.File[index[Group]]{Path: group, Load: loadGroup, Interval: e.Watch, Log: e.Log},
		nss:    newNSS(e),
	}
}

// index is an account file in memory, by name.
type index[T any] map[string]T

// add keeps the first of several, as the C library does.
func (x index[T]) add(name string, v T) {
	if _, dup := x[name]; !dup {
		x[name] = v
	}
}

// User finds an account by name.
func (a *accounts) User(ctx context.Context, name string) (u User, found bool, err error) {
	if !accountName(name) {
		return u, false, nil
	}
	x, err := current(ctx, a.passwd)
	if err != nil {
		return u, false, err
	}
	if u, ok := (*x)[name]; ok {
		return u, true, nil
	}
	if digitsOnly(name) { // getent would take it for a uid
		return u, false, nil
	}
	u, found, err = askNSS(ctx, a.nss, "passwd", name, parseUser)
	return u, found && u.Name == name, err
}

// Group finds a group by name.
func (a *accounts) Group(ctx context.Context, name string) (g Group, found bool, err error) {
	if !accountName(name) {
		return g, false, nil
	}
	x, err := current(ctx, a.group)
	if err != nil {
		return g, false, err
	}
	if g, ok := (*x)[name]; ok {
		return g, true, nil
	}
	if digitsOnly(name) {
		return g, false, nil
	}
	g, found, err = askNSS(ctx, a.nss, "group", name, parseGroup)
	return g, found && g.Name == name, err
}

// accountName tells whether s can be the name of an account at all; nothing
// else is handed to a file of fields or a command.
func accountName(s string) bool {
	if s == "" || len(s) > 256 || s[0] == '-' || s[0] == '+' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r == 0x7f || r == ':' || r == ',' || r == '/' || r == '\ufffd'
	})
}

const maxAccountFile = 256 << 20

func loadPasswd(f *os.File, st watch.State) (*index[User], error) {
	return loadAccounts(f, st, func(x index[User], line string) error {
		u, err := parseUser(line)
		if err == nil {
			x.add(u.Name, u)
		}
		return err
	})
}

func loadGroup(f *os.File, st watch.State) (*index[Group], error) {
	return loadAccounts(f, st, func(x index[Group], line string) error {
		g, err := parseGroup(line)
		if err == nil {
			x.add(g.Name, g)
		}
		return err
	})
}

// loadAccounts passes over bad lines, as the C library does: one of them must
// not make every user unknown. A file with nothing else is an error.
func loadAccounts[T any](f *os.File, st watch.State, add func(index[T], string) error) (*index[T], error) {
	data, err := slurp(f, st, maxAccountFile)
	if err != nil {
		return nil, err
	}
	x := make(index[T])
	var bad problems
	eachLine(data, func(n int, line string) {
		// Lines of '+' and '-' are the compat form of NIS: getent knows them.
		if line == "" || line[0] == '#' || line[0] == '+' || line[0] == '-' {
			return
		}
		if err := add(x, line); err != nil {
			bad.add(f.Name(), n, "%w", err)
		}
	})
	if len(x) == 0 {
		return nil, errors.Join(fmt.Errorf("%s: no account in it", f.Name()), bad.err())
	}
	return &x, nil
}

func parseUser(line string) (User, error) {
	f := strings.Split(line, ":")
	if len(f) != 7 || f[0] == "" {
		return User{}, errors.New("not a line of passwd")
	}
	uid, err1 := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	return User{f[0], uint32(uid), uint32(gid), f[4], f[5], f[6]}, errors.Join(err1, err2)
}

func parseGroup(line string) (Group, error) {
	f := strings.Split(line, ":")
	if len(f) != 4 || f[0] == "" {
		return Group{}, errors.New("not a line of group")
	}
	gid, err := strconv.ParseUint(f[2], 10, 32)
	g := Group{Name: f[0], GID: uint32(gid)}
	if f[3] != "" {
		g.Members = strings.Split(f[3], ",")
	}
	return g, err
}

func digitsOnly(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
