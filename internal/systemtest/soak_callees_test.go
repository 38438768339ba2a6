//go:build long

package systemtest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/internal/child"
)

// soakParts is how many parts of an answer come before its result, if it is asked for any.
const soakParts = 50

// A partArgs is a part of an answer: its number, and the arguments of its call.
type partArgs struct {
	N    int
	Call json.RawMessage
}

// soakFunctions are what the callees of a soak answer. Each tells ran of the
// call, by its arguments.
func soakFunctions(ran func(json.RawMessage)) map[string]calleekit.HandlerFunc {
	functions := map[string]calleekit.HandlerFunc{
		"echo": echo,
		"slow": func(ctx context.Context, c *calleekit.Call) (any, error) {
			timer := time.NewTimer(time.Duration(len(c.Args)%16) * 20 * time.Millisecond)
			defer timer.Stop()
			select {
			case <-timer.C:
				return &c.Args, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		"fail": func(context.Context, *calleekit.Call) (any, error) { return nil, calleekit.Errorf(422, "as wanted") },
		"parts": func(ctx context.Context, c *calleekit.Call) (any, error) {
			for n := 1; n <= soakParts; n++ {
				if err := c.Send(ctx, partArgs{n, c.Args}); err != nil {
					return nil, err
				}
			}
			return &c.Args, nil
		},
		"hold": func(ctx context.Context, _ *calleekit.Call) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"keyed": answerOnce,
	}
	for uri, f := range functions {
		functions[uri] = func(ctx context.Context, c *calleekit.Call) (any, error) {
			ran(c.Args)
			return f(ctx, c)
		}
	}
	return functions
}

// A localCallee is a callee of this process, with a broker of its own, that can
// be replaced by another one.
type localCallee struct {
	t         *testing.T
	broker    *redis.Broker
	functions map[string]calleekit.HandlerFunc
	current   *calleekit.Callee
}

func newLocalCallee(t *testing.T, b *books, options []redis.Option) *localCallee {
	t.Helper()
	c := &localCallee{t: t, broker: newBroker(t, options...), functions: soakFunctions(b.ran)}
	c.start()
	t.Cleanup(func() { c.current.Close() })
	return c
}

func (c *localCallee) start() {
	c.t.Helper()
	callee, err := calleekit.New(c.broker, calleekit.WithLogger(quiet))
	if err != nil {
		c.t.Fatal(err)
	}
	for uri, f := range c.functions {
		callee.Handle(uri, f)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := callee.Start(ctx); err != nil {
		c.t.Fatalf("the callee does not start: %v", err)
	}
	c.current = callee
}

// replace does what a deploy does: a new one starts, the old one drains.
func (c *localCallee) replace() {
	old := c.current
	c.start()
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	if err := old.Shutdown(ctx); err != nil {
		c.t.Errorf("the callee does not drain: %v", err)
	}
}

// childVariable makes the test binary a callee on the servers that it names, as
// childServers words it. Only another process can be killed.
const childVariable = "JUGGLER_SYSTEM_TEST_CALLEE"

func init() {
	if servers := os.Getenv(childVariable); servers != "" {
		goredis.SetLogger(silence{})
		runChild(servers)
		os.Exit(0)
	}
}

// runChild answers calls and writes a line for each that it runs, until its
// input ends.
func runChild(servers string) {
	b, err := redis.New(quick(childOption(strings.Fields(servers)))...)
	if err != nil {
		panic(err)
	}
	c, err := calleekit.New(b, calleekit.WithLogger(quiet))
	if err != nil {
		panic(err)
	}
	for uri, f := range soakFunctions(func(args json.RawMessage) { fmt.Printf("%s\n", args) }) {
		c.Handle(uri, f)
		c.Handle("child."+uri, f)
	}
	if err := c.Start(context.Background()); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck // ends with the parent
}

// A childProcess runs runChild, again and again.
type childProcess struct {
	t       *testing.T
	books   *books
	servers func() string

	process *exec.Cmd
	stdin   io.Closer
	reading sync.WaitGroup
}

func startChildProcess(t *testing.T, b *books, servers func() string) *childProcess {
	t.Helper()
	c := &childProcess{t: t, books: b, servers: servers}
	c.start()
	t.Cleanup(c.kill)
	return c
}

func (c *childProcess) start() {
	c.t.Helper()
	c.process = exec.Command(os.Args[0])
	c.process.Env = append(os.Environ(), childVariable+"="+c.servers())
	c.process.Stderr = os.Stderr
	out, err := c.process.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if c.stdin, err = c.process.StdinPipe(); err != nil {
		c.t.Fatal(err)
	}
	if err := child.Start(c.process); err != nil {
		c.t.Fatal(err)
	}
	ready := make(chan struct{})
	c.reading.Go(func() { // ends with the process
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				close(ready)
			} else {
				c.books.ran(json.RawMessage(lines.Text()))
			}
		}
	})
	select {
	case <-ready:
	case <-time.After(patience):
		c.t.Fatal("the callee's process is not ready")
	}
}

func (c *childProcess) signal(s syscall.Signal) {
	if err := c.process.Process.Signal(s); err != nil {
		c.t.Error(err)
	}
}

// kill ends the process as a crash does.
func (c *childProcess) kill() {
	c.process.Process.Kill() //nolint:errcheck // it may have ended
	c.reading.Wait()
	c.process.Wait() //nolint:errcheck // killed
	c.stdin.Close()
}

func (c *childProcess) restart() {
	c.kill()
	c.start()
}
