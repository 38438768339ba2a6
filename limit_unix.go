//go:build unix

package juggler

import (
	"log/slog"
	"syscall"
)

// warnOfDescriptorLimit says so if the process may not have as many open
// files as sessions are allowed. Beyond it connections are refused, by the
// system or with 503.
func warnOfDescriptorLimit(log *slog.Logger, sessions int) {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil && limit.Cur < uint64(sessions) {
		log.Warn("juggler: WithMaxSessions allows more sessions than the process may open files: raise RLIMIT_NOFILE or lower the option",
			"max_sessions", sessions, "rlimit_nofile", limit.Cur)
	}
}
