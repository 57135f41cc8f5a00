package fsck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zmailer/spool"
)

// rubbishAge is how old a file in public/ is when its submitter is taken for dead.
const rubbishAge = 24 * time.Hour

// inWork is how long a message may be between two states while the router runs.
const inWork = 10 * time.Second

// A checker looks at one spool.
type checker struct {
	ctx     context.Context // of the one call of all or rubbish
	s       *spool.Spool
	now     time.Time
	running map[string]int // daemon -> process
	report  func(*finding) // what becomes of a finding
	seen    func(place string)

	finished func(spool.ID) bool // the done log

	states  map[string]int // files by state
	trusted map[int]bool   // owners of files in queue/ and transport/
	owner   [2]int         // uid and gid of POSTOFFICE
}

// all checks the whole spool.
func (c *checker) all() {
	c.directories()
	c.public()
	c.plain(spool.RouterDir, "submitted", "router")
	c.plain(spool.DeferredDir, "deferred", "router")
	c.plain(spool.FreezerDir, "frozen", "")
	c.postman()
	c.pool()
	c.journal()
	for _, h := range spool.HashDirs() {
		c.hashed(h)
	}
}

// rubbish looks only at what cleanup removes something from.
func (c *checker) rubbish() {
	c.public()
	for _, h := range spool.HashDirs() {
		c.hashed(h)
	}
}

// directories checks that the spool's directories are there and have their modes.
func (c *checker) directories() {
	var st unix.Stat_t
	if err := unix.Stat(c.s.Root, &st); err != nil {
		c.trouble("", &fs.PathError{Op: "stat", Path: c.s.Root, Err: err})
		return
	}
	c.owner = [2]int{int(st.Uid), int(st.Gid)}
	c.trusted = map[int]bool{0: true, int(st.Uid): true}
	if err := unix.Stat(filepath.Join(c.s.Root, spool.JournalDir), &st); err == nil {
		c.trusted[int(st.Uid)] = true // the SMTP server
	}
	system := c.system()
	known := map[string]bool{".freeze": true, "lost+found": true}
	for _, d := range spool.Dirs {
		known[d.Name] = true
		mode := fs.FileMode(0o700)
		if system {
			mode = d.Mode & fs.ModePerm
			if d.Mode&0o1000 != 0 {
				mode |= fs.ModeSticky
			}
		}
		paths := []string{d.Name}
		if d.Hashed {
			for _, h := range spool.HashDirs() {
				paths = append(paths, filepath.Join(d.Name, h))
			}
		}
		for _, path := range paths {
			c.directory(path, mode)
		}
		if d.Hashed {
			c.only(d.Name, func(name string) bool { return len(name) == 1 && strings.Contains(hashNames, name) })
		}
	}
	c.only("", func(name string) bool {
		return known[name] || name == spool.VersionFile || name == "imported" || strings.HasPrefix(name, ".")
	})
}

var hashNames = strings.Join(spool.HashDirs(), "")

// system says whether the spool is one of a system instance, open to all local
// users for submission: most directories tell. In doubt it is not.
func (c *checker) system() bool {
	votes := 0
	for _, d := range spool.Dirs {
		st, err := os.Stat(filepath.Join(c.s.Root, d.Name))
		switch {
		case err != nil:
		case st.Mode().Perm() == 0o700:
			votes--
		case st.Mode().Perm() == d.Mode&fs.ModePerm:
			votes++
		}
	}
	return votes > 0
}

func (c *checker) directory(rel string, mode fs.FileMode) {
	path := filepath.Join(c.s.Root, rel)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		steps := []step{{op: mkdir, path: path, mode: mode}}
		if os.Geteuid() == 0 && c.owner[0] != 0 {
			steps = append(steps, step{op: chown, path: path, uid: c.owner[0], gid: c.owner[1]})
		}
		c.report(&finding{Path: rel, State: missing, What: "directory is missing", Steps: steps})
		return
	case err != nil:
		c.trouble(rel, err)
		return
	}
	if st.Mode()&fs.ModeSymlink != 0 { // an administrator may have moved it to another disk
		if st, err = os.Stat(path); err != nil {
			c.trouble(rel, err)
			return
		}
	}
	if !st.IsDir() {
		c.report(&finding{Path: rel, State: wrongType, What: "is no directory"})
		return
	}
	if got := st.Mode() & (fs.ModePerm | fs.ModeSticky | fs.ModeSetgid | fs.ModeSetuid); got != mode {
		c.report(&finding{Path: rel, State: wrongMode, What: fmt.Sprintf("mode is %v, want %v", got, mode),
			Steps: []step{{op: chmod, path: path, mode: mode}}})
	}
	var sys unix.Stat_t
	if err := unix.Stat(path, &sys); err == nil && !c.trusted[int(sys.Uid)] {
		c.report(&finding{Path: rel, State: wrongMode, What: fmt.Sprintf("belongs to uid %d", sys.Uid),
			Steps: []step{{op: chown, path: path, uid: c.owner[0], gid: c.owner[1]}}})
	}
}

