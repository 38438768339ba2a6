//go:build unix

package juggler

import "syscall"

// descriptorLimit returns how many files the process may have open, 0 if
// that is not known.
func descriptorLimit() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<31-1))
}
