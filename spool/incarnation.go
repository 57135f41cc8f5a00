package spool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Incarnation names the time since which the page cache has seen every change of
// the file system that path is on: this run of the kernel and, where the kernel
// tells, this mount of the file system. What was written but not synced in the same
// incarnation is there; what was written in an earlier one may be gone.
//
// A file system that turns read-only after an error and is mounted again has lost
// its unwritten pages as after a power cut, without a boot.
func Incarnation(path string) (string, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	b, err := os.ReadFile(file)
	if err == nil && len(b) < 36 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("boot id of the kernel in %s: %w", file, err)
	}
	boot := string(b[:36])
	if n := mountNumber(path); n != 0 {
		return fmt.Sprintf("%s-%x", boot, n), nil
	}
	return boot, nil
}

// mountNumber is different for each time that the file system of path is mounted,
// and the same in all mount name spaces: the number of the directory that the
// kernel makes for a mounted file system, /sys/fs/TYPE/DEVICE. It is 0 for those
// that have none. (The id of the mount would differ between name spaces.)
func mountNumber(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	device, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))))
	if err != nil {
		return 0
	}
	for _, kind := range []string{"ext4", "xfs", "f2fs"} {
		if err := unix.Stat("/sys/fs/"+kind+"/"+filepath.Base(device), &st); err == nil {
			return st.Ino
		}
	}
	return 0
}
