package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/juggler-go/juggler/broker"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/redistest"
)

// childVariable makes the test binary a process of its own: "callee ADDR" or
// "node ADDR". Crashes cannot be tested in the process that watches them.
const childVariable = "JUGGLER_REDIS_TEST_CHILD"

// childMain runs the child that the variable asks for and does not return.
func childMain(role string) {
	kind, addr, _ := strings.Cut(role, " ")
	b, err := redis.New(quick(withAddr(addr))...)
	if err != nil {
		panic(err)
	}
	switch kind {
	case "callee":
		childCallee(b)
	case "node":
		childNode(b)
	case "streams":
		childStreams(b)
	case "here":
		childHere(b)
	}
	os.Exit(0)
}

// childCallee takes calls, says so, and answers those that say "answer".
func childCallee(b *redis.Broker) {
	conn, err := b.OpenCallee(context.Background(), []string{"child"}, nil)
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	dst := make([]broker.Call, 8)
	for {
		n, err := conn.Take(context.Background(), dst)
		if err != nil {
			panic(err)
		}
		for _, c := range dst[:n] {
			fmt.Printf("took %s\n", c.Args)
			if string(c.Args) == "answer" {
				conn.Reply(context.Background(), []broker.Result{{To: c.ReplyTo, Args: []byte("answered")}}) //nolint:errcheck // seen by the test
			}
		}
	}
}

// childNode makes calls and waits for its end.
func childNode(b *redis.Broker) {
	node := broker.ID{'c', 'h', 'i', 'l', 'd'}
	conn, err := b.OpenCaller(context.Background(), node, func([]broker.Result) {})
	if err != nil {
		panic(err)
	}
	for i := range 20 {
		c := broker.Call{URI: "parent", ReplyTo: broker.Address{Node: node, Ref: [16]byte{byte(i)}}, Timeout: time.Minute}
		if err := conn.Call(context.Background(), &c); err != nil {
			panic(err)
		}
	}
	fmt.Println("ready")
	select {}
}

// streamsChild is the node of childStreams.
var streamsChild = broker.ID{'s', 'c', 'h', 'i', 'l', 'd'}

// childStreams makes calls whose answers come in parts, says that some have come, and waits
// for its end.
func childStreams(b *redis.Broker) {
	came, once := make(chan struct{}), sync.Once{}
	conn, err := b.OpenStreamCaller(context.Background(), streamsChild, func([]broker.Result) {}, func([]broker.Part) {
		once.Do(func() { close(came) })
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for i := range 3 {
		c := broker.Call{URI: streamURI, ReplyTo: broker.Address{Node: streamsChild, Ref: [16]byte{byte(i)}}, Timeout: time.Minute, Window: broker.Window{Parts: 5, Bytes: 1000}}
		if err := conn.Call(context.Background(), &c); err != nil {
			panic(err)
		}
	}
	<-came
	fmt.Println("parts")
	select {}
}

// A childProcess is one that runs childMain.
type childProcess struct {
	t       *testing.T
	process *exec.Cmd
	lines   chan string
}

func startChild(t *testing.T, role string) *childProcess {
	t.Helper()
	c := &childProcess{t: t, process: exec.Command(os.Args[0]), lines: make(chan string, 100)}
	c.process.Env = append(os.Environ(), childVariable+"="+role)
	c.process.Stderr = os.Stderr
	out, err := c.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(c.process); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends with the process
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			c.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		c.kill()
		<-done
		c.process.Wait() //nolint:errcheck // killed
	})
	c.says("ready")
	return c
}

// says waits until the child has printed a line.
func (c *childProcess) says(want string) {
	c.t.Helper()
	select {
	case got := <-c.lines:
		if got != want {
			c.t.Fatalf("the child says %q, not %q", got, want)
		}
	case <-time.After(patience):
		c.t.Fatalf("the child did not say %q", want)
	}
}

func (c *childProcess) kill() { c.process.Process.Kill() } //nolint:errcheck // may have ended

func (c *childProcess) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.process.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// A parent makes calls to the child.
type parent struct {
	t       *testing.T
	conn    broker.CallerConn
	node    broker.ID
	results chan broker.Result
	early   map[broker.Address]broker.Result // came while another was waited for
	calls   byte
}

func newParent(t *testing.T, b *redis.Broker) *parent {
	t.Helper()
	p := &parent{t: t, node: broker.ID{'p'}, results: make(chan broker.Result, 100), early: map[broker.Address]broker.Result{}}
	var err error
	p.conn, err = b.OpenCaller(t.Context(), p.node, func(results []broker.Result) {
		for _, r := range results {
			r.Args = []byte(string(r.Args))
			p.results <- r
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.conn.Close() })
	return p
}

func (p *parent) call(args string) broker.Address {
	p.t.Helper()
	p.calls++
	to := broker.Address{Node: p.node, Ref: [16]byte{p.calls}}
	err := p.conn.Call(p.t.Context(), &broker.Call{URI: "child", ReplyTo: to, Timeout: time.Minute, Args: []byte(args)})
	if err != nil {
		p.t.Fatal(err)
	}
	return to
}

// result waits for the first result of a call.
func (p *parent) result(to broker.Address) broker.Result {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		if r, ok := p.early[to]; ok {
			delete(p.early, to)
			return r
		}
		select {
		case r := <-p.results:
			p.early[r.To] = r
		case <-timeout:
			p.t.Fatal("a call was not answered")
		}
	}
}

func TestCalleeKilled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newParent(t, newBroker(t, quick(withAddr(server.Addr))...))
	c := startChild(t, "callee "+server.Addr)
	held := []broker.Address{p.call("hold 1"), p.call("hold 2")}
	c.says("took hold 1")
	c.says("took hold 2")
	answered := p.call("answer")
	c.says("took answer")
	if r := p.result(answered); string(r.Args) != "answered" {
		t.Fatalf("the call ended in %+v", r)
	}
	c.kill()
	for _, to := range held {
		if r := p.result(to); r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
			t.Errorf("a call of a callee that was killed ended in %+v", r)
		}
	}
	await(t, "the dead callee is forgotten", func() bool {
		for _, key := range keysOf(t, server.Client(), "juggler") {
			if strings.Contains(key, ":callees") || strings.Contains(key, ":taken:") {
				return false
			}
		}
		return true
	})
}

// A callee that stands still longer than its lease is taken for dead; its late
// answers hurt nobody, and it goes on when it wakes up.
func TestCalleeSlow(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	p := newParent(t, newBroker(t, quick(withAddr(server.Addr))...))
	c := startChild(t, "callee "+server.Addr)
	for round := range 2 {
		held := p.call("hold")
		c.says("took hold")
		c.signal(syscall.SIGSTOP)
		if r := p.result(held); r.Err == nil || r.Err.Code != broker.CodeCalleeLost {
			t.Errorf("a call of a callee that stands still ended in %+v", r)
		}
		c.signal(syscall.SIGCONT)
		// Another one in each round: the callee refuses what it has answered.
		to := broker.Address{Node: p.node, Ref: [16]byte{100, byte(round)}}
		await(t, "the callee answers again", func() bool {
			err := p.conn.Call(t.Context(), &broker.Call{URI: "child", ReplyTo: to, Timeout: time.Minute, Args: []byte("answer")})
			return err == nil
		})
		if r := p.result(to); string(r.Args) != "answered" {
			t.Errorf("after the pause a call ended in %+v", r)
		}
		c.says("took answer")
	}
}
