package relations

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// accountTable gives one field of users or groups as a table.
type accountTable struct {
	look func(ctx context.Context, key string) (string, bool, error)
	load func() error
}

func (t *accountTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	return t.look(ctx, key)
}

func (t *accountTable) Check(context.Context) ([]error, error) { return nil, t.load() }

// openPasswd finds users by name: the whole line of passwd without the
// password, or one field.
func openPasswd(o *opening) (Table, error) {
	a := newAccounts(o.Env)
	return &accountTable{
		look: func(ctx context.Context, key string) (string, bool, error) {
			u, found, err := a.User(ctx, key)
			if err != nil || !found {
				return "", false, err
			}
			return userField(u, o.Sub), true, nil
		},
		load: func() error {
			_, err := a.passwd.Check()
			_, nerr := a.nss.path("passwd")
			return errors.Join(err, nerr)
		},
	}, nil
}

func userField(u User, sub string) string {
	switch sub {
	case "uid":
		return strconv.FormatUint(uint64(u.UID), 10)
	case "gid":
		return strconv.FormatUint(uint64(u.GID), 10)
	case "name":
		return u.FullName()
	case "home":
		return u.Home
	case "shell":
		return u.Shell
	}
	return fmt.Sprintf("%s:x:%d:%d:%s:%s:%s", u.Name, u.UID, u.GID, u.Gecos, u.Home, u.Shell)
}

// openGroup finds groups by name: the whole line, the gid, or the members
// separated by blanks.
func openGroup(o *opening) (Table, error) {
	a := newAccounts(o.Env)
	return &accountTable{
		look: func(ctx context.Context, key string) (string, bool, error) {
			g, found, err := a.Group(ctx, key)
			if err != nil || !found {
				return "", false, err
			}
			return groupField(g, o.Sub), true, nil
		},
		load: func() error {
			_, err := a.group.Check()
			_, nerr := a.nss.path("group")
			return errors.Join(err, nerr)
		},
	}, nil
}

func groupField(g Group, sub string) string {
	switch sub {
	case "gid":
		return strconv.FormatUint(uint64(g.GID), 10)
	case "members":
		return strings.Join(g.Members, " ")
	}
	return fmt.Sprintf("%s:x:%d:%s", g.Name, g.GID, strings.Join(g.Members, ","))
}
