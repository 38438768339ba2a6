//go:build long

package systemtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/juggler-go/juggler"
	"github.com/juggler-go/juggler/broker/redis"
	"github.com/juggler-go/juggler/calleekit"
	"github.com/juggler-go/juggler/client"
	"github.com/juggler-go/juggler/internal/child"
	"github.com/juggler-go/juggler/internal/freeport"
	"github.com/juggler-go/juggler/internal/redistest"
)

// memberVariable makes the test binary a node or a callee, as memberMain reads it: only
// another process can be killed.
const memberVariable = "JUGGLER_SYSTEM_TEST_MEMBER"

func init() {
	if what := os.Getenv(memberVariable); what != "" {
		goredis.SetLogger(silence{})
		if err := memberMain(strings.Fields(what)); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
}

// memberMain is a callee on the Redis at an address, or a node there that listens at another
// one, until its input ends.
func memberMain(words []string) error {
	b, err := redis.New(quick(withAddr(words[0]), redis.WithLogger(quiet))...)
	if err != nil {
		return err
	}
	if len(words) == 1 {
		err = startNumbering(b)
	} else {
		err = serveKeys(b, words[1])
	}
	if err != nil {
		return err
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin) // ends with the parent
	return err
}

// startNumbering starts a callee whose answers are all different. It writes a line for each
// call that it runs.
func startNumbering(b *redis.Broker) error {
	c, err := calleekit.New(b, calleekit.WithLogger(quiet))
	if err != nil {
		return err
	}
	c.Handle("number", func(ctx context.Context, c *calleekit.Call) (any, error) {
		fmt.Printf("%s\n", c.Args)
		timer := time.NewTimer(rand.N(300 * time.Millisecond))
		defer timer.Stop()
		select {
		case <-timer.C:
			return rand.Int64(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return c.Start(context.Background())
}

func serveKeys(b *redis.Broker, addr string) error {
	h, err := juggler.New(append(slices.Clone(keyOptions), juggler.WithBroker(b), juggler.WithLogger(quiet))...)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go http.Serve(l, h) //nolint:errcheck // ends with the process
	return nil
}

// A member is a process that memberMain runs, again and again.
type member struct {
	t     *testing.T
	what  string
	ran   func(line string)
	cmd   *exec.Cmd
	stdin io.Closer
	lines sync.WaitGroup
}

func startMember(t *testing.T, what string, ran func(line string)) *member {
	t.Helper()
	m := &member{t: t, what: what, ran: ran}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *member) start() {
	m.t.Helper()
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), memberVariable+"="+m.what)
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.stdin, err = m.cmd.StdinPipe(); err != nil {
		m.t.Fatal(err)
	}
	if err := child.Start(m.cmd); err != nil {
		m.t.Fatal(err)
	}
	ready := make(chan struct{})
	m.lines.Go(func() { // ends with the process
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == "ready" {
				close(ready)
			} else {
				m.ran(lines.Text())
			}
		}
	})
	select {
	case <-ready:
	case <-time.After(patience):
		m.t.Fatalf("%s is not ready", m.what)
	}
}

// kill ends the process as a crash does.
func (m *member) kill() {
	m.cmd.Process.Kill() //nolint:errcheck // it may have ended
	m.lines.Wait()
	m.cmd.Wait() //nolint:errcheck // killed
	m.stdin.Close()
}

func (m *member) restart() {
	m.kill()
	m.start()
}

// told is what clients were told of calls with keys, and how often they ran.
type told struct {
	mu       sync.Mutex // guards the following
	runs     map[string]int
	outcomes map[string]map[string]bool // by key
	counts   map[string]int
}

func (o *told) ran(args string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs[args]++
}

// add notes what a client was told of a key: a result, or a code that is an outcome.
func (o *told) add(t *testing.T, key string, result int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := fmt.Sprint(result)
	var failure *client.Error
	switch {
	case err == nil:
		o.counts["result"]++
	case !errors.As(err, &failure):
		t.Errorf("%s: %v", key, err)
		return
	default:
		text = fmt.Sprint(failure.Code)
		o.counts[text]++
		switch failure.Code {
		case client.CodeCalleeLost:
		case client.CodeNoCallee, client.CodeExpired, client.CodeUnavailable:
			return // no outcome
		default:
			t.Errorf("%s: %v", key, err)
		}
	}
	if o.outcomes[key] == nil {
		o.outcomes[key] = map[string]bool{}
	}
	o.outcomes[key][text] = true
}

// awaitMore waits until clients were told n results more.
func (o *told) awaitMore(t *testing.T, n int) {
	t.Helper()
	results := func() int {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.counts["result"]
	}
	end := results() + n
	await(t, "calls go on", func() bool { return results() >= end })
}

// Nodes, callees and Redis, which loses nothing when it is killed, are killed one after the
// other while clients make calls with keys. A call runs once at most, and everybody is told
// the same of it, then and later.
func TestKeyedCallsOutliveKills(t *testing.T) {
	t.Parallel()
	const kills, keysAtOnce, clients = 6, 8, 3
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	all := &told{runs: map[string]int{}, outcomes: map[string]map[string]bool{}, counts: map[string]int{}}
	var callees, nodes []*member
	var callers [clients]*client.Client
	for range 2 {
		addr := freeport.Address(t)
		callees = append(callees, startMember(t, server.Addr, all.ran))
		nodes = append(nodes, startMember(t, server.Addr+" "+addr, all.ran))
		// Each client has a node, and may come back to it only.
		callers[len(nodes)-1] = (&node{url: "ws://" + addr + "/"}).dial(t, client.WithLogger(quiet),
			client.WithBackoff(10*time.Millisecond, 100*time.Millisecond))
	}
	callers[2] = callers[0]

	over := make(chan struct{})
	var working sync.WaitGroup
	for worker := range keysAtOnce {
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				default:
				}
				all.ask(t, fmt.Sprintf("%d.%d", worker, n), callers[:])
			}
		})
	}
	for _, i := range rand.Perm(kills) {
		all.awaitMore(t, 1+rand.IntN(30))
		switch i % 3 {
		case 0:
			callees[i/3%2].restart()
		case 1:
			nodes[i/3%2].restart()
		default:
			server.Kill()
			server.Restart()
		}
	}
	close(over)
	working.Wait()

	for key := range maps.Clone(all.outcomes) { // what is kept is what they were told
		all.ask(t, key, callers[:1])
	}
	for key, outcomes := range all.outcomes {
		if len(outcomes) > 1 {
			t.Errorf("%s: clients were told %v", key, slices.Collect(maps.Keys(outcomes)))
		}
	}
	for args, n := range all.runs {
		if n > 1 {
			t.Errorf("%s ran %d times", args, n)
		}
	}
	t.Logf("%d calls ran; clients were told %v", len(all.runs), all.counts)
}

// ask has each client make the call with a key.
func (o *told) ask(t *testing.T, key string, callers []*client.Client) {
	var asking sync.WaitGroup
	for _, c := range callers {
		asking.Go(func() {
			var result int64
			err := c.Call(t.Context(), "number", key, &result, client.Key(key), client.WithTimeout(10*time.Second))
			o.add(t, key, result, err)
			var failure *client.Error
			if errors.As(err, &failure) && failure.RetryAfter > 0 {
				<-time.After(failure.RetryAfter) // as the server wants it
			}
		})
	}
	asking.Wait()
}
