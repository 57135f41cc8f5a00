// Package users answers who the local users are. The router asks it which local
// parts exist, the mailbox agent in whose name and where it delivers.
//
// Three sources are asked in this order, and the first that knows the name wins:
//
//	db/users      virtual users of the instance: "name uid gid home [mailbox]"
//	/etc/passwd
//	getent        only where nsswitch.conf names a source besides files, since a
//	              static program cannot load the C library's modules
//
// Each is asked for the name as given and, if none knows that, in lower case.
//
// An answer is one of three: found, not found, or an error. An error means that
// nobody knows now, and the mail waits; a source that cannot be read is never
// mistaken for one that does not know the user. One limit: getent(1) does not
// tell a directory that is down from one that does not know a name. A site with
// LDAP users and no cache in front of it should list them in a relation.
package users

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"zmailer/shellcfg/internal/watch"
)

// A User is a local user.
type User struct {
	Name    string // as its source spells it
	UID     int
	GID     int
	Home    string
	Mailbox string // template of his own mailbox, or empty
	Gecos   string
	Shell   string
	Virtual bool // of db/users: he has no other rights than UID and GID
}

// Sources say where users are found. The zero value of a field leaves that
// source out.
type Sources struct {
	Virtual  string // db/users; may be missing
	Passwd   string
	Group    string
	Nsswitch string // decides whether Getent is asked
	Getent   string // program

	Interval time.Duration // how long a change may go unnoticed; 0 is a second
	Log      *slog.Logger
}

// System returns the sources of this host, with the db/users of an instance.
func System(virtual string) Sources {
	return Sources{Virtual: virtual, Passwd: "/etc/passwd", Group: "/etc/group", Nsswitch: "/etc/nsswitch.conf", Getent: "/usr/bin/getent"}
}

// Users looks users up. It is safe for concurrent use; lookups in files cost no
// system call while the files do not change.
type Users struct {
	virtual *watch.File[table]
	passwd  *watch.File[table]
	group   *watch.File[groupTable]
	nss     *nss
}

// New returns the users of the given sources.
func New(s Sources) *Users {
	u := new(Users)
	if s.Virtual != "" {
		u.virtual = &watch.File[table]{Path: s.Virtual, Load: loadVirtual, Interval: s.Interval, Log: s.Log}
	}
	if s.Passwd != "" {
		u.passwd = &watch.File[table]{Path: s.Passwd, Load: loadPasswd, Interval: s.Interval, Log: s.Log}
	}
	if s.Group != "" {
		u.group = &watch.File[groupTable]{Path: s.Group, Load: loadGroups, Interval: s.Interval, Log: s.Log}
	}
	if s.Getent != "" && s.Nsswitch != "" {
		u.nss = newNSS(s)
	}
	return u
}

// Lookup finds the user of that name.
func (u *Users) Lookup(name string) (user User, found bool, err error) {
	if !validName(name) {
		return User{}, false, nil
	}
	return u.find(
		func(t *table) (User, bool, error) { return t.lookup(name) },
		func(ctx context.Context) (User, bool, error) {
			user, found, err := u.nss.lookup(ctx, name)
			if low := strings.ToLower(name); !found && err == nil && low != name {
				return u.nss.lookup(ctx, low)
			}
			return user, found, err
		})
}

// LookupUID finds a user by number: the one in whose name something is done.
func (u *Users) LookupUID(uid int) (user User, found bool, err error) {
	return u.find(
		func(t *table) (User, bool, error) { return t.lookupUID(uid) },
		func(ctx context.Context) (User, bool, error) { return u.nss.lookupUID(ctx, uid) })
}

func (u *Users) find(inTable func(*table) (User, bool, error), inNSS func(context.Context) (User, bool, error)) (User, bool, error) {
	for _, file := range []*watch.File[table]{u.virtual, u.passwd} {
		if file == nil {
			continue
		}
		t, err := file.Get()
		if errors.Is(err, fs.ErrNotExist) && file == u.virtual {
			continue
		}
		if err != nil {
			return User{}, false, fmt.Errorf("users: %w", err)
		}
		if user, found, err := inTable(t); found || err != nil {
			return user, found, err
		}
	}
	if u.nss == nil || !u.nss.needed() {
		return User{}, false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), nssTimeout)
	defer cancel()
	return inNSS(ctx)
}

// Groups returns the groups of a user, his own first, without repetition.
func (u *Users) Groups(user User) ([]int, error) {
	gids := []int{user.GID}
	if user.Virtual {
		return gids, nil
	}
	add := func(more []int) {
		for _, gid := range more {
			if !slices.Contains(gids, gid) {
				gids = append(gids, gid)
			}
		}
	}
	if u.group != nil {
		t, err := u.group.Get()
		if err != nil {
			return nil, fmt.Errorf("groups: %w", err)
		}
		add((*t)[user.Name])
	}
	if u.nss != nil && u.nss.needed() {
		ctx, cancel := context.WithTimeout(context.Background(), nssTimeout)
		defer cancel()
		more, err := u.nss.groups(ctx, user.Name)
		if err != nil {
			return nil, err
		}
		add(more)
	}
	return gids, nil
}

// validName keeps out what no source can know and what would be an option, a
// path or a second field for one.
func validName(name string) bool {
	return name != "" && len(name) <= 255 && name[0] != '-' && name[0] != '#' &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' || r == '/' || r == ',' })
}