// only sets aside what does not belong into a directory of directories.
func (c *checker) only(rel string, known func(string) bool) {
	c.each(rel, func(name string) {
		if !known(name) {
			c.unknown(filepath.Join(rel, name), "")
		}
	})
}

// each calls fn for each name in a directory, in bounded memory. A directory that
// is not there, or is none, was reported before.
func (c *checker) each(rel string, fn func(name string)) {
	d, err := os.Open(filepath.Join(c.s.Root, rel))
	if err != nil {
		c.trouble(rel, err)
		return
	}
	defer d.Close()
	for c.ctx.Err() == nil {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			c.seen(rel)
			fn(name)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOTDIR) {
			return
		}
		if err != nil { // the rest of the spool may be readable
			c.trouble(rel, err)
			return
		}
	}
}

// trouble reports what could not be looked at.
func (c *checker) trouble(rel string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return // moved on meanwhile
	}
	c.report(&finding{Path: rel, State: troubled, What: err.Error()})
}

// unknown sets aside what has no name of ours.
func (c *checker) unknown(rel, needs string) {
	c.report(&finding{Path: rel, State: unknown, What: "nothing of ours has such a name", Needs: needs,
		Steps: c.aside(rel, "found as "+rel+": unknown name")})
}

// aside are the steps that move a file to postman/ under the name of where it was
// found.
func (c *checker) aside(rel, why string) []step {
	to := c.free(clean(strings.ReplaceAll(rel, "/", ".")))
	return []step{
		{op: write, path: to + ".why", text: why},
		{op: move, path: filepath.Join(c.s.Root, rel), to: to},
	}
}

// asideAs are the steps that move a file to postman/ as the file of a message:
// suffix is "" for the message file and ".control" for the control file.
func (c *checker) asideAs(rel string, id spool.ID, suffix, why string) []step {
	to := c.free(string(id) + suffix)
	return []step{
		{op: write, path: c.free(string(id) + ".why"), text: why},
		{op: move, path: filepath.Join(c.s.Root, rel), to: to},
	}
}

// free is the path of a file in postman/ that is not there yet. Names are cut so
// that all endings fit.
func (c *checker) free(name string) string {
	base := filepath.Join(c.s.Root, spool.PostmanDir, name[:min(len(name), 200)])
	path := base
	for n := 2; n < 10_000; n++ {
		if !there(path) {
			break
		}
		path = fmt.Sprintf("%s.%d", base, n)
	}
	return path // if all are taken, the move fails and says so
}

func (c *checker) count(state string) { c.states[state]++ }

// kind is what a file is, if it is not a regular file with one name.
func kind(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Nlink > 1 {
			return fmt.Sprintf("file with %d names", st.Nlink)
		}
		return ""
	case unix.S_IFLNK:
		return "symbolic link"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	}
	return "device"
}

// public looks for what submitters that died have left.
func (c *checker) public() {
	c.each(spool.PublicDir, func(name string) {
		rel := filepath.Join(spool.PublicDir, name)
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(c.s.Root, rel), &st); err != nil {
			c.trouble(rel, &fs.PathError{Op: "stat", Path: rel, Err: err})
			return
		}
		c.count("writing")
		age := c.now.Sub(time.Unix(st.Mtim.Unix()))
		if age < rubbishAge {
			return
		}
		what := kind(&st)
		f := &finding{Path: rel, State: "writing", What: "left by a submitter that died " + days(age) + " ago"}
		if what != "" {
			f.What = what + " left " + days(age) + " ago"
		}
		if what == "directory" {
			f.State, f.Steps = wrongType, c.aside(rel, "a directory, found as "+rel)
		} else {
			f.Steps = []step{{op: remove, path: filepath.Join(c.s.Root, rel)}}
		}
		c.report(f)
	})
}

func days(d time.Duration) string {
	if n := int(d / (24 * time.Hour)); n > 1 {
		return fmt.Sprintf("%d days", n)
	}
	return "a day"
}

// pool checks the control files that wait to be used again. Their content does not
// matter.
func (c *checker) pool() {
	c.each(spool.PoolDir, func(name string) {
		rel := filepath.Join(spool.PoolDir, name)
		if _, err := spool.ParseID(name); err != nil {
			c.unknown(rel, "")
			return
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(c.s.Root, rel), &st); err != nil {
			c.trouble(rel, &fs.PathError{Op: "stat", Path: rel, Err: err})
			return
		}
		c.count("pool")
		if what := kind(&st); what != "" {
			c.report(&finding{Path: rel, State: wrongType, What: what + " in place of a control file",
				Steps: c.aside(rel, "found as "+rel+": "+what)})
		}
	})
}

// postman counts what waits for the administrator.
func (c *checker) postman() {
	c.each(spool.PostmanDir, func(name string) {
		if !strings.HasSuffix(name, ".why") && !strings.HasSuffix(name, ".control") {
			c.count("postman")
		}
	})
}
