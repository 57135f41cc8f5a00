package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"zmailer/shellcfg/shell"
	"zmailer/spool/proc"
)

// fileCommands look at files for the sake of who may have written them.
func (p *Policy) fileCommands() map[string]shell.Command {
	return map[string]shell.Command{
		"filepriv":  p.filepriv,
		"fileowner": fileownerCommand,
		"readas":    p.readas,
		"runas":     p.runas,
		"nobody":    func(c *shell.Call) int { return show(c, strconv.Itoa(p.nobody)) },
	}
}

// maxListFile bounds a file that readas prints, and one that is read for the version.
const maxListFile = 16 << 20

// unsafeFile is a file that somebody else may have written.
type unsafeFile struct{ why string }

func (e *unsafeFile) Error() string { return e.why }

// fileOwner says in whose name the content of a file stands: that of its owner,
// unless others could have written it or put another file in its place.
// mode are the permission bits that the file may have.
func fileOwner(path string, st fs.FileInfo, mode fs.FileMode) (uid int, err error) {
	owner := st.Sys().(*syscall.Stat_t).Uid
	if extra := st.Mode().Perm() &^ mode; extra != 0 {
		return 0, &unsafeFile{fmt.Sprintf("%s: mode %04o has more than %04o", path, st.Mode().Perm(), mode)}
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if err := safeDir(dir, owner); err != nil {
			return 0, err
		}
		if dir == "/" || dir == "." {
			return int(owner), nil
		}
	}
}

// safeDir checks that nobody but owner and root can change names in dir.
func safeDir(dir string, owner uint32) error {
	st, err := os.Stat(dir)
	if err != nil {
		return err
	}
	sys := st.Sys().(*syscall.Stat_t)
	if sys.Uid != owner && sys.Uid != 0 {
		return &unsafeFile{fmt.Sprintf("%s: directory belongs to uid %d", dir, sys.Uid)}
	}
	if st.Mode()&fs.ModeSticky == 0 && st.Mode().Perm()&0o022 != 0 {
		return &unsafeFile{fmt.Sprintf("%s: directory is writable for others", dir)}
	}
	return nil
}

// filepriv is filepriv [-M MODE] FILE: the uid in whose name FILE speaks, nobody
// if others may have written it. Status 1 if there is no such file.
func (p *Policy) filepriv(c *shell.Call) int {
	mode := fs.FileMode(0o644)
	g := proc.NewGetopt("M:", c.Args)
	for g.Next() {
		var ok bool
		if mode, ok = trustedMode(g.Value); !ok {
			return usage(c, "-M MODE: %q is not a mode up to 664", g.Value)
		}
	}
	if g.Err() != nil || len(g.Args()) != 1 {
		return usage(c, "[-M MODE] FILE")
	}
	path := g.Args()[0]
	return ask(c, c.Name, func() (string, bool, error) {
		uid, err := p.owners.get(path, mode, p.nobody)
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		return strconv.Itoa(uid), err == nil, err
	})
}

// trustedMode reads the argument of -M: the permissions that a file of one writer may
// have, his group included.
func trustedMode(text string) (fs.FileMode, bool) {
	n, err := strconv.ParseUint(text, 8, 9)
	return fs.FileMode(n), err == nil && n&^0o664 == 0
}

// owners keeps what filepriv found for a second: the alias table is asked about for
// every alias, and each answer costs a stat for every directory above it.
type owners struct {
	mu   sync.Mutex
	kept map[ownerKey]ownerEntry
}

type ownerKey struct {
	path string
	mode fs.FileMode
}

type ownerEntry struct {
	uid   int
	until time.Time
}

const maxOwners = 256

