// Package identity does work in the name of another user, within this process.
//
// A transport agent that runs as root must touch a user's files with that user's
// rights and no others. Credentials of Linux belong to a thread, not to a process;
// Do ties the calling goroutine to its thread, changes the effective ids and the
// groups of that thread alone, and takes them back afterwards. Why this is safe:
//
//   - The system calls are made raw: the C library's and Go's own wrappers would
//     change every thread.
//   - With the effective uid all effective capabilities go, so that permission
//     checks, file ownership and disk quota are those of the user. (setfsuid
//     would keep CAP_SYS_RESOURCE, which ignores quota.)
//   - The real and the saved uid stay root: the user can neither signal nor trace
//     the process, and the way back cannot be refused.
//   - The runtime never makes new threads from a locked one, so the identity is
//     not inherited.
//   - A thread that did not get its old identity back ends the process; its jobs
//     are deferred.
package identity

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"zmailer/shellcfg/users"
	"zmailer/spool/proc"
)

// An Identity is in whose name something is done.
type Identity struct {
	UID, GID int
	Groups   []int // with GID
}

// ErrOther means that this process is not root and the identity is not its own.
var ErrOther = errors.New("the mailer does not run as root and cannot act for another user")

// Of returns the identity of a user with all his groups.
func Of(db *users.Users, u users.User) (Identity, error) {
	id := Identity{UID: u.UID, GID: u.GID}
	if os.Geteuid() != 0 {
		return id, id.Check()
	}
	var err error
	id.Groups, err = db.Groups(u)
	return id, err
}

// Check says whether this process can act in the name of id.
func (id Identity) Check() error {
	if uid := os.Geteuid(); uid != 0 && uid != id.UID {
		return fmt.Errorf("uid %d is not uid %d of the mailer: %w", id.UID, uid, ErrOther)
	}
	return nil
}

// With returns id with a further group as its own.
func (id Identity) With(gid int) Identity {
	id.Groups = append([]int{gid, id.GID}, id.Groups...)
	id.GID = gid
	return id
}

// Key tells identities apart.
func (id Identity) Key() string { return fmt.Sprint(id.UID, id.GID, id.Groups) }

// Credential is what a child process needs to run as id; nil when it does anyway.
func (id Identity) Credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	c := &syscall.Credential{Uid: uint32(id.UID), Gid: uint32(id.GID)}
	for _, gid := range id.Groups {
		c.Groups = append(c.Groups, uint32(gid))
	}
	return c
}

// Do runs fn in the name of id. fn must start no process and hand no work that
// needs the identity to another goroutine.
func (id Identity) Do(fn func() error) error {
	if os.Geteuid() != 0 {
		if err := id.Check(); err != nil {
			return err
		}
		return fn()
	}
	if err := own().err; err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer restore()
	if err := id.become(); err != nil {
		return fmt.Errorf("become uid %d: %w", id.UID, err)
	}
	return fn()
}

const same = ^uintptr(0) // "do not change this id"

func (id Identity) become() error {
	groups := make([]uint32, 0, len(id.Groups)+1)
	for _, gid := range id.Groups {
		groups = append(groups, uint32(gid))
	}
	if !slices.Contains(groups, uint32(id.GID)) {
		groups = append(groups, uint32(id.GID))
	}
	return setThread(groups, uintptr(id.GID), uintptr(id.UID))
}

func setThread(groups []uint32, gid, uid uintptr) error {
	if _, _, e := unix.RawSyscall(sysSetgroups, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0); e != 0 {
		return os.NewSyscallError("setgroups", e)
	}
	if _, _, e := unix.RawSyscall(sysSetresgid, same, gid, same); e != 0 {
		return os.NewSyscallError("setresgid", e)
	}
	if _, _, e := unix.RawSyscall(sysSetresuid, same, uid, same); e != 0 {
		return os.NewSyscallError("setresuid", e)
	}
	return nil
}

// own is the group identity this process started with.
var own = sync.OnceValue(func() (o struct {
	gid    int
	groups []uint32
	err    error
}) {
	o.gid = os.Getegid()
	gids, err := os.Getgroups()
	for _, gid := range gids {
		o.groups = append(o.groups, uint32(gid))
	}
	o.err = err
	return o
})

func restore() {
	_, _, e := unix.RawSyscall(sysSetresuid, same, 0, same)
	o := own()
	err := o.err
	if e == 0 && err == nil {
		err = setThread(o.groups, uintptr(o.gid), 0)
	}
	if e != 0 || err != nil {
		fmt.Fprintf(os.Stderr, "identity: a thread cannot become root again: %v %v\n", e, err)
		os.Exit(proc.OSErr)
	}
}
