package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/waiting"
)

// program is the built command.
var program string

const patience = waiting.Most

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "juggler-test-")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "juggler")
	if output, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, output)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// command returns the program with arguments, and an environment that a test
// can count on.
func command(t testing.TB, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TERM=xterm"}
	return cmd
}

// outcome is how a process ended.
type outcome struct {
	stdout, stderr string
	code           int
}

// run runs the program to its end.
func run(t testing.TB, stdin string, args ...string) outcome {
	t.Helper()
	return finish(t, command(t, args...), stdin)
}

// finish runs cmd to its end.
func finish(t testing.TB, cmd *exec.Cmd, stdin string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatalf("%v: %v", cmd.Args[1:], err)
	}
	return outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// A process is a program that runs until it is stopped.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *lines
	stderr *lines
	exited chan struct{}
}

// start starts the program; it is killed at the end of the test.
func start(t testing.TB, args ...string) *process {
	t.Helper()
	return startCommand(t, command(t, args...))
}

func startCommand(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, exited: make(chan struct{})}
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	stderr, err3 := cmd.StderrPipe()
	if err := errors.Join(err1, err2, err3, child.Start(cmd)); err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout, p.stderr = stdin, newLines(), newLines()
	var reading sync.WaitGroup
	reading.Go(func() { p.stdout.read(stdout) })
	reading.Go(func() { p.stderr.read(stderr) })
	go func() { // ends with the process
		reading.Wait()
		cmd.Wait() //nolint:errcheck // its state is looked at
		close(p.exited)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill() //nolint:errcheck // may have ended
		<-p.exited
		if t.Failed() {
			t.Logf("%v:\nstdout:\n%s\nstderr:\n%s", cmd.Args[1:], p.stdout, p.stderr)
		}
	})
	return p
}

// signal sends a signal.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatalf("%v does not end", p.cmd.Args[1:])
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop ends the process by SIGTERM and expects the exit code 0.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		p.t.Errorf("%v: exit code %d after SIGTERM", p.cmd.Args[1:], code)
	}
}

// lines collects what a process writes.
type lines struct {
	mu   sync.Mutex
	text []string
	more chan struct{} // closed and replaced with each line, and at the end
	done bool
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) read(r io.Reader) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		l.add(s.Text(), false)
	}
	l.add("", true)
}

func (l *lines) add(line string, done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done = done; !done {
		l.text = append(l.text, line)
	}
	close(l.more)
	l.more = make(chan struct{})
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

// await returns the first line that contains text.
func (l *lines) await(t testing.TB, text string) string {
	t.Helper()
	return l.awaitAfter(t, 0, text)
}

// awaitAfter is await for the lines after the first n.
func (l *lines) awaitAfter(t testing.TB, n int, text string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		for ; n < len(l.text); n++ {
			if line := l.text[n]; strings.Contains(line, text) {
				l.mu.Unlock()
				return line
			}
		}
		more, done := l.more, l.done
		l.mu.Unlock()
		if done {
			t.Fatalf("the output ended without %q:\n%s", text, l)
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("no line with %q in:\n%s", text, l)
		}
	}
}

// startDemo starts a demo on a free port and returns its URL.
func startDemo(t testing.TB) (*process, string) {
	t.Helper()
	p := start(t, "demo", "--listen", "127.0.0.1:0")
	return p, p.stdout.await(t, "")
}