func (o *owners) get(path string, mode fs.FileMode, nobody int) (int, error) {
	key, now := ownerKey{path, mode}, time.Now()
	o.mu.Lock()
	e, ok := o.kept[key]
	o.mu.Unlock() // a file on a server that hangs must not stop the others
	if ok && now.Before(e.until) {
		return e.uid, nil
	}
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	uid, err := fileOwner(path, st, mode)
	var bad *unsafeFile
	if errors.As(err, &bad) {
		uid, err = nobody, nil
	}
	if err != nil {
		return 0, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.kept == nil || len(o.kept) >= maxOwners {
		o.kept = make(map[ownerKey]ownerEntry)
	}
	o.kept[key] = ownerEntry{uid, now.Add(time.Second)}
	return uid, nil
}

// fileownerCommand is fileowner FILE: the uid that owns it.
func fileownerCommand(c *shell.Call) int {
	if len(c.Args) != 1 {
		return usage(c, "FILE")
	}
	return ask(c, c.Name, func() (string, bool, error) {
		st, err := os.Stat(c.Args[0])
		if errors.Is(err, fs.ErrNotExist) {
			return "", false, nil
		}
		if err != nil {
			return "", false, err
		}
		return strconv.Itoa(int(st.Sys().(*syscall.Stat_t).Uid)), true, nil
	})
}

// readas is readas [-t] [-M MODE] UID FILE: prints FILE, read with the rights of
// UID. With -t it must be his or root's, have no permissions beyond MODE (644),
// and stand where nobody else can put another one. Status 1: there is none, or he
// may not read it; 2: it is not to be trusted, which is logged.
func (p *Policy) readas(c *shell.Call) int {
	r := reader{p: p, mode: 0o644}
	if !r.options(c) {
		return usage(c, "[-t] [-M MODE] UID FILE")
	}
	s, _ := c.Host.(*Session)
	start := time.Now()
	text, err := r.read()
	var bad *unsafeFile
	switch {
	case err == nil:
		s.lookedUp(c.Name, c.Args, c.Pos, start, fmt.Sprintf("%d bytes", len(text)), true, nil)
		if _, err := c.Stdout.Write(text); err != nil {
			return c.Fail(err)
		}
		return 0
	case errors.As(err, &bad):
		s.lookedUp(c.Name, c.Args, c.Pos, start, "", false, err)
		p.log.Warn("file ignored", "user", r.uid, "why", c.Pos.String(), "err", err)
		return 2
	case missing(err):
		s.lookedUp(c.Name, c.Args, c.Pos, start, "", false, nil)
		return 1
	}
	s.lookedUp(c.Name, c.Args, c.Pos, start, "", false, err)
	return s.fail(c.Name, err, c.Pos)
}

// missing tells the errors by which a user does not have a readable file: no user+detail
// of a stranger has a name that is too long for one.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENAMETOOLONG)
}

// reader is a call of readas.
type reader struct {
	p       *Policy
	trusted bool
	mode    fs.FileMode
	uid     int
	path    string
}

func (r *reader) options(c *shell.Call) bool {
	g := proc.NewGetopt("tM:", c.Args)
	for g.Next() {
		switch g.Opt {
		case 't':
			r.trusted = true
		case 'M':
			var ok bool
			if r.mode, ok = trustedMode(g.Value); !ok {
				return false
			}
		}
	}
	if g.Err() != nil || len(g.Args()) != 2 {
		return false
	}
	uid, err := strconv.ParseUint(g.Args()[0], 10, 31)
	r.uid, r.path = int(uid), g.Args()[1]
	return err == nil
}

func (r *reader) read() ([]byte, error) {
	u, found, err := r.p.users.LookupUID(r.uid)
	if err != nil {
		return nil, err
	}
	gid := r.p.nobody
	if found {
		gid = u.GID
	}
	f, err := openAs(r.uid, gid, r.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, &unsafeFile{r.path + ": not a regular file"}
	case st.Size() > maxListFile:
		return nil, &unsafeFile{fmt.Sprintf("%s: %d bytes", r.path, st.Size())}
	}
	if r.trusted {
		owner, err := fileOwner(r.path, st, r.mode)
		if err != nil {
			return nil, err
		}
		if owner != r.uid && owner != 0 {
			return nil, &unsafeFile{fmt.Sprintf("%s: belongs to uid %d, not to %d", r.path, owner, r.uid)}
		}
	}
	return io.ReadAll(io.LimitReader(f, maxListFile))
}
