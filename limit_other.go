//go:build !unix

package juggler

import "log/slog"

// warnOfDescriptorLimit does nothing: this system has no such limit.
func warnOfDescriptorLimit(*slog.Logger, int) {}
