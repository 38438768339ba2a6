package child

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// start has the kernel kill the program. It does that when the thread ends that
// started the program, so it has to be one that lives as long as the process.
func start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // prctl(2), PR_SET_PDEATHSIG
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// starter returns a channel to a thread that calls what it gets.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go runOnOneThread(work)
	return work
})

// runOnOneThread goes on to the end of the process: tests that look for leaks
// leave it out.
func runOnOneThread(work <-chan func()) {
	runtime.LockOSThread()
	for f := range work {
		f()
	}
}
