package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The file maildirsize of a Maildir++ holds its quota and what is used of it, so
// that nobody has to count:
//
//	100000S,1000C	quota
//	46 1		bytes and messages that came, or with a minus went; one
//	...		line for each change, all of them appended
//
// Everybody who puts mail there or takes it away appends a line. Programs that do
// not know of it do not, so that nothing is refused on its word alone: before, the
// messages are counted and the file is made anew.
const (
	sizeFile    = "maildirsize"
	maxSizeFile = 5120             // longer: time to make it anew
	sizeTrust   = 15 * time.Minute // age up to which a fresh count is believed

	maxFolders  = 10_000
	maxMessages = 5_000_000 // counted in one Maildir; the rest is taken to be nothing
)

// usage is what is used of a Maildir's quota. A nil usage has no limit.
type usage struct {
	box          *openMaildir
	t            *maildirTarget
	quota        quota
	bytes, count int64
	fresh        bool // counted a moment ago
	keep         bool // there is a maildirsize to append to

	taken, letters int64 // what this batch has taken of it so far
}

// usage reads the maildirsize. Without a quota of our own, that of the file counts.
func (m *openMaildir) usage(t *maildirTarget) (*usage, error) {
	fd, err := unix.Openat(m.root, sizeFile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT && !t.quota.limited() {
		return nil, nil
	}
	u := &usage{box: m, t: t, quota: t.quota}
	if err == unix.ENOENT {
		return u, u.recount()
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: t.path + "/" + sizeFile, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || int(st.Uid) != t.as.UID {
		return nil, &refusal{t.path + "/" + sizeFile, "not a regular file of the user"}
	}
	var b []byte
	if st.Size <= maxSizeFile {
		if b, err = io.ReadAll(io.NewSectionReader(fdReader(fd), 0, maxSizeFile)); err != nil {
			return nil, err
		}
	}
	q, used, count, lines, ok := parseSizeFile(b)
	if !ok && !t.quota.limited() {
		return nil, nil
	}
	if t.quota.limited() && q != t.quota || !ok || used < 0 || count < 0 {
		return u, u.recount()
	}
	u.quota, u.bytes, u.count, u.keep = q, used, count, true
	u.fresh = lines <= 1 && time.Since(time.Unix(st.Mtim.Unix())) < sizeTrust
	return u, nil
}

// parseSizeFile adds up the lines of a maildirsize.
func parseSizeFile(b []byte) (q quota, used, count int64, lines int, ok bool) {
	first, rest, found := bytes.Cut(b, []byte("\n"))
	q, err := parseQuota(strings.TrimSpace(string(first)))
	if !found || err != nil {
		return q, 0, 0, 0, false
	}
	for line := range bytes.Lines(rest) {
		f := bytes.Fields(line)
		if len(f) != 2 || line[len(line)-1] != '\n' {
			return q, 0, 0, 0, false
		}
		n, err1 := strconv.ParseInt(string(f[0]), 10, 48)
		m, err2 := strconv.ParseInt(string(f[1]), 10, 32)
		if err1 != nil || err2 != nil {
			return q, 0, 0, 0, false
		}
		used, count, lines = used+n, count+m, lines+1
	}
	return q, used, count, lines, true
}

// take takes room for a letter, if there is any.
func (u *usage) take(size int64) error {
	if u == nil {
		return nil
	}
	if !u.fits(size) && !u.fresh {
		if err := u.recount(); err != nil {
			return err
		}
	}
	if !u.fits(size) {
		return &overQuota{u.t.path, u.quota}
	}
	u.taken, u.letters = u.taken+size, u.letters+1
	return nil
}

func (u *usage) fits(size int64) bool {
	return u.quota.fits(u.bytes+u.taken+size, u.count+u.letters+1)
}

// giveBack is for a letter that took room and was not written.
func (u *usage) giveBack(size int64) {
	if u != nil {
		u.taken, u.letters = u.taken-size, u.letters-1
	}
}

// record notes what was delivered. A maildirsize that cannot be written is
// removed: the next delivery counts.
func (u *usage) record(bytes, count int64) {
	if u == nil || !u.keep || count == 0 {
		return
	}
	fd, err := unix.Openat(u.box.root, sizeFile, unix.O_WRONLY|unix.O_APPEND|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Write(fd, fmt.Appendf(nil, "%d %d\n", bytes, count))
		unix.Close(fd)
	}
	if err != nil {
		unix.Unlinkat(u.box.root, sizeFile, 0)
	}
}

// recount counts the messages and makes the maildirsize anew, unless something
// changed meanwhile: then the count is for this batch alone.
func (u *usage) recount() error {
	c := &counter{root: u.box.root, path: u.t.path, uid: u.t.as.UID}
	if err := c.all(); err != nil {
		return err
	}
	u.bytes, u.count, u.fresh = c.bytes, c.count, true
	u.keep = !c.changed() && u.write() == nil
	if !u.keep {
		unix.Unlinkat(u.box.root, sizeFile, 0)
	}
	return nil
}

func (u *usage) write() error {
	name := fmt.Sprintf("%s.%d.%d", sizeFile, os.Getpid(), time.Now().UnixNano())
	fd, err := unix.Openat(u.box.tmp, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "%s\n%d %d\n", u.quota, u.bytes, u.count)
	n, err := unix.Write(fd, text)
	if err == nil && n < len(text) {
		err = io.ErrShortWrite
	}
	unix.Close(fd)
	if err == nil {
		err = unix.Renameat(u.box.tmp, name, u.box.root, sizeFile)
	}
	if err != nil {
		unix.Unlinkat(u.box.tmp, name, 0)
	}
	return err
}

// A counter counts the messages of a Maildir and its folders. Those in the trash
// and those marked as trashed are not counted.
type counter struct {
	root         int
	path         string
	uid          int
	bytes, count int64
	seen         []seenDir
}

// A seenDir is a directory as it was when its counting began.
type seenDir struct {
	name  string // below the Maildir
	mtime unix.Timespec
}

func (c *counter) all() error {
	folders := []string{""}
	err := eachName(c.root, func(name string) error {
		if name[0] == '.' && name != "." && name != ".." && name != ".Trash" && len(folders) < maxFolders {
			folders = append(folders, name+"/")
		}
		return nil
	})
	for _, folder := range folders {
		for _, part := range []string{"new", "cur"} {
			if err == nil {
				err = c.dir(folder + part)
			}
		}
	}
	return err
}

func (c *counter) dir(name string) error {
	fd, err := openMailDir(c.root, name, c.path+"/"+name, c.uid)
	if errors.Is(err, fs.ErrNotExist) || err != nil && name[0] == '.' { // a file whose name has a dot
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	c.seen = append(c.seen, seenDir{name, st.Mtim})
	return eachName(fd, func(name string) error {
		if name[0] != '.' && !trashed(name) && c.count < maxMessages {
			c.message(fd, name)
		}
		return nil
	})
}

// message counts one. One that is gone by now is none.
func (c *counter) message(dir int, name string) {
	if _, after, found := strings.Cut(name, ",S="); found {
		digits := after[:len(after)-len(strings.TrimLeft(after, "0123456789"))]
		if n, err := strconv.ParseInt(digits, 10, 48); err == nil {
			c.bytes, c.count = c.bytes+n, c.count+1
			return
		}
	}
	var st unix.Stat_t
	if unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		c.bytes, c.count = c.bytes+st.Size, c.count+1
	}
}

func (c *counter) changed() bool {
	var st unix.Stat_t
	for _, d := range c.seen {
		if unix.Fstatat(c.root, d.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Mtim != d.mtime {
			return true
		}
	}
	return false
}

// trashed says that the flags of a message have a T.
func trashed(name string) bool {
	_, flags, found := strings.Cut(name, ":2,")
	return found && strings.Contains(flags, "T")
}

// eachName calls fn for the names of an open directory.
func eachName(dir int, fn func(name string) error) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // with an offset of its own
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	f := os.NewFile(uintptr(fd), "directory")
	defer f.Close()
	for {
		names, err := f.Readdirnames(1000)
		for _, name := range names {
			if err := fn(name); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
