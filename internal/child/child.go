// Package child starts programs that do not outlive this one.
package child

import "os/exec"

// Start starts a program, as cmd.Start does. On Linux it is killed when this
// process ends, in whatever way; elsewhere only if this process sees to it.
func Start(cmd *exec.Cmd) error { return start(cmd) }
