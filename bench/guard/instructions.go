package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Instructions are counted by stepping through the code: this program starts
// itself once more, traces its main thread, and lets it do one instruction
// after the other. That needs no hardware counters, which virtual machines
// rarely have, and what else the machine does changes nothing.

// steppedCommand makes the program the one that is stepped through.
const steppedCommand = "stepped"

// Each function is prepared some times, and then stepped through some times in
// a row. The least of all these windows counts: a map, seeded at random when it
// is made, may look in more than one place as long as it lives, and now and then
// the scheduler or the allocator has something to do.
const (
	preparations = 6
	inARow       = 3
	windows      = preparations * inARow
)

// steppable says whether the system let us count instructions.
var steppable bool

func init() {
	runtime.LockOSThread() // of the main goroutine: tracing is between threads
}

// stepped runs each hot function, often to begin with, and then between marks.
func stepped() error {
	debug.SetGCPercent(-1)
	for _, h := range append([]hot{{"", func() (func(), error) { return func() {}, nil }}}, hotFunctions...) {
		for range preparations {
			f, err := h.prepare()
			if err != nil {
				return fmt.Errorf("%s: %w", h.what, err)
			}
			for range 1000 {
				f()
			}
			for range inARow {
				runtime.Gosched() // does now what the scheduler may want of us
				mark()
				f()
				mark()
			}
		}
	}
	return nil
}

// mark stops this thread, which tells the tracer that a window begins or ends.
func mark() {
	_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(os.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGSTOP))
}

// countInstructions returns the instructions of all hot functions, or nothing
// where the system does not allow tracing.
func countInstructions() ([]guarded, error) {
	counts, err := trace(steppedCommand)
	if errors.Is(err, syscall.EPERM) {
		fmt.Fprintln(os.Stderr, "guard: instructions are NOT counted: this system forbids ptrace:", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("counting instructions: %w", err)
	}
	steppable = true
	if len(counts) != windows*(1+len(hotFunctions)) {
		return nil, fmt.Errorf("counting instructions: the process ended after %d windows", len(counts))
	}
	least := func(i int) int { return slices.Min(counts[i*windows : (i+1)*windows]) }
	var all []guarded
	for i, h := range hotFunctions {
		n := least(i + 1)
		if n == void || least(0) == void {
			return nil, fmt.Errorf("counting instructions: %s: no window without interference", h.what)
		}
		all = append(all, guarded{h.what, map[unit]float64{instructions: float64(n - least(0))}})
	}
	return all, nil
}

// trace runs this program with a command and returns the number of
// instructions in each window of it.
func trace(command string) ([]int, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, command)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	hangs := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer hangs.Stop()
	t := tracer{pid: cmd.Process.Pid}
	counts, err := t.run()
	if err != nil {
		_ = cmd.Process.Kill()
	}
	return counts, err
}

// A tracer steps through the windows of a process that was started with
// Ptrace. All of it runs on one thread, as ptrace wants.
type tracer struct {
	pid    int
	frozen []int // the other threads of pid, within a window

	// The kernel's code that reads the clock (vdso(7)) is not counted: it begins
	// again when the clock is updated meanwhile, which is often in a process that
	// is stepped through, and always on a busy machine.
	vdso struct{ begin, end uint64 }
}

// run lets the process run to its end and returns the number of instructions
// in each window.
func (t *tracer) run() (counts []int, err error) {
	var status syscall.WaitStatus
	if err := t.wait(&status); err != nil { // it stops at exec
		return nil, err
	}
	if err := t.findVDSO(); err != nil {
		return nil, err
	}
	for signal := 0; ; {
		if err := syscall.PtraceCont(t.pid, signal); err != nil {
			return nil, err
		}
		if err := t.wait(&status); err != nil {
			return nil, err
		}
		switch {
		case status.Exited() && status.ExitStatus() == 0:
			return counts, nil
		case !status.Stopped():
			return nil, fmt.Errorf("the process ended: status %#x", uint32(status))
		case status.StopSignal() != syscall.SIGSTOP:
			signal = int(status.StopSignal())
			continue
		}
		signal = 0
		n, err := t.window()
		if err != nil {
			return nil, err
		}
		counts = append(counts, n)
	}
}

// wait waits for the process's main thread. When the process is killed in a window, that
// thread does not end for us before the frozen ones were waited for.
func (t *tracer) wait(status *syscall.WaitStatus) error {
	for {
		if tid, err := syscall.Wait4(-1, status, syscall.WALL, nil); err != nil || tid == t.pid {
			return err
		}
	}
}

// findVDSO looks where the kernel has mapped its code into the process.
func (t *tracer) findVDSO() error {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", t.pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[vdso]\n") {
			_, err := fmt.Sscanf(line, "%x-%x", &t.vdso.begin, &t.vdso.end)
			return err
		}
	}
	return nil // a kernel without one: the clock is read by a system call
}

// void is the count of a window that was interfered with.
const void = math.MaxInt

// window steps to the next mark. The other threads are stopped meanwhile:
// Go's monitor would have a function that takes so long preempted. Should the
// function need them after all, it hangs: a signal ends that after a while.
func (t *tracer) window() (n int, err error) {
	if err := t.freeze(); err != nil {
		return 0, err
	}
	hangs := time.AfterFunc(5*time.Second, func() {
		_, _, _ = syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(t.pid), uintptr(t.pid), uintptr(syscall.SIGURG))
	})
	defer hangs.Stop()
	last, valid := uint64(0), true
	for {
		if err := step(t.pid); err != nil {
			return 0, err
		}
		var status syscall.WaitStatus
		if err := t.wait(&status); err != nil {
			return 0, err
		}
		if !status.Stopped() {
			return 0, fmt.Errorf("the process ended in a window: status %#x", uint32(status))
		}
		switch status.StopSignal() {
		case syscall.SIGTRAP:
			// An instruction with a REP prefix stops after each repetition.
			var regs syscall.PtraceRegs
			if err := syscall.PtraceGetRegs(t.pid, &regs); err != nil {
				return 0, err
			}
			pc := regs.PC()
			if pc != last && (pc < t.vdso.begin || pc >= t.vdso.end) {
				n++
			}
			last = pc
		case syscall.SIGURG:
			valid = false
			if err := t.thaw(); err != nil {
				return 0, err
			}
		case syscall.SIGSTOP:
			if !valid {
				n = void
			}
			return n, t.thaw()
		}
	}
}

// step lets the thread do one instruction. Package syscall has no function for
// it that works for all architectures.
func step(tid int) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PTRACE, syscall.PTRACE_SINGLESTEP, uintptr(tid), 0, 0, 0, 0)
	if errno != 0 {
		return fmt.Errorf("ptrace: %w", errno)
	}
	return nil
}

func (t *tracer) freeze() error {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", t.pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			return err
		}
		if tid == t.pid {
			continue
		}
		if err := syscall.PtraceAttach(tid); err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		if _, err := syscall.Wait4(tid, nil, syscall.WALL, nil); err != nil {
			return err
		}
		t.frozen = append(t.frozen, tid)
	}
	return nil
}

func (t *tracer) thaw() error {
	for _, tid := range t.frozen {
		if err := syscall.PtraceDetach(tid); err != nil {
			return fmt.Errorf("detach: %w", err)
		}
	}
	t.frozen = t.frozen[:0]
	return nil
}
