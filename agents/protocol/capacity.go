package protocol

import "syscall"

// Descriptors: what an agent needs itself, and what a job does at most: its two files
// of the spool and what it delivers to.
const (
	ownFiles    = 16
	filesPerJob = 4
)

// affordable bounds the jobs at once by the descriptors that the process may have: a
// job beyond them would fail and be tried again, many times over.
func affordable(capacity int) int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<20 {
		return capacity
	}
	return max(1, min(capacity, (int(limit.Cur)-ownFiles)/filesPerJob))
}
