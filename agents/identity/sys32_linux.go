//go:build 386 || arm

package identity

import "golang.org/x/sys/unix"

// On these the plain numbers are of the calls with 16-bit ids.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
)
