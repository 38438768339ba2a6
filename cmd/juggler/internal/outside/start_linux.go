package outside

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// start starts a program that is killed when this process ends in whatever way.
// The kernel does that when the thread ends that started the program, so it has
// to be one that lives as long as the process.
func start(cmd *exec.Cmd) error {
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // prctl(2), PR_SET_PDEATHSIG
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}

// starter returns a channel to a thread that calls what it gets.
var starter = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() { // to the end of the process
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})
