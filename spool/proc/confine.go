package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Confinement is what a process and all that it starts can do to files from now
// on, whatever its user may: by Landlock, see landlock(7).
type Confinement struct {
	Write []string // directories below which files can be written, made and removed
	Hide  []string // directories below which nothing can be read, unless Write or Read has it
	Read  []string // exceptions from Hide
}

// confined marks the environment of a process that has confined itself and started
// anew.
const confined = "ZMAILER_CONFINED"

// Confine confines the process, and forbids it to gain rights by set-id programs
// (no_new_privs). The kernel applies this to one thread and those that it starts, so
// the program is executed once more from that thread, with the same process id:
// Confine returns in the new one, and must be called before anything is opened. Where
// the kernel has no Landlock, or too old a one, the process goes on without, but for
// no_new_privs; the result says which it is.
func Confine(c Confinement) (landlock bool, err error) {
	if state := os.Getenv(confined); state != "" {
		return state == "landlock", os.Unsetenv(confined)
	}
	ruleset, err := c.ruleset()
	if err != nil {
		return false, err
	}
	state := "no_new_privs"
	if ruleset >= 0 {
		state = "landlock"
	}
	// The lock on the thread is never given up: it ends with the process image.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return false, fmt.Errorf("no_new_privs: %w", err)
	}
	if ruleset >= 0 {
		if _, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); e != 0 {
			return false, fmt.Errorf("landlock: %w", e)
		}
	}
	exe, err := os.Executable()
	if err != nil {
		return false, err
	}
	return false, fmt.Errorf("execute %s: %w", exe, unix.Exec(exe, os.Args, append(os.Environ(), confined+"="+state)))
}

const (
	readAccess  = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeAccess = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM | unix.LANDLOCK_ACCESS_FS_MAKE_CHAR |
		unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_REFER
	// What can be allowed for a path that is no directory.
	fileAccess = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// leastABI is the first Landlock in which files can be renamed from one directory to
// another, which the spool lives by (Linux 5.19). truncateABI can forbid truncation.
const (
	leastABI    = 2
	truncateABI = 3
)

// ruleset makes the rules, -1 if the kernel has no Landlock that we can use.
func (c Confinement) ruleset() (int, error) {
	abi, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 || abi < leastABI {
		return -1, nil
	}
	write := uint64(writeAccess)
	if abi >= truncateABI {
		write |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: readAccess | write}
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0)
	if e != 0 {
		return -1, fmt.Errorf("landlock: %w", e)
	}
	r := rules{fd: int(fd)}
	var hide []string
	for _, path := range c.Hide {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			hide = append(hide, real)
		}
	}
	r.readable("/", hide)
	if exe, err := os.Executable(); err == nil {
		r.allow(exe, readAccess) // it can be in a home
	}
	for _, path := range c.Read {
		r.allow(path, readAccess)
	}
	for _, path := range c.Write {
		r.allow(path, readAccess|write)
	}
	return r.fd, r.err
}

type rules struct {
	fd  int
	err error
}

// readable allows to read all below dir but what is hidden. Rules can only allow, so
// the directories on the way to a hidden one are allowed entry by entry; what is
// made there later is hidden, too.
func (r *rules) readable(dir string, hide []string) {
	var below []string
	for _, h := range hide {
		if h == dir {
			return
		}
		if dir == "/" || strings.HasPrefix(h, dir+"/") {
			below = append(below, h)
		}
	}
	if len(below) == 0 {
		r.allow(dir, readAccess)
		return
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // what we cannot list we do not allow
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 { // what it leads to has an entry of its own
			r.readable(filepath.Join(dir, e.Name()), below)
		}
	}
}

// allow adds a rule; a path that is not there needs none.
func (r *rules) allow(path string, access uint64) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("landlock: %s: %w", path, err))
		return
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= fileAccess
	}
	attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	if _, _, e := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); e != 0 && e != unix.EBADFD {
		r.err = errors.Join(r.err, fmt.Errorf("landlock: %s: %w", path, e)) // EBADFD: of /proc and the like, which has no rules
	}
}
