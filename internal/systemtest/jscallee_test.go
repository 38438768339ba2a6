//go:build long

package systemtest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/redistest"
)

// A jsCallee is examples/node-callee as a process.
type jsCallee struct {
	t       *testing.T
	process *exec.Cmd
	output  output
	exited  chan struct{}
}

// Leases of the example: tests of its end wait for the one, the others must not be
// overtaken by it on a busy machine.
const (
	shortJSLease = time.Second
	longJSLease  = time.Minute
)

// startJSCallee starts the example and waits until it answers calls.
func startJSCallee(t *testing.T, addr string, lease time.Duration) *jsCallee {
	t.Helper()
	c := &jsCallee{t: t, process: exec.Command("node", "callee.mjs"), exited: make(chan struct{})}
	c.process.Dir = "../../examples/node-callee"
	c.process.Env = append(os.Environ(), "REDIS_URL=redis://"+addr, fmt.Sprint("JUGGLER_LEASE=", lease.Milliseconds()))
	c.process.Stdout, c.process.Stderr = &c.output, &c.output
	if err := child.Start(c.process); err != nil {
		t.Fatalf("the example needs Node 20.3 or later: %v", err)
	}
	go func() { // ends with the process
		defer close(c.exited)
		c.process.Wait() //nolint:errcheck // its state is looked at
	}()
	t.Cleanup(func() {
		c.signal(syscall.SIGKILL)
		<-c.exited
		if t.Failed() {
			t.Logf("the callee said:\n%s", c.output.String())
		}
	})
	c.ready(1)
	return c
}

// ready waits until the callee has announced itself for the nth time.
func (c *jsCallee) ready(n int) {
	c.t.Helper()
	await(c.t, "the callee is ready", func() bool { return strings.Count(c.output.String(), "ready\n") >= n })
}

func (c *jsCallee) signal(s syscall.Signal) {
	c.process.Process.Signal(s) //nolint:errcheck // it may have ended
}

// taken counts the calls that callees have taken and not answered, as the
// server has it.
func taken(t *testing.T, server *redistest.Server) int64 {
	t.Helper()
	n := int64(0)
	admin := server.Client()
	for key := range keysOf(t, admin) {
		if strings.Contains(key, ":taken:") {
			n += admin.SCard(context.Background(), key).Val()
		}
	}
	return n
}

func TestJSCallee(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startJSCallee(t, server.Addr, longJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)

	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			var sum int
			if err := c.Call(t.Context(), "js.add", []int{i, 1}, &sum); err != nil || sum != i+1 {
				t.Errorf("js.add: got %d, %v; want %d", sum, err, i+1)
			}
			var root float64
			if err := c.Call(t.Context(), "js.root", i, &root); err != nil || root != math.Sqrt(float64(i)) {
				t.Errorf("js.root of %d: got %v, %v", i, root, err)
			}
		})
	}
	calls.Wait()

	var greeting string
	headers := client.WithHeaders(map[string]string{"greeting": "Grüß Gott,"})
	if err := c.Call(t.Context(), "js.greet", "Åsa 🎈", &greeting, headers); err != nil || greeting != "Grüß Gott, Åsa 🎈" {
		t.Errorf("js.greet: got %q, %v", greeting, err)
	}
	var failure *client.Error
	err := c.Call(t.Context(), "js.root", -1, nil)
	if !errors.As(err, &failure) || failure.Code != 422 || failure.Message != "want a number from 0 on" || string(failure.Data) != `{"got":-1}` {
		t.Errorf("js.root of -1: got %#v", err)
	}
	if err := c.Call(t.Context(), "js.add", nil, nil); !errors.As(err, &failure) || failure.Code != 500 || failure.Message != "internal error" {
		t.Errorf("js.add without arguments: got %v", err)
	}
	long := strings.Repeat("long ", 10_000)
	if err := c.Call(t.Context(), "js.greet", long, &greeting); err != nil || greeting != "hello "+long {
		t.Errorf("js.greet with a long name: got %d bytes, %v", len(greeting), err)
	}
	wantExpiry(t, server.Client())
}

