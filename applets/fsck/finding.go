package fsck

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// A finding is one thing that is not as it should be.
type finding struct {
	Path  string // below POSTOFFICE
	State string // of the table of states, or one of the words below
	What  string
	Needs string // the daemon that must not run during the repair
	Steps []step // none: nothing can be done about it
	Note  bool   // worth knowing, no fault
}

// Words for what is in no state of the table.
const (
	damaged   = "damaged"
	unknown   = "unknown"
	wrongType = "type"
	wrongMode = "mode"
	misplaced = "misplaced"
	twice     = "twice"
	missing   = "missing"
	troubled  = "unreadable"
)

// A step is one change of the file system. It has a form as shell command, and does
// the same itself.
type step struct {
	op       op
	path, to string
	text     string // of a file to write
	mode     fs.FileMode
	uid, gid int
}

type op int

const (
	move op = iota
	remove
	mkdir
	chmod
	chown
	write
)

// do makes the change. It never replaces a file.
func (s *step) do() error {
	switch s.op {
	case move:
		err := unix.Renameat2(unix.AT_FDCWD, s.path, unix.AT_FDCWD, s.to, unix.RENAME_NOREPLACE)
		if err == unix.EINVAL || err == unix.ENOSYS { // not on this file system
			return s.moveChecked()
		}
		if err != nil {
			return &os.LinkError{Op: "rename", Old: s.path, New: s.to, Err: err}
		}
		return nil
	case remove:
		err := unix.Unlink(s.path) // never a directory
		if err != nil && err != unix.ENOENT {
			return &fs.PathError{Op: "remove", Path: s.path, Err: err}
		}
		return nil
	case mkdir:
		if err := os.Mkdir(s.path, 0o700); err != nil {
			return err
		}
		return os.Chmod(s.path, s.mode)
	case chmod:
		return os.Chmod(s.path, s.mode)
	case chown:
		return os.Lchown(s.path, s.uid, s.gid)
	}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.text + "\n")
	return errors.Join(err, f.Close())
}

func (s *step) moveChecked() error {
	if _, err := os.Lstat(s.to); !errors.Is(err, fs.ErrNotExist) {
		return &os.LinkError{Op: "rename", Old: s.path, New: s.to, Err: fs.ErrExist}
	}
	return os.Rename(s.path, s.to)
}

// shell is the step as a command of the shell.
func (s *step) shell() string {
	path := quote(s.path)
	switch s.op {
	case move:
		return find(s.path, "mv -n --", " "+quote(s.to))
	case remove:
		return find(s.path, "rm -f --", "")
	case mkdir:
		return fmt.Sprintf("mkdir -m %04o -- %s", octal(s.mode), path)
	case chmod:
		return find(s.path, fmt.Sprintf("chmod %04o --", octal(s.mode)), "")
	case chown:
		return find(s.path, fmt.Sprintf("chown -h %d:%d --", s.uid, s.gid), "")
	}
	return fmt.Sprintf("printf '%%s\\n' %s > %s", quote(clean(s.text)), path)
}

// octal is a mode as chmod(1) wants it.
func octal(m fs.FileMode) uint32 {
	n := uint32(m.Perm())
	if m&fs.ModeSticky != 0 {
		n |= 0o1000
	}
	return n
}

// find is the command before and after the path. A name that would mean something
// to a terminal, or that a terminal cannot show, is left to find(1) by its inode.
func find(path, before, after string) string {
	if printable(path) {
		return before + " " + quote(path) + after
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Sprintf(": %s: gone", quote(clean(path)))
	}
	return fmt.Sprintf("find %s -maxdepth 1 -inum %d -exec %s {}%s \\;", quote(filepath.Dir(path)), st.Ino, before, after)
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// clean replaces what is not printable.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// quote quotes a word for the shell, if it needs it.
func quote(s string) string {
	plain := func(r rune) bool {
		return !(r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("/._-+,=@", r))
	}
	if s != "" && s[0] != '=' && strings.IndexFunc(s, plain) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
