//go:build unix

package outside

import (
	"os/exec"
	"syscall"
)

// group makes a program lead a process group of its own, so that what it
// starts can be ended with it, and makes the end of its context SIGTERM to all
// of them.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}

// endGroup kills what a program that was started has left behind.
func endGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // usually nobody is left
}
