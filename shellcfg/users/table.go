package users

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"zmailer/shellcfg/internal/watch"
)

// A table is one parsed file of users.
type table struct {
	byName map[string]*User
	byUID  map[int]*User // the first of several
	bad    error         // a line that was not understood
}

func newTable() *table {
	return &table{byName: make(map[string]*User), byUID: make(map[int]*User)}
}

func (t *table) add(u *User) {
	if _, double := t.byName[u.Name]; !double {
		t.byName[u.Name] = u
	}
	if _, double := t.byUID[u.UID]; !double {
		t.byUID[u.UID] = u
	}
}

// lookup finds a name, and else the name in lower case. A table with a line that
// was not understood cannot say that it does not know a user.
func (t *table) lookup(name string) (User, bool, error) {
	u := t.byName[name]
	if u == nil {
		u = t.byName[strings.ToLower(name)]
	}
	return t.answer(u)
}

func (t *table) lookupUID(uid int) (User, bool, error) { return t.answer(t.byUID[uid]) }

func (t *table) answer(u *User) (User, bool, error) {
	if u == nil {
		return User{}, false, t.bad
	}
	return *u, true, nil
}

// maxFile bounds a file of users; a million of them fit.
const maxFile = 256 << 20

// eachLine calls fn for each line of f that is neither empty nor a comment.
func eachLine(f *os.File, fn func(n int, line string)) error {
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxFile {
		return fmt.Errorf("%s: larger than %d bytes", f.Name(), maxFile)
	}
	n := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		n++
		line = strings.TrimRight(line, " \t\r")
		if line != "" && line[0] != '#' {
			fn(n, line)
		}
	}
	return nil
}

func loadVirtual(f *os.File, _ watch.State) (*table, error) {
	t := newTable()
	err := eachLine(f, func(n int, line string) {
		u, err := parseVirtual(line)
		if err != nil {
			t.bad = errors.Join(t.bad, fmt.Errorf("%s:%d: %w", f.Name(), n, err))
			return
		}
		t.add(u)
	})
	return t, err
}

// parseVirtual parses "name uid gid home [mailbox]".
func parseVirtual(line string) (*User, error) {
	f := strings.Fields(line)
	if len(f) != 4 && len(f) != 5 {
		return nil, fmt.Errorf("%d words: want name uid gid home [mailbox]", len(f))
	}
	u := &User{Name: strings.ToLower(f[0]), Home: f[3], Virtual: true}
	if !validName(u.Name) {
		return nil, fmt.Errorf("name %.40q", f[0])
	}
	var ok1, ok2 bool
	u.UID, ok1 = parseID(f[1])
	u.GID, ok2 = parseID(f[2])
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("uid %.20q and gid %.20q: want numbers", f[1], f[2])
	}
	if !filepath.IsAbs(u.Home) {
		return nil, fmt.Errorf("home %.60q: must be an absolute path", u.Home)
	}
	if len(f) == 5 {
		u.Mailbox = f[4]
	}
	return u, nil
}

// parseID reads a uid or gid. The highest number means "no change" to the kernel.
func parseID(s string) (int, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return int(n), err == nil && n < 1<<32-1
}

func loadPasswd(f *os.File, _ watch.State) (*table, error) {
	t := newTable()
	err := eachLine(f, func(_ int, line string) {
		// Lines that are not of users, such as "+::::::", are none to the C
		// library either.
		if u, ok := parsePasswd(line); ok {
			t.add(u)
		}
	})
	return t, err
}

// parsePasswd parses a line of passwd(5).
func parsePasswd(line string) (*User, bool) {
	f := strings.Split(line, ":")
	if len(f) != 7 || !validName(f[0]) || f[0][0] == '+' {
		return nil, false
	}
	uid, ok1 := parseID(f[2])
	gid, ok2 := parseID(f[3])
	if !ok1 || !ok2 {
		return nil, false
	}
	return &User{Name: f[0], UID: uid, GID: gid, Gecos: f[4], Home: f[5], Shell: f[6]}, true
}

// A groupTable has the groups that list a user as a member.
type groupTable map[string][]int

func loadGroups(f *os.File, _ watch.State) (*groupTable, error) {
	t := make(groupTable)
	err := eachLine(f, func(_ int, line string) {
		fields := strings.Split(line, ":")
		if len(fields) != 4 {
			return
		}
		gid, ok := parseID(fields[2])
		if !ok {
			return
		}
		for name := range strings.SplitSeq(fields[3], ",") {
			if name = strings.TrimSpace(name); name != "" {
				t[name] = append(t[name], gid)
			}
		}
	})
	return &t, err
}