// A call with a key tells its function what names it, has one outcome, and keeps its parts
// for who comes later.
func TestJSCalleeWithKeys(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startJSCallee(t, server.Addr, longJSLease)
	broker := newBroker(t, calm(withAddr(server.Addr))...)
	scope := juggler.WithKeyScope(func(juggler.Session) string { return "all" })
	c := startNodeOn(t, broker, scope).dial(t)
	var name, again, other string
	headers := client.WithHeaders(map[string]string{"k": "v"})
	for out, opts := range map[*string][]client.CallOption{
		&name: {client.Key("k")}, &again: {client.Key("k"), headers}, &other: {client.Key("other"), headers},
	} {
		if err := c.Call(t.Context(), "js.key", nil, out, opts...); err != nil {
			t.Fatal(err)
		}
	}
	if len(name) != 22 || again != name || len(other) != 22 || other == name {
		t.Errorf("keys %q, %q, %q", name, again, other)
	}
	for from := 0; from <= 200; from += 100 {
		opts := []client.StreamOption{client.Key("k")}
		if from > 0 {
			opts = append(opts, client.Join(from))
		}
		s, err := c.Stream(t.Context(), "js.count", 300, opts...)
		if err != nil {
			t.Fatal(err)
		}
		n := from
		for part, err := range client.PartsAs[int](s) {
			if n++; err != nil || part != n {
				t.Fatalf("part %d is %d, %v", n, part, err)
			}
		}
		var last int
		if err := s.Result(t.Context(), &last); err != nil || last != 300 || n != 300 {
			t.Errorf("from %d: %d parts, result %d, %v", from, n, last, err)
		}
	}
	running, err := c.Start(t.Context(), "js.sleep", 600_000, client.Key("k"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := running.State(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Stop(t.Context(), "js.sleep", "k"); err != nil {
		t.Fatal(err)
	}
	if err := running.Result(t.Context(), nil); !errors.Is(err, client.CodeCancelled) {
		t.Errorf("stopped: %v", err)
	}
}

// A generator answers in parts: as many as are wanted, no further than the caller has taken
// them, and none to a caller that wants none.
func TestJSCalleeInParts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	callee := startJSCallee(t, server.Addr, longJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)
	headers := client.WithHeaders(map[string]string{"k": "v"})
	for _, opts := range [][]client.StreamOption{nil, {client.Window(3), headers}} {
		s, err := c.Stream(t.Context(), "js.count", 300, opts...)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for part, err := range client.PartsAs[int](s) {
			if n++; err != nil || part != n {
				t.Fatalf("part %d is %d, %v", n, part, err)
			}
		}
		var last int
		if err := s.Result(t.Context(), &last); err != nil || last != 300 || n != 300 {
			t.Errorf("%d parts, result %d, %v", n, last, err)
		}
	}
	var last int
	if err := c.Call(t.Context(), "js.count", 7, &last, headers); err != nil || last != 7 {
		t.Errorf("a call without parts: %d, %v", last, err)
	}
	s, err := c.Stream(t.Context(), "js.greet", "you", headers, client.WithHeaders(map[string]string{"greeting": "hi"}))
	if err != nil {
		t.Fatal(err)
	}
	var greeting string
	if err := s.Result(t.Context(), &greeting); err != nil || greeting != "hi you" {
		t.Errorf("a stream without parts: %q, %v", greeting, err)
	}

	s, err = c.Stream(t.Context(), "js.count", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range s.Parts() {
		if n++; err != nil || n == 100 {
			break
		}
	}
	wantExpiry(t, server.Client())
	callee.signal(syscall.SIGTERM)
	<-callee.exited // once nothing runs any more
	if n := taken(t, server); n != 0 {
		t.Errorf("%d calls are left", n)
	}
}

// A call that is cancelled, or whose time is over, ends in the callee too.
func TestJSCalleeCancelled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	startJSCallee(t, server.Addr, longJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	held, err := c.Start(ctx, "js.sleep", 600_000)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the call was taken", func() bool { return taken(t, server) == 1 })
	cancel()
	if err := held.Result(t.Context(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call ended with %v", err)
	}
	await(t, "the callee gave the call up", func() bool { return taken(t, server) == 0 })

	err = c.Call(t.Context(), "js.sleep", 600_000, nil, client.WithTimeout(100*time.Millisecond))
	if !errors.Is(err, client.CodeExpired) {
		t.Errorf("an expired call ended with %v", err)
	}
	await(t, "the callee gave the call up", func() bool { return taken(t, server) == 0 })
}

// A failover may bring back a call whose taking was not replicated: the callee
// that runs it drops it, where it ran it a second time.
func TestJSCalleeGetsCallTwice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	callee := startJSCallee(t, server.Addr, longJSLease)
	ctx, admin := t.Context(), server.Client()
	results := "juggler:{0.0}:results:00000000000000000000000000"
	admin.Set(ctx, "juggler:{0.0}:node:00000000000000000000000000", 1, time.Minute)
	call := fmt.Sprintf("C%013d%s300", admin.Time(ctx).Val().Add(time.Minute).UnixMilli(), strings.Repeat("\x00", 40))
	if err := admin.LPush(ctx, "juggler:{0.0}:calls:js.sleep", call, call).Err(); err != nil {
		t.Fatal(err)
	}
	await(t, "the call was answered", func() bool { return admin.LLen(ctx, results).Val() > 0 })
	callee.signal(syscall.SIGTERM)
	<-callee.exited
	if n := admin.LLen(ctx, results).Val(); n != 1 {
		t.Errorf("the call ran %d times", n)
	}
}

func TestJSCalleeKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	callee := startJSCallee(t, server.Addr, shortJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)
	held, err := c.Start(t.Context(), "js.sleep", 600_000)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the call was taken", func() bool { return taken(t, server) == 1 })
	callee.signal(syscall.SIGKILL)
	if err := held.Result(t.Context(), nil); !errors.Is(err, client.CodeCalleeLost) {
		t.Errorf("a call of a callee that was killed ended with %v", err)
	}
	await(t, "the dead callee is forgotten", func() bool {
		return !strings.Contains(fmt.Sprint(keysOf(t, server.Client())), ":callees")
	})
}

// SIGTERM lets what runs finish; nothing of the callee is left.
func TestJSCalleeStops(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	callee := startJSCallee(t, server.Addr, longJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)
	held, err := c.Start(t.Context(), "js.sleep", 500)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the call was taken", func() bool { return taken(t, server) == 1 })
	callee.signal(syscall.SIGTERM)
	if err := held.Result(t.Context(), nil); err != nil {
		t.Errorf("the call that ran ended with %v", err)
	}
	<-callee.exited
	if code := callee.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the callee ended with %d", code)
	}
	for key := range keysOf(t, server.Client()) {
		if strings.Contains(key, ":callees") || strings.Contains(key, ":taken:") || strings.Contains(key, ":stop:") {
			t.Errorf("the key %q was left", key)
		}
	}
}

// The callee outlives its server, and a call that it runs meanwhile.
func TestJSCalleeReconnects(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := redistest.StartProxy(t, server.Addr)
	callee := startJSCallee(t, proxy.Addr, shortJSLease)
	c := startNode(t, calm(withAddr(server.Addr))...).dial(t)
	held, err := c.Start(t.Context(), "js.sleep", 300)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the call was taken", func() bool { return taken(t, server) == 1 })
	proxy.CutOnce()
	// Either its result comes in time or its lease is over before.
	if err := held.Result(t.Context(), nil); err != nil && !errors.Is(err, client.CodeCalleeLost) {
		t.Errorf("the call that ran ended with %v", err)
	}
	callee.ready(2)
	var sum int
	if err := c.Call(t.Context(), "js.add", []int{1, 2}, &sum); err != nil || sum != 3 {
		t.Errorf("js.add: got %d, %v", sum, err)
	}
}
